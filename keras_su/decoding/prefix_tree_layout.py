"""The arrays of a prefix tree, made from sorted distinct rows in two passes, each of them over any number of pieces at once.

Rows are the keys in order; ``shared[r]`` is the number of leading ids that row ``r`` has in common with row ``r - 1``. A *node*
is a prefix that at least two keys share (the root always is one). The rest of a key, after the edge that leaves its last node, is
its *tail*. A row adds one edge for each depth from ``shared[r]`` to ``max(shared[r], shared[r + 1])``, and one node for each
depth from ``shared[r] + 1`` to ``shared[r + 1]``. So a first pass counts nodes and edges per depth without looking at ids, and a
second writes every edge to its final place, level by level (breadth first), from any block of rows. The counts of the pieces
before it say where a piece is written, so pieces can be counted, and then written, in any order.
"""

from dataclasses import dataclass

import numpy as np

from keras_su.decoding.prefix_tree_rows import running_bounds, spread


def offset_dtype(largest):
    """uint32 when every number up to ``largest`` fits, else uint64."""
    return np.dtype(np.uint32 if largest < 2**32 else np.uint64)


def with_following(blocks, last):
    """``(rows, shared, following)`` of each block, ``following`` being the first ``shared`` of the next block, ``last`` at the
    end."""
    held = None
    for rows, shared in blocks:
        if held is not None:
            yield (*held, int(shared[0]))
        held = rows, shared
    if held is not None:
        yield (*held, last)


class _Block:
    """What both passes need of a block of rows."""

    def __init__(self, rows, shared, following):
        self.rows = rows
        self.above = np.asarray(shared, np.int64)  # ids shared with the row above
        self.below = np.append(self.above[1:], following)  # and with the row below
        self.deepest = np.maximum(self.above, self.below)
        lengths = np.diff(rows.bounds) - 1
        self.tail_sizes = lengths - np.minimum(self.deepest + 1, lengths) + 1  # the end mark included


class Counts:
    """How much a piece, or several pieces added, contributes to each part of the tree."""

    def __init__(self):
        self.keys = self.values = self.text_bytes = self.tail_tokens = 0
        # Histograms of intervals of depths: +1 where one opens, -1 after it closes; the running sum counts those open.
        self._edges, self._nodes = np.zeros(2, np.int64), np.zeros(2, np.int64)

    def add(self, rows, shared, following):
        """Count a block of rows."""
        block = _Block(rows, shared, following)
        grows = block.below > block.above
        size = max(len(self._edges), int(block.deepest.max(initial=0)) + 2)
        self._edges = _grown(self._edges, size)
        self._edges += np.bincount(block.above, minlength=size) - np.bincount(block.deepest + 1, minlength=size)
        self._nodes = _grown(self._nodes, size)
        self._nodes += np.bincount(block.above[grows] + 1, minlength=size) - np.bincount(block.below[grows] + 1, minlength=size)
        self.keys += len(rows)
        self.values += len(rows.text_bounds) - 1
        self.text_bytes += len(rows.text)
        self.tail_tokens += int(block.tail_sizes.sum())

    def __add__(self, other):
        both = Counts()
        for name in ("keys", "values", "text_bytes", "tail_tokens"):
            setattr(both, name, getattr(self, name) + getattr(other, name))
        size = max(len(self._edges), len(other._edges))
        both._edges = _grown(self._edges, size) + _grown(other._edges, size)
        both._nodes = _grown(self._nodes, size) + _grown(other._nodes, size)
        return both

    def per_depth(self, levels=None):
        """Edges, and nodes other than the root, at each depth: two arrays ``(levels,)``, by default as many as there are."""
        counts = np.cumsum(self._edges)[:-1], np.cumsum(self._nodes)[:-1]
        return counts if levels is None else tuple(_grown(count, levels) for count in counts)


@dataclass
class Cursor:
    """Where the next block is written: edge and node per depth, then tail, row, value, byte of text."""

    edge: np.ndarray
    node: np.ndarray
    tail: int = 1
    row: int = 0
    value: int = 0
    text: int = 0

    def after(self, counts):
        """The cursor behind a piece that begins here."""
        edges, nodes = counts.per_depth(len(self.edge))
        return Cursor(
            self.edge + edges,
            self.node + nodes,
            self.tail + counts.tail_tokens,
            self.row + counts.keys,
            self.value + counts.values,
            self.text + counts.text_bytes,
        )


