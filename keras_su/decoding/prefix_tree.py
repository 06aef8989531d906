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

from keras_su.decoding.prefix_tree_build import Build
from keras_su.decoding.prefix_tree_collect import array_blocks, checked_arrays, item_blocks
from keras_su.decoding.prefix_tree_files import read_parts, write_parts
from keras_su.decoding.prefix_tree_folder import replaced_folder
from keras_su.decoding.prefix_tree_many import children_of, next_states, suffixes
from keras_su.decoding.prefix_tree_parts import DEAD, Parts
from keras_su.errors import bad_value


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
        """Not for users, who ``build`` or ``load``. ``parts``: ``{name: array}``, the fields of ``Parts``."""
        self._parts = parts = Parts(**parts)
        self._nodes, self._end = parts.nodes, parts.end
        # Reading one element through a memoryview costs a third of reading it from an array.
        self._edge_start, self._edge_token = memoryview(parts.edge_start), memoryview(parts.edge_token)
        self._edge_target, self._first_row = memoryview(parts.edge_target), memoryview(parts.first_row)
        self._tail_start, self._tail_token = memoryview(parts.tail_start), memoryview(parts.tail_token)

    @classmethod
    def build(cls, items, *, folder=None, memory=512 * 2**20, workers=None, progress=True, dtype=None):
        """Build a tree from ``items`` in any order.

        Args:
            items: iterable of ``(ids, value)`` or of ``ids``. ``ids`` is a sequence of integers or a 1-d integer array, possibly
                empty; ``value`` is a ``str``, or ``None`` for a key without value. A key that comes again keeps all its values.
            folder: write the tree there and map it instead of holding it in memory. The folder appears when the tree is complete;
                an earlier tree in its place is replaced. After a kill the same call goes on where it was: what was sorted is in
                ``<folder>.building`` and is used again as far as the items are the same. An error removes it.
            memory: bytes to work with. Keys that need more are sorted in several runs on disk, beside ``folder`` or in the
                system's folder for temporary files, about 60 bytes a key twice over. The result, if kept in memory, comes on top.
            workers: threads that sort, merge and write at the same time. Default: the cores there are, one for each 128 MB of
                ``memory`` at most. The tree is the same for any number.
            progress: show progress bars, on a terminal only.
            dtype: of the token ids, ``uint16`` or ``uint32``. Default: uint16 while all ids are at most 65534.

        Raises:
            KerasSuError: an item is not a sequence of integers, or an id is negative or too large; the item is named. Or
                ``folder`` holds something else, or another process builds it now.

        >>> tree = PrefixTree.build([[1, 2], [1, 3]], progress=False)
        >>> tree.completion_arrays(tree.root)[0].tolist()
        [1, 2, 1, 3]
        """
        build = Build(memory, workers, progress, dtype, len(items) if hasattr(items, "__len__") else None)
        return cls._build(partial(item_blocks, items), build, folder)

    @classmethod
    def from_arrays(cls, ids, bounds, values=None, *, folder=None, memory=512 * 2**20, workers=None, progress=True, dtype=None):
        """``build`` for keys that are one ragged array already: twice as fast, for no list is looked at.

        Args:
            ids: ``(ids,)`` integers, perhaps memory-mapped; key ``i`` is ``ids[bounds[i]:bounds[i + 1]]``.
            bounds: ``(keys + 1,)`` integers.
            values: sequence of a ``str`` or ``None`` for each key, read slice by slice, or ``None`` for no values at all.
            folder, memory, workers, progress, dtype: as for ``build``.

        >>> tree = PrefixTree.from_arrays([1, 2, 1, 3, 4], [0, 2, 5], ["a", "b"])
        >>> tree.values(tree.find([1, 3, 4]))
        ['b']
        """
        ids, bounds, values = checked_arrays(ids, bounds, values)
        build = Build(memory, workers, progress, dtype, len(bounds) - 1)
        return cls._build(partial(array_blocks, ids, bounds, values), build, folder)

    @classmethod
    def _build(cls, source, build, folder):
        return cls(build.in_memory(source)) if folder is None else cls.load(build.in_folder(source, folder))

    def save(self, folder):
        """Write the tree into ``folder``: new, empty, or holding a tree that is then replaced. All or nothing is written."""
        with replaced_folder(folder) as fresh:
            write_parts(fresh, dict(self._parts.items()))

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

    def __reduce__(self):
        return PrefixTree, (dict(self._parts.items()),)

    # Walking

    def advance(self, state, token):
        """The state after ``token``, or ``dead`` when no key goes on with it."""
        if not 0 <= token < self._end:
            return DEAD
        if state < 0:
            return int(state) - 1 if self._tail_token[~state] == token else DEAD
        start, stop = self._edges(state)
        edge = bisect_left(self._edge_token, token, start, stop)
        if edge == stop or self._edge_token[edge] != token:
            return DEAD
        target = self._edge_target[edge]
        return target if target < self._nodes else ~self._tail_start[target - self._nodes]

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
            return self._parts.tail_token[position : position + (self._tail_token[position] != self._end)]
        start, stop = self._edges(state)
        return self._parts.edge_token[start:stop]

    def is_key(self, state):
        """Whether a key ends exactly here; others may still go on from here."""
        if state < 0:
            return state != DEAD and self._tail_token[~state] == self._end
        start = self._edge_start[state]
        return start < self._edge_start[state + 1] and self._edge_token[start] == self._end

    def __contains__(self, ids):
        return self.is_key(self.find(ids))

    def _edges(self, node):
        """Bounds of the edges of a node without its end edge, which is the first if there is one."""
        start, stop = self._edge_start[node], self._edge_start[node + 1]
        if start < stop and self._edge_token[start] == self._end:
            start += 1
        return start, stop

    # Keys and values below a state

    def __len__(self):
        return self._parts.keys

    @property
    def num_values(self):
        return max(len(self._parts.text_start) - 1, 0)

    @property
    def nbytes(self):
        """Bytes of all arrays, in memory or mapped."""
        return sum(part.nbytes for _, part in self._parts.items())

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
        if start < 0 or (limit is not None and limit < 0):
            raise bad_value("PrefixTree.completion_arrays: limit and start", (limit, start), "numbers that are not negative")
        first_row, last_row = self._row_range(state)
        first_row = min(first_row + start, last_row)
        last_row = last_row if limit is None else min(first_row + limit, last_row)
        if first_row == last_row:
            return self._parts.edge_token[:0], np.zeros(1, np.int64)
        if state < 0:
            ids = self._parts.tail_token[~state : self._tail_start[last_row] - 1]
            return ids, np.array([0, len(ids)])
        return suffixes(self._parts, state, first_row, last_row)

    def _row_range(self, state):
        """Keys are rows ``0 .. len - 1`` in order; those below a state are contiguous."""
        if state == DEAD:
            return 0, 0
        if state < 0:
            row = bisect_right(self._tail_start, ~state) - 1
            return row, row + 1
        if not self._parts.keys:
            return 0, 0
        first_row, target = self._first_row[state], state
        while target < self._nodes:  # down the last edges to the last key
            target = self._edge_target[self._edge_start[target + 1] - 1]
        return first_row, target - self._nodes + 1

    def _row_values(self, row):
        parts = self._parts
        if not len(parts.text_start):
            return []
        first, last = int(parts.value_start[row]), int(parts.value_start[row + 1])
        bounds = parts.text_start[first : last + 1].tolist()
        return [parts.text[start:stop].tobytes().decode("utf-8", "surrogatepass") for start, stop in zip(bounds, bounds[1:])]

    # Many states at once

    def advance_many(self, states, tokens):
        """``advance`` for arrays of equal length, ``(n,)`` states and ``(n,)`` integer tokens: ``(n,)`` int64 states."""
        states, tokens = np.asarray(states, np.int64), np.asarray(tokens)
        if states.shape != tokens.shape or states.ndim != 1:
            raise bad_value("PrefixTree.advance_many: shapes", (states.shape, tokens.shape), "two 1-d arrays of equal length")
        return next_states(self._parts, states, tokens)

    def children_many(self, states):
        """``children`` of many states; each distinct state is expanded once, however many beams are in it.

        Returns:
            ``(tokens, spans)``: the children of ``states[i]`` are ``tokens[spans[i, 0]:spans[i, 1]]``. ``spans`` is ``(n, 2)``
            int64, and equal states have equal spans.

        >>> tree = PrefixTree.build([[1, 2], [1, 3]])
        >>> tokens, spans = tree.children_many([tree.root, tree.find([1]), tree.root])
        >>> tokens.tolist(), spans.tolist()
        ([1, 2, 3], [[0, 1], [1, 3], [0, 1]])
        """
        return children_of(self._parts, np.asarray(states, np.int64))
