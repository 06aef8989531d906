"""The arrays of a prefix tree, made from sorted distinct rows in two passes.

Rows are the keys in order, ``shared[r]`` the number of leading ids that row ``r`` has in common with row ``r - 1``. A *node* is a
prefix that at least two keys share (the root always is one); the rest of a key, after the edge that leaves the last node, is
its *tail*. A row adds one edge for each depth from ``shared[r]`` to ``max(shared[r], shared[r + 1])``, and one node for each depth
from ``shared[r] + 1`` to ``shared[r + 1]``. So the first pass counts nodes and edges per depth without looking at ids, and the
second writes every edge to its final place, level by level (breadth first), from any window of rows.
"""

import numpy as np

from keras_su.decoding.prefix_tree_rows import running_bounds, spread

# Rows that are handled at a time: large enough for array operations, small enough to add little to the memory of the result.
WINDOW = 65536


def offset_dtype(largest):
    """uint32 when every number up to ``largest`` fits, else uint64."""
    return np.dtype(np.uint32 if largest < 2**32 else np.uint64)


class Layout:
    """Sizes and dtypes of all parts of the tree over ``rows`` whose neighbours share ``shared`` ids."""

    def __init__(self, rows, shared, token_dtype):
        self.rows, self.shared = rows, shared
        self.token_dtype = np.dtype(token_dtype)
        depths = int(shared.max(initial=0)) + 1
        edges = np.zeros(depths + 1, np.int64)
        nodes = np.zeros(depths + 1, np.int64)
        self.tail_tokens = 1
        for start, stop in self.windows():
            above, below = self.neighbours(start, stop)
            deepest = np.maximum(above, below)
            # Histograms of intervals: +1 where one opens, -1 after it closes; the running sum counts those open.
            edges += np.bincount(above, minlength=depths + 1) - np.bincount(deepest + 1, minlength=depths + 1)
            grows = below > above
            nodes += np.bincount(above[grows] + 1, minlength=depths + 1)
            nodes -= np.bincount(below[grows] + 1, minlength=depths + 1)
            self.tail_tokens += int(self.tail_sizes(start, stop, deepest).sum())
        node_counts = np.cumsum(nodes)[:depths]
        node_counts[0] = 1
        self.node_base = running_bounds(node_counts)
        self.edge_base = running_bounds(np.cumsum(edges)[:depths])

    def windows(self):
        count = len(self.rows)
        return [(start, min(start + WINDOW, count)) for start in range(0, count, WINDOW)]

    def neighbours(self, start, stop):
        """Ids that each row of a window shares with the row above and with the row below."""
        above = np.asarray(self.shared[start:stop], np.int64)
        below = np.zeros(stop - start, np.int64)
        following = self.shared[start + 1 : stop + 1]
        below[: len(following)] = following
        return above, below

    def tail_sizes(self, start, stop, deepest):
        """Tokens after the leaf edge of each row, the end mark included."""
        lengths = np.diff(self.rows.bounds[start : stop + 1]) - 1
        return lengths - np.minimum(deepest + 1, lengths) + 1

    def parts(self):
        """``{name: (length, dtype)}`` of every array of the tree."""
        nodes, edges, keys = int(self.node_base[-1]), int(self.edge_base[-1]), len(self.rows)
        values, text = len(self.rows.text_bounds) - 1, len(self.rows.text)
        row = offset_dtype(max(keys, 1))
        return {
            "edge_start": (nodes + 1, offset_dtype(edges)),
            "edge_token": (edges, self.token_dtype),
            "edge_target": (edges, offset_dtype(nodes + keys)),
            "first_row": (nodes, row),
            "tail_start": (keys + 1, offset_dtype(self.tail_tokens)),
            "tail_token": (self.tail_tokens, self.token_dtype),
            "value_start": (keys + 1 if values else 0, offset_dtype(values)),
            "text_start": (values + 1 if values else 0, offset_dtype(text)),
            "text": (text, np.dtype(np.uint8)),
        }

    def fill(self, arrays, progress):
        """Write every part into ``arrays``, sized as ``parts()`` says. ``progress(rows)`` is called after each window."""
        end = np.iinfo(self.token_dtype).max
        next_edge, next_node = self.edge_base[:-1].copy(), self.node_base[:-1].copy()
        arrays["edge_start"][-1] = self.edge_base[-1]
        arrays["edge_start"][0] = 0
        arrays["first_row"][0] = 0
        # Position 0 of the tails is an end mark of its own: the tail of the dead state, where nothing may follow.
        arrays["tail_token"][0] = end
        arrays["tail_start"][0] = 1
        tail_at = 1
        for start, stop in self.windows():
            tokens, bounds = self.window_tokens(start, stop)
            above, below = self.neighbours(start, stop)
            deepest = np.maximum(above, below)
            self.fill_edges(arrays, start, (tokens, bounds), (above, below, deepest), next_edge, next_node)
            sizes = self.tail_sizes(start, stop, deepest)
            tail_bounds = tail_at + running_bounds(sizes)
            arrays["tail_token"][tail_at : tail_bounds[-1]] = tokens[spread(bounds[1:] - sizes, sizes)]
            arrays["tail_start"][start + 1 : stop + 1] = tail_bounds[1:]
            tail_at = tail_bounds[-1]
            progress(stop - start)
        if len(arrays["text_start"]):
            arrays["value_start"][:] = self.rows.value_bounds
            arrays["text_start"][:] = self.rows.text_bounds
            arrays["text"][:] = self.rows.text

    def window_tokens(self, start, stop):
        """Ids of a window of rows, each closed by the end mark, and their bounds."""
        bounds = self.rows.bounds[start : stop + 1]
        tokens = self.rows.tokens[bounds[0] : bounds[-1]].astype(self.token_dtype)
        tokens -= self.token_dtype.type(1)  # the closing 0 becomes the largest number of the dtype: the end mark
        return tokens, bounds - bounds[0]

    def fill_edges(self, arrays, start, ragged, depths, next_edge, next_node):
        tokens, bounds = ragged
        above, below, deepest = depths
        sizes = deepest - above + 1
        row = np.repeat(np.arange(len(sizes)), sizes)
        depth = spread(above, sizes)
        opens_node = depth > above[row]  # the first edge of the node at (row, depth)
        by_depth = np.argsort(depth.astype(np.uint16) if depth.max() < 2**16 else depth, kind="stable")
        levels = len(next_edge)
        edges_here = np.bincount(depth, minlength=levels)
        nodes_here = np.bincount(depth[opens_node], minlength=levels)
        # Number within the window, level by level, moved to where this window's part of the level begins.
        place = np.empty(len(depth), np.int64)
        place[by_depth] = np.arange(len(depth)) + np.repeat(next_edge - running_bounds(edges_here)[:-1], edges_here)
        node = np.empty(len(depth), np.int64)
        opens_sorted = opens_node[by_depth]
        node[by_depth] = np.cumsum(opens_sorted) - 1 + np.repeat(next_node - running_bounds(nodes_here)[:-1], edges_here)
        next_edge += edges_here
        next_node += nodes_here

        arrays["edge_token"][place] = tokens[bounds[row] + depth]
        # An edge above a shared prefix leads to the node that the row's next edge opens; the row's last edge is its leaf.
        target = int(self.node_base[-1]) + start + row
        inner = np.flatnonzero(depth < below[row])
        target[inner] = node[inner + 1]
        arrays["edge_target"][place] = target
        arrays["edge_start"][node[opens_node]] = place[opens_node]
        arrays["first_row"][node[opens_node]] = start + row[opens_node]
