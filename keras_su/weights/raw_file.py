"""Tensors at a byte offset of a file, and the checks that every downloaded file deserves before it is parsed."""

import math
import re
from pathlib import Path

import ml_dtypes
import numpy as np

from keras_su.errors import CheckpointError

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOAT8_E4M3 = np.dtype(ml_dtypes.float8_e4m3fn)
FLOAT8_E5M2 = np.dtype(ml_dtypes.float8_e5m2)


def named_dtype(dtype):
    """numpy's own formats store bfloat16 as nameless two-byte items; no other extension type has this size."""
    return BFLOAT16 if dtype == np.dtype("V2") else dtype


class RawFile:
    """A file of which pieces are read as arrays with a single copy, from the disk to the memory of the caller."""

    def __init__(self, path):
        self.path = str(path)
        self.size = check_is_data(path)
        self.file = open(path, "rb")

    def array(self, offset, dtype, shape, rows=None, name="the data"):
        """Little-endian values of ``dtype`` from ``offset`` on; with ``rows`` only these indices of axis 0 (they must exist)."""
        dtype = np.dtype(dtype)
        length = math.prod(shape) * dtype.itemsize
        if rows is not None:
            return self.mapped(offset, dtype, math.prod(shape), name).reshape(shape)[rows]
        self._check_end(offset + length, name)
        array = np.empty(shape, dtype)
        self.file.seek(offset)
        if self.file.readinto(array.reshape(-1).view(np.uint8)) != length:
            raise damaged(self.path, f"{name!r} could not be read to its end")
        return array

    def mapped(self, offset, dtype, count, name="the data"):
        """A read-only flat view of ``count`` values that stays on the disk until it is touched."""
        self._check_end(offset + count * dtype.itemsize, name)
        if not count:
            return np.empty(0, dtype)
        return np.memmap(self.path, mode="r", dtype=dtype, offset=offset, shape=(count,))

    def close(self):
        self.file.close()

    def _check_end(self, end, name):
        if end > self.size:
            raise damaged(self.path, f"{name!r} ends at byte {end}, the file at byte {self.size}")


def damaged(path, detail):
    """The error for a file that ends too early or contradicts itself."""
    return CheckpointError(f"{path} is truncated or damaged: {detail}. Download or copy the file again.")


def check_is_data(path):
    """Refuse files that are obviously not weights (empty, a git-lfs pointer, a web page); returns the size in bytes."""
    path = Path(path)
    size = path.stat().st_size
    if not size:
        raise CheckpointError(f"{path} is empty (0 bytes). Download or copy the file again.")
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        real = re.search(rb"^size (\d+)", head, re.MULTILINE)
        expected = f" of {int(real[1]):,} bytes" if real else ""
        raise CheckpointError(
            f"{path} is a git-lfs pointer, a small text that stands for the real file{expected}. "
            "Run `git lfs pull` in its repository, or download the file itself."
        )
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|\?xml|head)", head, re.IGNORECASE):
        raise CheckpointError(
            f"{path} is a web page, not a weight file. The download saved an error or login page; fetch the file itself."
        )
    return size
