"""The arrays that a prefix tree consists of, in memory as on disk, and what a state is.

Keys are *rows* in the order of their ids. A *node* is a prefix that at least two keys share; the root always is one. What is left
of a key after the edge that leaves its last node is its *tail*. A *state* is an int64: a node if >= 0, else the complement of a
position in the tails.
"""

from dataclasses import dataclass, fields

import numpy as np

# The complement of position 0 of the tails, an end mark that belongs to no key: nothing may follow, so every step stays here.
DEAD = -1


@dataclass
class Parts:
    """The arrays of a tree; read-only.

    Attributes:
        edge_start: ``(nodes + 1,)``; the edges of node ``n`` are ``edge_start[n]:edge_start[n + 1]``, the end mark first, then
            sorted by token.
        edge_token: ``(edges,)`` token id. The largest number of the dtype is the end mark: a key ends here.
        edge_target: ``(edges,)`` a node, or ``nodes + row`` where only one key is left.
        first_row: ``(nodes,)`` row of the first key below each node.
        tail_start: ``(keys + 1,)``; the tail of row ``r`` is ``tail_token[tail_start[r]:tail_start[r + 1]]``.
        tail_token: token ids; each tail is closed by the end mark. Position 0 belongs to no key.
        value_start: ``(keys + 1,)``; the values of row ``r`` are ``value_start[r]:value_start[r + 1]``. Empty without any values.
        text_start: ``(values + 1,)``; value ``v`` is ``text[text_start[v]:text_start[v + 1]]``. Empty without any values.
        text: ``(bytes,)`` uint8, all values in UTF-8.
    """

    edge_start: np.ndarray
    edge_token: np.ndarray
    edge_target: np.ndarray
    first_row: np.ndarray
    tail_start: np.ndarray
    tail_token: np.ndarray
    value_start: np.ndarray
    text_start: np.ndarray
    text: np.ndarray

    def __post_init__(self):
        for field in fields(self):
            # A plain view: indexing a numpy.memmap costs several times as much.
            part = np.asarray(getattr(self, field.name)).view(np.ndarray)
            part.flags.writeable = False
            setattr(self, field.name, part)
        self.nodes, self.keys = len(self.first_row), len(self.tail_start) - 1
        self.end = int(np.iinfo(self.edge_token.dtype).max)

    def items(self):
        """``(name, array)`` of every part."""
        return [(field.name, getattr(self, field.name)) for field in fields(self)]

    def edges(self, nodes):
        """First edge and number of edges of each node, int64, without the end edge."""
        starts = self.edge_start[nodes].astype(np.int64)
        sizes = self.edge_start[nodes + 1].astype(np.int64) - starts
        some = np.flatnonzero(sizes)
        ends_here = self.edge_token[starts[some]] == self.end
        starts[some] += ends_here
        sizes[some] -= ends_here
        return starts, sizes

    def states_at(self, edges):
        """The states that edges lead to."""
        states = self.edge_target[edges].astype(np.int64)
        leaf = np.flatnonzero(states >= self.nodes)
        states[leaf] = ~self.tail_start[states[leaf] - self.nodes].astype(np.int64)
        return states
