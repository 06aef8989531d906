"""The arrays of a prefix tree, made from sorted distinct rows in two passes.

Rows are the keys in order; ``shared[r]`` is the number of leading ids that row ``r`` has in common with row ``r - 1``. A *node*
is a prefix that at least two keys share (the root always is one). The rest of a key, after the edge that leaves its last node, is
its *tail*. A row adds one edge for each depth from ``shared[r]`` to ``max(shared[r], shared[r + 1])``, and one node for each
depth from ``shared[r] + 1`` to ``shared[r + 1]``. So a first pass counts nodes and edges per depth without looking at ids, and a
second writes every edge to its final place, level by level (breadth first), from any block of rows.
"""

import numpy as np

from keras_su.decoding.prefix_tree_rows import running_bounds, spread


def offset_dtype(largest):
    """uint32 when every number up to ``largest`` fits, else uint64."""
    return np.dtype(np.uint32 if largest < 2**32 else np.uint64)


def with_following(blocks):
    """``(rows, shared, following)`` of each block, ``following`` being the first ``shared`` of the next block, 0 at the end."""
    held = None
    for rows, shared in blocks:
        if held is not None:
            yield (*held, int(shared[0]))
        held = rows, shared
    if held is not None:
        yield (*held, 0)


class _Block:
    """What both passes need of a block of rows."""

    def __init__(self, rows, shared, following):
        self.rows = rows
        self.above = np.asarray(shared, np.int64)  # ids shared with the row above
        self.below = np.append(self.above[1:], following)  # and with the row below
        self.deepest = np.maximum(self.above, self.below)
        lengths = np.diff(rows.bounds) - 1
        self.tail_sizes = lengths - np.minimum(self.deepest + 1, lengths) + 1  # the end mark included


class Layout:
    """Call ``count`` with every block, then ``allocate``, then ``write`` with every block again, in the same order."""

    def __init__(self, token_dtype):
        self.token_dtype = np.dtype(token_dtype)
        self.keys = self.values = self.text_bytes = 0
        self.tail_tokens = 1
        # Histograms of intervals of depths: +1 where one opens, -1 after it closes; the running sum counts those open.
        self._edges, self._nodes = np.zeros(2, np.int64), np.zeros(2, np.int64)

    def count(self, rows, shared, following):
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

    def allocate(self, make):
        """``{name: array}`` of all parts, each from ``make(name, length, dtype)``, with the entries that belong to no row."""
        nodes = np.cumsum(self._nodes)[:-1]
        nodes[0] = 1
        node_base, edge_base = running_bounds(nodes), running_bounds(np.cumsum(self._edges)[:-1])
        self.nodes, edges = int(node_base[-1]), int(edge_base[-1])
        parts = {
            "edge_start": (self.nodes + 1, offset_dtype(edges)),
            "edge_token": (edges, self.token_dtype),
            "edge_target": (edges, offset_dtype(self.nodes + self.keys)),
            "first_row": (self.nodes, offset_dtype(self.keys)),
            "tail_start": (self.keys + 1, offset_dtype(self.tail_tokens)),
            "tail_token": (self.tail_tokens, self.token_dtype),
            "value_start": (self.keys + 1 if self.values else 0, offset_dtype(self.values)),
            "text_start": (self.values + 1 if self.values else 0, offset_dtype(self.text_bytes)),
            "text": (self.text_bytes, np.dtype(np.uint8)),
        }
        arrays = {name: make(name, length, dtype) for name, (length, dtype) in parts.items()}
        arrays["edge_start"][0], arrays["edge_start"][-1] = 0, edges
        arrays["first_row"][0] = 0
        arrays["tail_token"][0], arrays["tail_start"][0] = np.iinfo(self.token_dtype).max, 1
        if self.values:
            arrays["value_start"][0] = arrays["text_start"][0] = 0
        # Where the next block continues: edge and node per depth, then tails, rows, values, bytes of text.
        self._next_edge, self._next_node = edge_base[:-1].copy(), node_base[:-1].copy()
        self._next_tail, self._next_row, self._next_value, self._next_text = 1, 0, 0, 0
        return arrays

    def write(self, arrays, rows, shared, following):
        block = _Block(rows, shared, following)
        tokens = rows.tokens.astype(self.token_dtype)
        tokens -= self.token_dtype.type(1)  # ids again; the closing 0 becomes the end mark
        self._write_edges(arrays, block, tokens)
        row_stop = self._next_row + len(rows)
        tails = self._next_tail + running_bounds(block.tail_sizes)
        arrays["tail_start"][self._next_row + 1 : row_stop + 1] = tails[1:]
        arrays["tail_token"][tails[0] : tails[-1]] = tokens[spread(rows.bounds[1:] - block.tail_sizes, block.tail_sizes)]
        if self.values:
            values = self._next_value + running_bounds(rows.counts)
            text = self._next_text + rows.text_bounds
            arrays["value_start"][self._next_row + 1 : row_stop + 1] = values[1:]
            arrays["text_start"][values[0] + 1 : values[-1] + 1] = text[1:]
            arrays["text"][text[0] : text[-1]] = rows.text
            self._next_value, self._next_text = values[-1], text[-1]
        self._next_row, self._next_tail = row_stop, tails[-1]

    def _write_edges(self, arrays, block, tokens):
        sizes = block.deepest - block.above + 1
        row = np.repeat(np.arange(len(sizes)), sizes)
        depth = spread(block.above, sizes)
        opens = depth > block.above[row]  # the first edge of a node: that of the prefix of ``depth`` ids
        # Number edges and nodes of the block level by level, then move each level to where the block's part of it begins.
        by_depth = np.argsort(depth.astype(np.uint16) if len(self._next_edge) <= 2**16 else depth, kind="stable")
        levels = len(self._next_edge)
        edges, nodes = np.bincount(depth, minlength=levels), np.bincount(depth[opens], minlength=levels)
        place, node = np.empty_like(depth), np.empty_like(depth)
        place[by_depth] = np.arange(len(depth)) + np.repeat(self._next_edge - running_bounds(edges)[:-1], edges)
        node[by_depth] = np.cumsum(opens[by_depth]) - 1 + np.repeat(self._next_node - running_bounds(nodes)[:-1], edges)
        self._next_edge += edges
        self._next_node += nodes

        arrays["edge_token"][place] = tokens[block.rows.bounds[row] + depth]
        # An edge into a shared prefix leads to the node that the row's next edge opens; the last edge of a row is its leaf.
        target = self.nodes + self._next_row + row
        inner = np.flatnonzero(depth < block.below[row])
        target[inner] = node[inner + 1]
        arrays["edge_target"][place] = target
        arrays["edge_start"][node[opens]] = place[opens]
        arrays["first_row"][node[opens]] = self._next_row + row[opens]


def _grown(histogram, size):
    return np.concatenate([histogram, np.zeros(size - len(histogram), np.int64)])