class Layout:
    """Where everything goes. Call ``allocate``, then ``write`` with every block of each piece and the piece's cursor.

    Args:
        token_dtype: of the token ids.
        pieces: list of the ``Counts`` of each piece, in order.
    """

    def __init__(self, token_dtype, pieces):
        self.token_dtype, self.pieces, self.counts = np.dtype(token_dtype), pieces, sum(pieces, Counts())
        edges, nodes = self.counts.per_depth()
        nodes[0] = 1  # the root
        self._first_edge, self._first_node = running_bounds(edges), running_bounds(nodes)
        self.nodes, self.edges = int(self._first_node[-1]), int(self._first_edge[-1])

    def allocate(self, make):
        """``{name: array}`` of all parts, each from ``make(name, length, dtype)``, with the entries that belong to no row."""
        keys, values, text_bytes = self.counts.keys, self.counts.values, self.counts.text_bytes
        tail_tokens = self.counts.tail_tokens + 1
        parts = {
            "edge_start": (self.nodes + 1, offset_dtype(self.edges)),
            "edge_token": (self.edges, self.token_dtype),
            "edge_target": (self.edges, offset_dtype(self.nodes + keys)),
            "first_row": (self.nodes, offset_dtype(keys)),
            "tail_start": (keys + 1, offset_dtype(tail_tokens)),
            "tail_token": (tail_tokens, self.token_dtype),
            "value_start": (keys + 1 if values else 0, offset_dtype(values)),
            "text_start": (values + 1 if values else 0, offset_dtype(text_bytes)),
            "text": (text_bytes, np.dtype(np.uint8)),
        }
        arrays = {name: make(name, length, dtype) for name, (length, dtype) in parts.items()}
        arrays["edge_start"][0], arrays["edge_start"][-1] = 0, self.edges
        arrays["first_row"][0] = 0
        arrays["tail_token"][0], arrays["tail_start"][0] = np.iinfo(self.token_dtype).max, 1
        if values:
            arrays["value_start"][0] = arrays["text_start"][0] = 0
        return arrays

    def cursors(self):
        """Iterate over the cursor of each piece."""
        cursor = Cursor(self._first_edge[:-1].copy(), self._first_node[:-1].copy())
        for counts in self.pieces:
            following = cursor.after(counts)  # before ``write`` moves the cursor on
            yield cursor
            cursor = following

    def write(self, arrays, cursor, rows, shared, following):
        """Write one block at the cursor, which then is behind it."""
        block = _Block(rows, shared, following)
        tokens = rows.tokens.astype(self.token_dtype)
        tokens -= self.token_dtype.type(1)  # ids again; the closing 0 becomes the end mark
        self._write_edges(arrays, cursor, block, tokens)
        row_stop = cursor.row + len(rows)
        tails = cursor.tail + running_bounds(block.tail_sizes)
        arrays["tail_start"][cursor.row + 1 : row_stop + 1] = tails[1:]
        arrays["tail_token"][tails[0] : tails[-1]] = tokens[spread(rows.bounds[1:] - block.tail_sizes, block.tail_sizes)]
        if self.counts.values:
            values = cursor.value + running_bounds(rows.counts)
            text = cursor.text + rows.text_bounds
            arrays["value_start"][cursor.row + 1 : row_stop + 1] = values[1:]
            arrays["text_start"][values[0] + 1 : values[-1] + 1] = text[1:]
            arrays["text"][text[0] : text[-1]] = rows.text
            cursor.value, cursor.text = values[-1], text[-1]
        cursor.row, cursor.tail = row_stop, tails[-1]

    def _write_edges(self, arrays, cursor, block, tokens):
        sizes = block.deepest - block.above + 1
        row = np.repeat(np.arange(len(sizes)), sizes)
        depth = spread(block.above, sizes)
        opens = depth > block.above[row]  # the first edge of a node: that of the prefix of ``depth`` ids
        # Number edges and nodes of the block level by level, then move each level to where the block's part of it begins.
        by_depth = np.argsort(depth.astype(np.uint16) if len(cursor.edge) <= 2**16 else depth, kind="stable")
        levels = len(cursor.edge)
        edges, nodes = np.bincount(depth, minlength=levels), np.bincount(depth[opens], minlength=levels)
        place, node = np.empty_like(depth), np.empty_like(depth)
        place[by_depth] = np.arange(len(depth)) + np.repeat(cursor.edge - running_bounds(edges)[:-1], edges)
        node[by_depth] = np.cumsum(opens[by_depth]) - 1 + np.repeat(cursor.node - running_bounds(nodes)[:-1], edges)
        cursor.edge += edges
        cursor.node += nodes

        arrays["edge_token"][place] = tokens[block.rows.bounds[row] + depth]
        # An edge into a shared prefix leads to the node that the row's next edge opens; the last edge of a row is its leaf.
        target = self.nodes + cursor.row + row
        inner = np.flatnonzero(depth < block.below[row])
        target[inner] = node[inner + 1]
        arrays["edge_target"][place] = target
        arrays["edge_start"][node[opens]] = place[opens]
        arrays["first_row"][node[opens]] = cursor.row + row[opens]


def _grown(histogram, size):
    return np.concatenate([histogram, np.zeros(size - len(histogram), np.int64)])
