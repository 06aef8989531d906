"""What all writers share: files that appear whole or not at all, and one pass over the tensors to write."""

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_su.errors import CheckpointError


@contextlib.contextmanager
def replacing(path):
    """Gives a temporary path beside ``path``, which takes its place on success and is removed after any exception.

    Missing parent folders are created.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_path(path):
    """An empty new file beside ``path``, with the permissions that an ordinary new file would get."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(name, 0o666 & ~mask)
    return Path(name)


def named_arrays(tensors):
    """Yields ``(name, array)`` from a mapping or an iterable of pairs; arrays come out C-contiguous and little-endian.

    Raises:
        CheckpointError: for a name that occurs twice or something that is not a numeric array.
    """
    seen = set()
    for name, array in tensors.items() if isinstance(tensors, Mapping) else tensors:
        if not isinstance(name, str) or not name:
            raise CheckpointError(f"Tensor names must be non-empty strings. Received: {name!r}.")
        if name in seen:
            raise CheckpointError(f"The tensor {name!r} was given twice; one file holds every name once.")
        seen.add(name)
        array = np.asarray(array, order="C")
        if array.dtype.hasobject or array.dtype.kind in "USMm":
            raise CheckpointError(f"The tensor {name!r} has dtype {array.dtype}; only numbers and booleans can be written.")
        if array.dtype.kind in "iufc" and array.dtype.byteorder != "|":
            array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        yield name, array


def octets(array):
    """The bytes of a contiguous array as a flat uint8 view, which files and checksums accept."""
    return array.reshape(-1).view(np.uint8)
