"""TensorFlow checkpoints (version 2, "tensor bundle") without TensorFlow: ``bert_model.ckpt.index`` and its ``.data-*`` files.

The index is a sorted table (``tf_table.py``) from names to small protocol buffers that say where in which data file a
tensor lies; the data files are the bytes of the tensors and nothing else. Format: tensorflow/core/protobuf/tensor_bundle.proto.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_su.errors import CheckpointError, listing
from keras_su.weights.crc32c import crc32c, mask
from keras_su.weights.output import named_arrays, octets, replacing
from keras_su.weights.protobuf import bytes_field, fields, fixed32_field, varint_field
from keras_su.weights.raw_file import BFLOAT16, FLOAT8_E4M3, FLOAT8_E5M2, RawFile, damaged
from keras_su.weights.reader import Reader
from keras_su.weights.tf_table import read_table, write_table

# tensorflow/core/framework/types.proto; strings, resources and quantised types are not weights.
_DTYPES = {
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    3: np.dtype("<i4"),
    4: np.dtype("u1"),
    5: np.dtype("<i2"),
    6: np.dtype("i1"),
    8: np.dtype("<c8"),
    9: np.dtype("<i8"),
    10: np.dtype("?"),
    14: BFLOAT16,
    17: np.dtype("<u2"),
    18: np.dtype("<c16"),
    19: np.dtype("<f2"),
    22: np.dtype("<u4"),
    23: np.dtype("<u8"),
    24: FLOAT8_E5M2,
    25: FLOAT8_E4M3,
}
_NUMBERS = {dtype: number for number, dtype in _DTYPES.items()}


class TensorEntry(NamedTuple):
    """Where a tensor lies. A partitioned variable has ``slices``: ``(starts, lengths)`` of each of its stored pieces."""

    dtype: np.dtype | None
    shape: tuple
    shard: int
    offset: int
    size: int
    crc: int
    slices: tuple


class TFBundleReader(Reader):
    """The tensors of a TensorFlow checkpoint, given by its prefix.

    The index alone is enough for names, shapes and dtypes; ``read`` opens the data files when it needs them and compares
    the checksum of every tensor that is read whole. String entries (the object graph of TensorFlow 2) are left out.
    Partitioned variables come out whole.
    """

    format = "tf"

    def __init__(self, prefix):
        super().__init__(prefix)
        self._shards = {}
        self._pieces = {}
        self._entries = {}
        index = f"{self.path}.index"
        pairs = read_table(index)
        if not pairs or pairs[0][0] != b"":
            raise CheckpointError(f"{index} is not the index of a TensorFlow checkpoint: the table has no header entry.")
        try:
            self.num_shards = _read_header(index, pairs[0][1])
            for key, value in pairs[1:]:
                if key.startswith(b"\0"):
                    self._pieces[key] = _read_entry(value)
                elif (entry := _read_entry(value)).dtype is not None:
                    self._entries[key.decode("utf-8")] = entry
        except (IndexError, UnicodeDecodeError):
            raise damaged(index, "an entry cannot be parsed") from None

    def names(self):
        return list(self._entries)

    def shape(self, name):
        self._check_name(name)
        return self._entries[name].shape

    def dtype(self, name):
        self._check_name(name)
        return self._entries[name].dtype

    def close(self):
        for shard in self._shards.values():
            shard.close()

    def _known(self):
        return self._entries

    def _read(self, name, rows):
        entry = self._entries[name]
        if not entry.slices:
            return self._read_entry(name, entry, rows)
        whole = np.empty(entry.shape, entry.dtype)
        for starts, lengths in entry.slices:
            piece = self._pieces.get(_slice_key(name, starts, lengths))
            if piece is None:
                raise damaged(f"{self.path}.index", f"it lacks the piece at {starts} of the partitioned variable {name!r}")
            place = tuple(slice(start, start + size) for start, size in zip(starts, piece.shape))
            whole[place] = self._read_entry(name, piece, None)
        return whole if rows is None else whole[rows]

    def _read_entry(self, name, entry, rows):
        shard = self._shard(entry.shard)
        if int(np.prod(entry.shape, dtype=np.int64)) * entry.dtype.itemsize != entry.size:
            raise damaged(f"{self.path}.index", f"{name!r} of shape {entry.shape} takes {entry.size} bytes")
        array = shard.array(entry.offset, entry.dtype, entry.shape, rows, name)
        if rows is None and mask(crc32c(array)) != entry.crc:
            raise damaged(shard.path, f"the checksum of {name!r} does not agree")
        return array

    def _shard(self, number):
        if number not in self._shards:
            path = Path(shard_path(self.path, number, self.num_shards))
            if not path.exists():
                prefix = Path(self.path)
                siblings = sorted(other.name for other in prefix.parent.glob("*") if other.name.startswith(prefix.name))
                raise CheckpointError(
                    f"The data file {path} is missing; the index {self.path}.index needs {self.num_shards} of them. "
                    f"Found beside it: {listing(siblings)}."
                )
            self._shards[number] = RawFile(path)
        return self._shards[number]


def write_tf_bundle(prefix, tensors):
    """Write a checkpoint that TensorFlow, bert4keras and ``open_checkpoint`` read.

    Args:
        prefix: path without suffix, e.g. ``"folder/bert_model.ckpt"``; ``.index`` and ``.data-00000-of-00001`` are added.
        tensors: ``{name: array}``, or an iterable of pairs, of which one at a time is in memory.

    Returns:
        The prefix as a ``Path``.

    Raises:
        CheckpointError: for a dtype that TensorFlow has not, or a name given twice; then nothing is left behind.

    Example:
        >>> import tempfile, numpy as np
        >>> from keras_su.weights import open_checkpoint, write_tf_bundle
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     prefix = write_tf_bundle(f"{folder}/model.ckpt", {"bert/pooler/dense/bias": np.zeros(3, "float32")})
        ...     open_checkpoint(prefix).read("bert/pooler/dense/bias")
        array([0., 0., 0.], dtype=float32)
    """
    entries, offset = {}, 0
    with replacing(f"{prefix}.index") as index_path:
        with replacing(shard_path(prefix, 0, 1)) as data_path, open(data_path, "wb") as data:
            for name, array in named_arrays(tensors):
                if array.dtype not in _NUMBERS:
                    known = listing(_NUMBERS, 20)
                    raise CheckpointError(f"TensorFlow checkpoints cannot hold {name!r} of dtype {array.dtype}. Known: {known}.")
                data.write(octets(array))
                entries[name.encode()] = _entry_message(array, offset)
                offset += array.nbytes
            index_path.write_bytes(write_table([(b"", _HEADER), *sorted(entries.items())]))
    return Path(prefix)


def shard_path(prefix, number, count):
    """``model.ckpt.data-00000-of-00001``."""
    return f"{prefix}.data-{number:05d}-of-{count:05d}"


_HEADER = varint_field(1, 1) + bytes_field(3, varint_field(1, 1))  # one shard, little-endian, format version 1


def _read_header(path, message):
    header = dict(fields(message))
    if header.get(2, 0) != 0:
        raise CheckpointError(f"{path} was written on a big-endian machine, which is not supported. Rewrite it with TensorFlow.")
    return header.get(1, 0)


def _read_entry(message):
    number = shard = offset = size = crc = 0
    shape, slices = (), []
    for field, value in fields(message):
        if field == 1:
            number = value
        elif field == 2:
            shape = tuple(dict(fields(dim)).get(1, 0) for kind, dim in fields(value) if kind == 2)
        elif field == 3:
            shard = value
        elif field == 4:
            offset = value
        elif field == 5:
            size = value
        elif field == 6:
            crc = value
        elif field == 7:
            extents = [dict(fields(extent)) for kind, extent in fields(value) if kind == 1]
            slices.append((tuple(e.get(1, 0) for e in extents), tuple(e.get(2, -1) for e in extents)))  # -1: to the end
    return TensorEntry(_DTYPES.get(number), shape, shard, offset, size, crc, tuple(slices))


def _entry_message(array, offset):
    shape = b"".join(bytes_field(2, varint_field(1, size)) for size in array.shape)
    message = varint_field(1, _NUMBERS[array.dtype]) + bytes_field(2, shape)
    return message + varint_field(4, offset) + varint_field(5, array.nbytes) + fixed32_field(6, mask(crc32c(array)))


def _slice_key(name, starts, lengths):
    """The table key of one piece of a partitioned variable, in the code of tensorflow/core/lib/strings/ordered_code.h."""
    escaped = name.encode().replace(b"\0", b"\0\xff").replace(b"\xff", b"\xff\0")
    extents = b"".join(_ordered_signed(start) + _ordered_signed(length) for start, length in zip(starts, lengths))
    return b"\0" + escaped + b"\0\1" + (bytes([1, len(starts)]) if starts else b"\0") + extents


def _ordered_signed(value):
    """Sign and length in the leading bits, so that encoded integers sort like integers: n bytes carry 7 n - 1 bits."""
    size = (value if value >= 0 else ~value).bit_length() // 7 + 1
    leading_ones = ((1 << size) - 1) << 7 * size
    return ((value & (1 << 8 * size) - 1) ^ leading_ones).to_bytes(size, "big")
