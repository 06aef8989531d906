"""PrefixTree: which token may follow, over millions of known token sequences.

Constrained decoding keeps a model inside a list of allowed answers (De Cao et al., "Autoregressive Entity Retrieval",
arXiv 2010.00904; for a knowledge graph: https://kexue.fm/archives/8802). A nested dictionary answers "what may follow here"
too, at about 2 kB a key. Here only prefixes that at least two keys share are nodes, in one compressed sparse row table; the rest
of a key is a plain run of ids. That is about 35 bytes a key at 14 tokens a key, and every part is one array that can be
memory-mapped.
"""

from bisect import bisect_left, bisect_right
from functools import partial

import numpy as np

from keras_su.decoding.prefix_tree_build import build_arrays
from keras_su.decoding.prefix_tree_files import new_part, part_path, read_parts, replaced_folder, write_meta
from keras_su.decoding.prefix_tree_rows import running_bounds, spread

# A state is an int64: a node if >= 0, else the complement of a position in the tails. Position 0 of the tails is an end mark that
# belongs to no key, so that the complement of 0 is a state where nothing may follow: dead.
DEAD = -1


class PrefixTree:
    """A set of token sequences ("keys"), each with any number of text values, that can be walked token by token.

    A *state* is an integer that stands for a prefix. Start at ``root`` and ``advance`` token by token; a token that no key
    continues with leads to ``dead`` (-1), from where every token leads to ``dead`` again.

    >>> tree = PrefixTree.build([([5, 7, 9], "first"), ([5, 7], "second"), ([6], None)])
    >>> state = tree.find([5, 7])
    >>> tree.children(tree.root).tolist(), tree.children(state).tolist(), tree.is_key(state), tree.values(state)
    ([5, 6], [9], True, ['second'])
    >>> tree.advance(state, 6) == tree.dead, [5, 7, 9] in tree, len(tree)
    (True, True, 3)
    """

    root = 0
    dead = DEAD

    def __init__(self, parts):
        """Not called by users: see ``build`` and ``load``. ``parts`` are the arrays named in ``prefix_tree_layout``."""
        self._parts = {name: np.asarray(part).view() for name, part in parts.items()}
        for part in self._parts.values():
            part.flags.writeable = False
        for name, part in self._parts.items():
            setattr(self, "_" + name, part)
        self._nodes = len(self._first_row)
        self._keys = len(self._tail_start) - 1
        self._end = int(np.iinfo(self._edge_token.dtype).max)
        # Reading one element through a memoryview costs a third of reading it from an array.
        self._at_edge_start, self._at_edge_token = memoryview(self._edge_start), memoryview(self._edge_token)
        self._at_edge_target, self._at_first_row = memoryview(self._edge_target), memoryview(self._first_row)
        self._at_tail_start, self._at_tail_token = memoryview(self._tail_start), memoryview(self._tail_token)

    @classmethod
    def build(cls, items, *, folder=None, memory=512 * 2**20, progress=True, dtype=None):
        """Build a tree from ``items`` in any order.

        Args:
            items: iterable of ``(ids, value)`` or of ``ids``. ``ids`` is a sequence of integers or a 1-d integer array, possibly
                empty; ``value`` is a ``str``, or ``None`` for a key without value. A key that comes again keeps all its values.
            folder: write the tree there and map it instead of holding it in memory. The folder appears when the tree is complete;
                an earlier tree in its place is replaced.
            memory: bytes to work with. Keys that need more are sorted in several runs in the temporary folder of the system,
                about 60 bytes a key twice over. The result, where ``folder`` is ``None``, comes on top.
            progress: show progress bars, on a terminal only.
            dtype: of the token ids, ``uint16`` or ``uint32``. Default: uint16 while all ids are at most 65534.

        Raises:
            KerasSuError: an item is not a sequence of integers, or an id is negative or too large; the item is named.

        >>> tree = PrefixTree.build([[1, 2], [1, 3]], progress=False)
        >>> tree.completion_arrays(tree.root)[0].tolist()
        [1, 2, 1, 3]
        """
        if folder is None:
            return cls(build_arrays(items, lambda name, length, dtype: np.empty(length, dtype), memory, progress, dtype))
        with replaced_folder(folder) as fresh:
            parts = build_arrays(items, partial(new_part, fresh), memory, progress, dtype)
            write_meta(fresh, parts)
            del parts
        return cls.load(folder)

    def save(self, folder):
        """Write the tree into ``folder``: new, empty, or holding a tree that is then replaced. All or nothing is written."""
        with replaced_folder(folder) as fresh:
            for name, part in self._parts.items():
                np.save(part_path(fresh, name), part)
            write_meta(fresh, self._parts)

    @classmethod
    def load(cls, folder, mmap=True):
        """Open a saved tree.

        Args:
            folder: what ``save`` or ``build(folder=...)`` wrote.
            mmap: map the files, which takes milliseconds at any size and shares memory between processes. ``False`` reads them
                into memory and also verifies their checksums.

        Raises:
            KerasSuError: the folder is missing, incomplete, truncated, damaged, or of another version.
        """
        return cls(read_parts(folder, mmap))

    # Walking

    def advance(self, state, token):
        """The state after ``token``, or ``dead`` when no key goes on with it."""
        if not 0 <= token < self._end:
            return DEAD
        if state < 0:
            return int(state) - 1 if self._at_tail_token[~state] == token else DEAD
        start, stop = self._edges(state)
        edge = bisect_left(self._at_edge_token, token, start, stop)
        if edge == stop or self._at_edge_token[edge] != token:
            return DEAD
        target = self._at_edge_target[edge]
        return target if target < self._nodes else ~self._at_tail_start[target - self._nodes]

    def find(self, ids, state=0):
        """The state after all of ``ids`` from ``state``, or ``dead``."""
        for token in ids:
            state = self.advance(state, token)
            if state == DEAD:
                break
        return state

    def children(self, state):
        """Sorted token ids that may follow, ``(children,)`` uint16 or uint32. The end of a key is not among them: see ``is_key``.

        The array is a read-only view of the tree: asking costs the same for one child as for thousands.
        """
        if state < 0:
            position = ~state
            return self._tail_token[position : position + (self._at_tail_token[position] != self._end)]
        start, stop = self._edges(state)
        return self._edge_token[start:stop]

    def is_key(self, state):
        """Whether a key ends exactly here; others may still go on from here."""
        if state < 0:
            return state != DEAD and self._at_tail_token[~state] == self._end
        start = self._at_edge_start[state]
        return start < self._at_edge_start[state + 1] and self._at_edge_token[start] == self._end

    def __contains__(self, ids):
        return self.is_key(self.find(ids))

    def _edges(self, node):
        """Bounds of the edges of a node without its end edge, which is the first if there is one."""
        start, stop = self._at_edge_start[node], self._at_edge_start[node + 1]
        if start < stop and self._at_edge_token[start] == self._end:
            start += 1
        return start, stop

    # Keys and values below a state

    def __len__(self):
        return self._keys

    @property
    def num_values(self):
        return max(len(self._text_start) - 1, 0)

    @property
    def nbytes(self):
        """Bytes of all arrays, in memory or mapped."""
        return sum(part.nbytes for part in self._parts.values())

    def count(self, state):
        """How many keys begin with the prefix of ``state``, itself included."""
        start, stop = self._row_range(state)
        return stop - start

    def values(self, state):
        """All values of the key that ends here, in the order in which they were given; empty if none ends here."""
        return self._row_values(self._row_range(state)[0]) if self.is_key(state) else []

    def completions(self, state, limit=None):
        """Iterate over the keys below ``state`` in order of their ids, as ``(suffix, values)``.

        Args:
            state: any state; ``dead`` has no completions.
            limit: at most so many.

        Yields:
            ``suffix``: ids after the prefix of ``state``, ``(length,)``, empty for the key that ends here.
            ``values``: list of str.
        """
        first_row, last_row = self._row_range(state)
        total = last_row - first_row if limit is None else min(limit, last_row - first_row)
        done, block = 0, 64
        while done < total:
            ids, bounds = self.completion_arrays(state, min(block, total - done), start=done)
            for index in range(len(bounds) - 1):
                yield ids[bounds[index] : bounds[index + 1]], self._row_values(first_row + done + index)
            done += len(bounds) - 1
            block = min(2 * block, 8192)

    def keys(self):
        """Iterate over all keys, in order of their ids, each a 1-d array."""
        return (ids for ids, _ in self.completions(self.root))

    def completion_arrays(self, state, limit=None, start=0):
        """The suffixes of ``completions`` as one ragged array.

        ``start`` skips so many completions. The cost grows with the output, not with the size of the tree.

        Returns:
            ``(ids, bounds)``: suffix ``i`` is ``ids[bounds[i]:bounds[i + 1]]``.
        """
        first_row, last_row = self._row_range(state)
        first_row = min(first_row + start, last_row)
        last_row = last_row if limit is None else min(first_row + limit, last_row)
        if state < 0 or first_row == last_row:
            position = ~state
            stop = self._at_tail_start[last_row] - 1 if first_row < last_row else position
            return self._tail_token[position:stop], np.array([0, stop - position] if first_row < last_row else [0])
        return self._suffixes(state, first_row, last_row)

    def _suffixes(self, node, first_row, last_row):
        """Suffixes of the rows ``first_row:last_row``, all below ``node``: one array step per level of shared nodes."""
        rows = last_row - first_row
        heads, leaf_rows = [], []
        nodes, path = np.array([node]), np.empty((1, 0), self._edge_token.dtype)
        while len(nodes):
            # Rows before the first wanted one lie below the last node that begins at or before it; earlier nodes are not needed.
            row_of = self._first_row[nodes]
            nodes_from = max(int(np.searchsorted(row_of, first_row, side="right")) - 1, 0)
            nodes_to = int(np.searchsorted(row_of, last_row))
            nodes, path = nodes[nodes_from:nodes_to], path[nodes_from:nodes_to]
            starts = self._edge_start[nodes].astype(np.int64)
            sizes = self._edge_start[nodes + 1] - starts
            edges = spread(starts, sizes)
            path = np.concatenate([np.repeat(path, sizes, axis=0), self._edge_token[edges, None]], axis=1)
            targets = self._edge_target[edges].astype(np.int64)
            leaf = targets >= self._nodes
            row = targets - self._nodes - first_row
            wanted = leaf & (row >= 0) & (row < rows)
            heads.append(path[wanted])
            leaf_rows.append(row[wanted])
            nodes, path = targets[~leaf], path[~leaf]
        # Assemble: the path to the leaf edge, unless that is the end edge, then the tail without its end mark.
        head_sizes = np.empty(rows, np.int64)
        for head, row in zip(heads, leaf_rows):
            head_sizes[row] = head.shape[1] - (head[:, -1] == self._end)
        tail_starts = self._tail_start[first_row : last_row + 1].astype(np.int64)
        tail_sizes = np.diff(tail_starts) - 1
        bounds = running_bounds(head_sizes + tail_sizes)
        ids = np.empty(bounds[-1], self._edge_token.dtype)
        for head, row in zip(heads, leaf_rows):
            kept = np.arange(head.shape[1]) < head_sizes[row][:, None]
            ids[(bounds[row][:, None] + np.arange(head.shape[1]))[kept]] = head[kept]
        ids[spread(bounds[:-1] + head_sizes, tail_sizes)] = self._tail_token[spread(tail_starts[:-1], tail_sizes)]
        return ids, bounds

    def _row_range(self, state):
        """Keys are rows ``0 .. len - 1`` in order; those below a state are contiguous."""
        if state == DEAD:
            return 0, 0
        if state < 0:
            row = bisect_right(self._at_tail_start, ~state) - 1
            return row, row + 1
        if not self._keys:
            return 0, 0
        first_row, target = self._at_first_row[state], state
        while target < self._nodes:  # down the last edges to the last key
            target = self._at_edge_target[self._at_edge_start[target + 1] - 1]
        return first_row, target - self._nodes + 1

    def _row_values(self, row):
        if not len(self._value_start):
            return []
        first, last = int(self._value_start[row]), int(self._value_start[row + 1])
        bounds = self._text_start[first : last + 1].tolist()
        return [self._text[a:b].tobytes().decode("utf-8", "surrogatepass") for a, b in zip(bounds, bounds[1:])]

    # Many states at once

    def advance_many(self, states, tokens):
        """``advance`` for arrays of equal length: ``(n,)`` int64 states."""
        states, tokens = np.asarray(states, np.int64), np.asarray(tokens)
        out = np.full(len(states), DEAD, np.int64)
        valid = (tokens >= 0) & (tokens < self._end)
        tail = np.flatnonzero(valid & (states < 0))
        matches = tail[self._tail_token[~states[tail]] == tokens[tail]]
        out[matches] = states[matches] - 1
        inner = np.flatnonzero(valid & (states >= 0))
        wanted = tokens[inner]
        low = self._edge_start[states[inner]].astype(np.int64)
        stop = self._edge_start[states[inner] + 1].astype(np.int64)
        filled = np.flatnonzero(low < stop)
        low[filled] += self._edge_token[low[filled]] == self._end
        high = stop.copy()
        while True:  # binary search in every slice together
            open_ = np.flatnonzero(low < high)
            if not len(open_):
                break
            middle = (low[open_] + high[open_]) // 2
            smaller = self._edge_token[middle] < wanted[open_]
            low[open_[smaller]] = middle[smaller] + 1
            high[open_[~smaller]] = middle[~smaller]
        inside = np.flatnonzero(low < stop)
        found = inside[self._edge_token[low[inside]] == wanted[inside]]
        targets = self._edge_target[low[found]].astype(np.int64)
        leaf = targets >= self._nodes
        targets[leaf] = ~self._tail_start[targets[leaf] - self._nodes].astype(np.int64)
        out[inner[found]] = targets
        return out

    def children_many(self, states):
        """``children`` of many states; each distinct state is expanded once, however many beams are in it.

        Returns:
            ``(tokens, spans)``: the children of ``states[i]`` are ``tokens[spans[i, 0]:spans[i, 1]]``. ``spans`` is ``(n, 2)``
            int64, and equal states have equal spans.
        """
        distinct, index = np.unique(np.asarray(states, np.int64), return_inverse=True)
        pieces = [self.children(state) for state in distinct.tolist()]
        bounds = running_bounds([len(piece) for piece in pieces])
        tokens = np.concatenate(pieces) if pieces else np.zeros(0, self._edge_token.dtype)
        return tokens, np.stack([bounds[:-1], bounds[1:]], axis=1)[index]
