"""Sorted rows on disk: written once, read back from any row on.

A folder holds one file of raw numbers a column, and a description that is written last and appears in one step. A folder without
it was left behind by a killed process. So is, perhaps, one whose files do not have the checksums that the description gives.
"""

import contextlib
import json
import os
import shutil
import zlib
from bisect import bisect_left
from functools import cached_property

import numpy as np

from keras_su.decoding.prefix_tree_rows import Rows, running_bounds

COLUMNS = {"sizes": np.uint32, "counts": np.uint32, "text_sizes": np.uint32, "text": np.uint8, "shared": np.uint32}
DESCRIPTION, FORMAT = "rows.json", "keras_su sorted rows 1"
SAMPLES = 256  # rows of which the position in every column is known
WINDOW = 32768  # rows handled at a time: enough for array operations to pay, and their index arrays still fit the cache


class SavedRows:
    """``rows`` sorted distinct rows in a folder.

    Attributes:
        digest: of the keys from which they were made, in the order in which they came; empty if none was asked for.
        taken, taken_bytes: how many keys that were, and how many bytes of ``Rows``.
        samples: ``(n + 1, 4)`` int64: row, and position of its tokens, values and text, every so many rows and at the end.
    """

    def __init__(self, folder, description):
        self.folder = folder
        self.rows, self.token_dtype = description["rows"], np.dtype(description["token_dtype"])
        self.digest, self.taken, self.taken_bytes = (description[name] for name in ("digest", "taken", "taken_bytes"))
        self.samples = np.array(description["samples"], np.int64)
        self.dtypes = {"tokens": self.token_dtype, **COLUMNS}

    @classmethod
    def write(cls, folder, rows, shared, checksums=False, digest="", taken=0, taken_bytes=0):
        """Write ``rows``; arguments as the attributes. ``checksums`` are needed only by ``reopen``."""
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder)
        columns = {
            "tokens": rows.tokens,
            "sizes": np.diff(rows.bounds),
            "counts": rows.counts,
            "text_sizes": np.diff(rows.text_bounds),
            "text": rows.text,
            "shared": shared,
        }
        written = {}
        for name, column in columns.items():
            column = np.ascontiguousarray(column, COLUMNS.get(name, rows.tokens.dtype))
            column.tofile(os.path.join(folder, name))
            written[name] = [column.nbytes, zlib.crc32(column.view(np.uint8)) if checksums else 0]
        every = np.append(np.arange(0, len(rows), max(1, len(rows) // SAMPLES)), len(rows))
        values = running_bounds(rows.counts)[every]
        description = {
            "format": FORMAT,
            "rows": len(rows),
            "token_dtype": rows.tokens.dtype.str,
            "digest": digest,
            "taken": taken,
            "taken_bytes": taken_bytes,
            "columns": written,
            "samples": np.stack([every, rows.bounds[every], values, rows.text_bounds[values]], axis=1).tolist(),
        }
        write_json(os.path.join(folder, DESCRIPTION), description)
        return cls(folder, description)

    @classmethod
    def reopen(cls, folder):
        """What another process wrote there with checksums, or ``None`` if that is not all there."""
        description = read_json(os.path.join(folder, DESCRIPTION))
        if not isinstance(description, dict) or description.get("format") != FORMAT:
            return None
        for name, (nbytes, crc32) in description["columns"].items():
            try:
                column = np.fromfile(os.path.join(folder, name), np.uint8)
            except OSError:
                return None
            if column.nbytes != nbytes or zlib.crc32(column) != crc32:
                return None
        return cls(folder, description)

    def read(self, start, stop):
        """``(rows, shared)`` of the rows ``start:stop``."""
        row, token, value, text = self.samples[np.searchsorted(self.samples[:, 0], start, side="right") - 1].tolist()
        skipped = start - row
        sizes, counts = (self._column(name, row, stop - row) for name in ("sizes", "counts"))
        token += int(sizes[:skipped].sum(dtype=np.int64))
        skipped_values, values = int(counts[:skipped].sum()), int(counts.sum())
        text_sizes = self._column("text_sizes", value, values)
        text += int(text_sizes[:skipped_values].sum(dtype=np.int64))
        bounds, text_bounds = running_bounds(sizes[skipped:]), running_bounds(text_sizes[skipped_values:])
        tokens, text = self._column("tokens", token, int(bounds[-1])), self._column("text", text, int(text_bounds[-1]))
        return Rows(tokens, bounds, counts[skipped:], text_bounds, text), self._column("shared", start, stop - start)

    def _column(self, name, start, count):
        dtype = np.dtype(self.dtypes[name])
        return np.fromfile(os.path.join(self.folder, name), dtype, count, offset=start * dtype.itemsize)

    def blocks(self):
        """Iterate over ``(rows, shared)`` of at most ``WINDOW`` rows."""
        for start in range(0, self.rows, WINDOW):
            yield self.read(start, min(start + WINDOW, self.rows))

    def key(self, row):
        """``Rows.key`` of a row."""
        return self.read(row, row + 1)[0].key(0)

    @cached_property
    def sample_keys(self):
        """The keys of ``samples``, without the end."""
        tokens = np.memmap(os.path.join(self.folder, "tokens"), self.token_dtype, mode="r")
        sizes = np.memmap(os.path.join(self.folder, "sizes"), COLUMNS["sizes"], mode="r")
        return [tokens[at : at + int(sizes[row])].astype(">u4").tobytes() for row, at in self.samples[:-1, :2].tolist()]

    def sample_bytes(self):
        """``(n,)`` bytes as ``Rows`` from each sample to the next."""
        rows, tokens, values, text = np.diff(self.samples, axis=0).T
        return 12 * rows + self.token_dtype.itemsize * tokens + 8 * values + text

    def position(self, key):
        """The first row whose key is not less than ``key``."""
        after = bisect_left(self.sample_keys, key)
        if not after:
            return 0
        start, stop = self.samples[after - 1 : after + 1, 0].tolist()
        rows, _ = self.read(start, stop)
        return start + bisect_left(range(len(rows)), key, key=rows.key)


def write_json(path, content):
    """Write a file that is there either completely or not at all."""
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(content, file)
    os.replace(path + ".new", path)


def read_json(path):
    """The content of such a file, or ``None``."""
    with contextlib.suppress(OSError, ValueError):
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    return None
