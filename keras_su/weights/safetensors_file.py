"""``.safetensors`` files through their library; ours are the interface of a ``Reader``, the choice of slices and the errors."""

import math
from contextlib import contextmanager

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from keras_su.errors import CheckpointError, bad_value, listing
from keras_su.weights.raw_file import BFLOAT16, FLOAT8_E4M3, FLOAT8_E5M2, check_is_data, damaged
from keras_su.weights.reader import Reader

# What the library gives as numpy arrays. It finds bfloat16 only after ml_dtypes was imported, which raw_file does.
_DTYPES = {
    "F64": np.dtype("f8"),
    "F32": np.dtype("f4"),
    "F16": np.dtype("f2"),
    "BF16": BFLOAT16,
    "I64": np.dtype("i8"),
    "I32": np.dtype("i4"),
    "I16": np.dtype("i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("u8"),
    "U32": np.dtype("u4"),
    "U16": np.dtype("u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
    "C64": np.dtype("c8"),
}
_WRITABLE = (*_DTYPES.values(), FLOAT8_E4M3, FLOAT8_E5M2)
_MOST_HEADER_BYTES = 100_000_000  # the limit of the library
_BYTES_PER_CALL = 32_768  # reading one more slice takes about as long as copying this much
_BYTES_PER_PIECE = 2**20  # copied twice, so it should stay in the cache of the processor


class SafetensorsReader(Reader):
    """The tensors of one ``.safetensors`` file.

    ``format`` is ``"torch"`` unless the file's metadata say ``{"format": "tf"}``. ``metadata`` is the dictionary of strings
    in the header.
    """

    format = "torch"

    def __init__(self, path):
        super().__init__(path)
        size = check_is_data(path)
        try:
            # Whole tensors are not mapped: the mapped pages would count as memory of this process next to the arrays.
            self._file = safe_open(self.path, framework="numpy", backend="pread")
        except SafetensorError as error:
            if "unknown variant" in str(error):
                raise CheckpointError(f"{path} holds a dtype that the installed safetensors does not know: {error}.") from None
            raise damaged(path, f"{error} (the file has {size:,} bytes)") from None
        self.metadata = self._file.metadata() or {}
        self._names = dict.fromkeys(self._file.offset_keys())
        if self.metadata.get("format") == "tf":
            self.format = "tf"

    def names(self):
        return list(self._names)

    def shape(self, name):
        return tuple(self._slice(name).get_shape())

    def dtype(self, name):
        code = self._slice(name).get_dtype()
        if code not in _DTYPES:
            raise CheckpointError(
                f"{name!r} in {self.path} has the dtype {code}, which the safetensors library does not read into numpy. "
                f"Expected one of: {listing(_DTYPES, 20)}. Convert it, e.g. with safetensors.torch."
            )
        return _DTYPES[code]

    def close(self):
        self._file.__exit__(None, None, None)

    def _known(self):
        return self._names

    def _slice(self, name):
        self._check_name(name)
        with self._naming(name):
            return self._file.get_slice(name)

    def _read(self, name, rows):
        shape, dtype = self.shape(name), self.dtype(name)
        with self._naming(name):
            if rows is None:
                return self._file.get_tensor(name)
            # Mapped for this one tensor: without mapping the library reads all of a tensor for every slice.
            with safe_open(self.path, framework="numpy", backend="mmap") as mapped:
                return _read_rows(mapped.get_slice(name), shape, dtype, rows)

    @contextmanager
    def _naming(self, name):
        try:
            yield
        except SafetensorError as error:
            raise CheckpointError(f"{name!r} in {self.path} cannot be read: {error}.") from None


def looks_like_safetensors(head):
    """Whether the first bytes of a file announce a JSON header."""
    return len(head) > 8 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= _MOST_HEADER_BYTES


def write_safetensors_file(path, arrays, metadata):
    """Fill the existing file ``path`` from a list of ``(name, array)`` as ``named_arrays`` yields them; its permissions stay.

    Raises:
        CheckpointError: for a dtype that such a file cannot hold.
        KerasSuError: for metadata that are not strings.
    """
    for name, array in arrays:
        if array.dtype not in _WRITABLE:
            known = listing([dtype.name for dtype in _WRITABLE], 20)
            raise CheckpointError(f"A safetensors file cannot hold {name!r} of dtype {array.dtype}. Known: {known}.")
    if not all(isinstance(text, str) for pair in metadata.items() for text in pair):
        raise bad_value("metadata", metadata, "a dictionary of strings")
    mode = path.stat().st_mode
    save_file(dict(arrays), path, metadata=metadata)
    path.chmod(mode)  # the library puts a new file there, which only its owner may read


def _read_rows(tensor, shape, dtype, rows):
    """Rows in any order, from few small slices: a gap is read through where that is cheaper than another slice."""
    result = np.empty((len(rows), *shape[1:]), dtype)
    if not result.size:
        return result
    order = np.argsort(rows, kind="stable")
    ascending = rows[order]
    row_bytes = math.prod(shape[1:]) * dtype.itemsize
    wide_gaps = (np.diff(ascending) - 1) * row_bytes > _BYTES_PER_CALL
    new_pieces = np.diff(ascending * row_bytes // _BYTES_PER_PIECE) > 0
    starts = np.flatnonzero(wide_gaps | new_pieces) + 1
    for places, wanted in zip(np.split(order, starts), np.split(ascending, starts)):
        first, last = int(wanted[0]), int(wanted[-1])
        result[places] = tensor[first : last + 1][wanted - first]
    return result
