"""``.safetensors`` files: an 8-byte header length, a JSON header, and the bytes of the tensors (huggingface/safetensors, README).

Read and written here because the header is trivial, and so rows can be read alone, bfloat16 needs no framework, and errors
name the file.
"""

import json
import math

import numpy as np

from keras_su.errors import CheckpointError
from keras_su.weights.output import octets
from keras_su.weights.raw_file import BFLOAT16, FLOAT8_E4M3, FLOAT8_E5M2, RawFile, damaged
from keras_su.weights.reader import Reader

_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": BFLOAT16,
    "F8_E4M3": FLOAT8_E4M3,
    "F8_E5M2": FLOAT8_E5M2,
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
    "C64": np.dtype("<c8"),
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_MOST_HEADER_BYTES = 100_000_000  # the limit of the format's own library


class SafetensorsReader(Reader):
    """The tensors of one ``.safetensors`` file.

    ``format`` is ``"torch"`` unless the file's metadata say ``{"format": "tf"}``. ``metadata`` is the dictionary of strings
    in the header.
    """

    format = "torch"

    def __init__(self, path):
        super().__init__(path)
        self._file = RawFile(path)
        try:
            self._entries, self.metadata, self._start = _read_header(self._file)
        except BaseException:
            self._file.close()
            raise
        if self.metadata.get("format") == "tf":
            self.format = "tf"

    def names(self):
        return list(self._entries)

    def shape(self, name):
        self._check_name(name)
        return tuple(self._entries[name]["shape"])

    def dtype(self, name):
        self._check_name(name)
        code = self._entries[name]["dtype"]
        if code not in _DTYPES:
            raise CheckpointError(f"{name!r} in {self.path} has the dtype {code!r}. Known: {', '.join(_DTYPES)}.")
        return _DTYPES[code]

    def close(self):
        self._file.close()

    def _known(self):
        return self._entries

    def _read(self, name, rows):
        begin, end = self._entries[name]["data_offsets"]
        dtype, shape = self.dtype(name), self.shape(name)
        if math.prod(shape) * dtype.itemsize != end - begin:
            raise damaged(self.path, f"{name!r} of shape {shape} and dtype {dtype} takes {end - begin} bytes")
        return self._file.array(self._start + begin, dtype, shape, rows, name)


def looks_like_safetensors(head):
    """Whether the first bytes of a file announce a JSON header."""
    return len(head) > 8 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= _MOST_HEADER_BYTES


def write_safetensors_file(path, arrays, metadata):
    """Write one file from a list of ``(name, contiguous array)``; larger items first, so that every tensor is aligned."""
    arrays = sorted(arrays, key=lambda pair: -pair[1].dtype.itemsize)
    header, offset = {"__metadata__": metadata} if metadata else {}, 0
    for name, array in arrays:
        if array.dtype not in _CODES:
            known = ", ".join(_DTYPES)
            raise CheckpointError(f"A safetensors file cannot hold {name!r} of dtype {array.dtype}. Known: {known}.")
        end = offset + array.nbytes
        header[name] = {"dtype": _CODES[array.dtype], "shape": list(array.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, array in arrays:
            file.write(octets(array))


def _read_header(raw):
    """Entries by name, metadata, and the byte where the tensors begin."""
    file = raw.file
    length = int.from_bytes(file.read(8), "little")
    if raw.size < 8 or not 2 <= length <= _MOST_HEADER_BYTES:
        raise CheckpointError(f"{raw.path} is not a safetensors file: it announces a header of {length} bytes.")
    if 8 + length > raw.size:
        raise damaged(raw.path, f"the header ends at byte {8 + length}, the file at byte {raw.size}")
    try:
        header = json.loads(file.read(length))
        metadata = header.pop("__metadata__", None) or {}
        end = 0
        for entry in header.values():
            begin, stop = entry["data_offsets"]
            sizes = [begin, stop, *entry["shape"]]
            if not all(type(size) is int and size >= 0 for size in sizes) or begin > stop or not isinstance(entry["dtype"], str):
                raise ValueError
            end = max(end, stop)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise damaged(raw.path, "its header is no valid list of tensors") from None
    if 8 + length + end > raw.size:
        raise damaged(raw.path, f"the tensors end at byte {8 + length + end}, the file at byte {raw.size}")
    return header, metadata, 8 + length
