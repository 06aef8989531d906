"""More keys than memory: sorted runs on disk and their merge.

A run is sorted in memory and written column by column as raw numbers. Runs are merged block by block: every run has one block in
memory, and all rows up to the smallest last key of those blocks can be sorted together and passed on, because no later block can
hold a smaller or an equal key.
"""

import os

import numpy as np

from keras_su.decoding.prefix_tree_rows import Rows, concatenate, running_bounds
from keras_su.decoding.prefix_tree_sort import shared_with, sort_rows

COLUMNS = {"sizes": np.uint32, "counts": np.uint32, "text_sizes": np.uint32, "text": np.uint8, "shared": np.uint32}


class RowFile:
    """Sorted distinct rows on disk, appended and read back in order."""

    def __init__(self, folder, token_dtype):
        self.folder = folder
        self.token_dtype = np.dtype(token_dtype)
        self.dtypes = {"tokens": self.token_dtype, **COLUMNS}
        self.rows = self.nbytes = 0
        os.mkdir(folder)

    def path(self, column):
        return os.path.join(self.folder, column)

    def append(self, rows, shared):
        """Add rows that sort after all rows so far."""
        columns = {
            "tokens": rows.tokens,
            "sizes": np.diff(rows.bounds),
            "counts": rows.counts,
            "text_sizes": np.diff(rows.text_bounds),
            "text": rows.text,
            "shared": shared,
        }
        for name, column in columns.items():
            with open(self.path(name), "ab") as file:
                column.astype(self.dtypes[name], copy=False).tofile(file)
        self.rows += len(rows)
        self.nbytes += rows.nbytes

    def blocks(self, nbytes):
        """Iterate over ``(rows, shared)`` in blocks of about ``nbytes`` bytes."""
        step = max(1, int(nbytes * self.rows // max(self.nbytes, 1)))
        at = dict.fromkeys(self.dtypes, 0)  # bytes read of each column

        def read(name, count):
            column = np.fromfile(self.path(name), self.dtypes[name], count, offset=at[name])
            at[name] += column.nbytes
            return column

        for start in range(0, self.rows, step):
            count = min(step, self.rows - start)
            bounds, counts = running_bounds(read("sizes", count)), read("counts", count)
            text_bounds = running_bounds(read("text_sizes", int(counts.sum())))
            rows = Rows(read("tokens", int(bounds[-1])), bounds, counts, text_bounds, read("text", int(text_bounds[-1])))
            yield rows, read("shared", count)


class _Head:
    """The block of one run that is in memory."""

    def __init__(self, run, nbytes):
        self._blocks = run.blocks(nbytes)
        self._rows_left = run.rows
        self._load()

    def _load(self):
        self.rows, _ = next(self._blocks)
        self._rows_left -= len(self.rows)
        self.last_key = self.rows.key(len(self.rows) - 1)

    @property
    def is_last(self):
        return not self._rows_left

    def take(self, limit):
        """Remove and return the rows whose key is at most ``limit`` (all of them for ``None``)."""
        taken, self.rows = self.rows.split(self._position(limit))
        if not len(self.rows) and not self.is_last:
            self._load()
        return taken

    def _position(self, limit):
        if limit is None or self.last_key <= limit:
            return len(self.rows)
        low, high = 0, len(self.rows)
        while low < high:
            middle = (low + high) // 2
            if self.rows.key(middle) <= limit:
                low = middle + 1
            else:
                high = middle
        return low


def merge(runs, memory):
    """Iterate over ``(rows, shared)`` blocks of all ``runs`` together: sorted, distinct, values in the order of the runs."""
    heads = [_Head(run, memory // (8 * len(runs))) for run in runs]
    previous_key = None
    while heads:
        limit = min((head.last_key for head in heads if not head.is_last), default=None)
        rows, shared = sort_rows(concatenate([head.take(limit) for head in heads]))
        heads = [head for head in heads if len(head.rows)]
        if previous_key is not None:
            shared[0] = shared_with(previous_key, rows.key(0))
        previous_key = rows.key(len(rows) - 1)
        yield rows, shared
