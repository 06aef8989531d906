"""More keys than memory: sorted runs on disk and their merge.

A run is sorted in memory and written column by column as raw numbers. In the merge the next rows of every run are in memory. All
rows up to the smallest last key of those can be sorted together and passed on: no later row can have a smaller or an equal key.
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

    def rows_in(self, nbytes):
        """How many rows take about ``nbytes`` bytes, but enough for array operations to make sense."""
        return max(16, int(nbytes * self.rows // max(self.nbytes, 1)))

    def blocks(self, nbytes):
        """Iterate over ``(rows, shared)`` in blocks of about ``nbytes`` bytes."""
        reader = RowReader(self)
        while reader.left:
            yield reader.read(self.rows_in(nbytes))


class RowReader:
    """Reads a ``RowFile`` from its beginning; ``left`` is the number of rows not yet read."""

    def __init__(self, source):
        self.source, self.left = source, source.rows
        self._at = dict.fromkeys(source.dtypes, 0)  # bytes read of each column

    def read(self, count):
        """``(rows, shared)`` of the next ``count`` rows, or of all that are left."""
        count = min(count, self.left)
        self.left -= count
        bounds, counts = running_bounds(self._column("sizes", count)), self._column("counts", count)
        text_bounds = running_bounds(self._column("text_sizes", int(counts.sum())))
        tokens, text = self._column("tokens", int(bounds[-1])), self._column("text", int(text_bounds[-1]))
        return Rows(tokens, bounds, counts, text_bounds, text), self._column("shared", count)

    def _column(self, name, count):
        column = np.fromfile(self.source.path(name), self.source.dtypes[name], count, offset=self._at[name])
        self._at[name] += column.nbytes
        return column


class _Head:
    """The next rows of one run, in memory; topped up after every step, so that the heads of all runs reach about as far."""

    def __init__(self, run, nbytes):
        self._reader, self._size = RowReader(run), run.rows_in(nbytes)
        self.rows, _ = self._reader.read(self._size)

    @property
    def is_last(self):
        return not self._reader.left

    @property
    def last_key(self):
        return self.rows.key(len(self.rows) - 1)

    def take(self, limit):
        """Remove and return the rows whose key is at most ``limit`` (all of them for ``None``)."""
        taken, self.rows = self.rows.split(self._position(limit))
        if self._reader.left and len(taken):
            more, _ = self._reader.read(self._size - len(self.rows))
            self.rows = concatenate([self.rows, more])
        return taken

    def _position(self, limit):
        low, high = 0, len(self.rows)
        if limit is None:
            return high
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
