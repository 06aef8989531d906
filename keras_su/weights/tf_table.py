"""The sorted table of key-value pairs that holds a TensorFlow checkpoint index (the file format of LevelDB).

A table is a row of blocks and a footer of 48 bytes: two block handles (offset and size as varints), padding, and a magic number.
Each block is followed by one byte for its compression (0 none, 1 Snappy) and a masked CRC-32C. A key is stored as the number of
bytes it shares with the previous key and the rest; restart points, where nothing is shared, are listed at the block's end.
Format: google/leveldb, doc/table_format.md.
"""

from pathlib import Path

from keras_su.errors import CheckpointError
from keras_su.weights import snappy
from keras_su.weights.crc32c import crc32c, mask
from keras_su.weights.protobuf import read_varint, write_varint
from keras_su.weights.raw_file import check_is_data, damaged

_MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
_FOOTER = 48
_RESTART_INTERVAL = 16
_BLOCK_SIZE = 1 << 18


def read_table(path):
    """All pairs of a table file, in order.

    Args:
        path: the file.

    Returns:
        A list of ``(key, value)``, both bytes.

    Raises:
        CheckpointError: if the file is no table, is truncated, or a checksum does not agree.
    """
    check_is_data(path)
    data = Path(path).read_bytes()
    if len(data) < _FOOTER or data[-8:] != _MAGIC:
        raise damaged(path, "it does not end with the magic number of a TensorFlow checkpoint index")
    try:
        footer = data[-_FOOTER:]
        _, position = _handle(footer, 0)  # the meta index: TensorFlow keeps nothing there
        index, _ = _handle(footer, position)
        pairs = []
        for _, encoded in _pairs_of(_block(path, data, index)):
            pairs.extend(_pairs_of(_block(path, data, _handle(encoded, 0)[0])))
        return pairs
    except IndexError:
        raise damaged(path, "a block of the index ends too early") from None


def write_table(pairs):
    """The bytes of a table with uncompressed blocks; ``pairs`` must be sorted by key."""
    output, index = bytearray(), []
    block = []
    size = 0
    for key, value in pairs:
        block.append((key, value))
        size += len(key) + len(value)
        if size >= _BLOCK_SIZE:
            index.append((key, _append_block(output, block)))
            block, size = [], 0
    if block or not index:
        index.append((block[-1][0] if block else b"", _append_block(output, block)))
    meta_handle = _append_block(output, [])
    index_handle = _append_block(output, index)
    output += (meta_handle + index_handle).ljust(_FOOTER - 8, b"\0") + _MAGIC
    return bytes(output)


def _handle(data, position):
    offset, position = read_varint(data, position)
    size, position = read_varint(data, position)
    return (offset, size), position


def _block(path, data, handle):
    """The decompressed contents of a block, after its checksum was compared."""
    offset, size = handle
    stored = data[offset : offset + size + 1]
    checksum = data[offset + size + 1 : offset + size + 5]
    if len(checksum) != 4:
        raise IndexError
    if mask(crc32c(stored)) != int.from_bytes(checksum, "little"):
        raise damaged(path, "the checksum of an index block does not agree")
    compression = stored[-1]
    if compression == 0:
        return stored[:-1]
    if compression == 1:
        return snappy.decompress(stored[:-1])
    raise CheckpointError(f"{path} has a block with compression {compression}; known are 0 (none) and 1 (Snappy).")


def _pairs_of(block):
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    if end < 0:
        raise IndexError
    position, key = 0, b""
    while position < end:
        shared, position = read_varint(block, position)
        unshared, position = read_varint(block, position)
        length, position = read_varint(block, position)
        if position + unshared + length > end or shared > len(key):
            raise IndexError
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + length]
        position += length


def _append_block(output, pairs):
    """Append a block with its trailer to ``output``; returns the encoded handle."""
    block, restarts, previous = bytearray(), [], b""
    for count, (key, value) in enumerate(pairs):
        shared = 0
        if count % _RESTART_INTERVAL == 0:
            restarts.append(len(block))
        else:
            while shared < min(len(key), len(previous)) and key[shared] == previous[shared]:
                shared += 1
        block += write_varint(shared) + write_varint(len(key) - shared) + write_varint(len(value)) + key[shared:] + value
        previous = key
    for restart in restarts or [0]:
        block += restart.to_bytes(4, "little")
    block += max(len(restarts), 1).to_bytes(4, "little")
    handle = write_varint(len(output)) + write_varint(len(block))
    block += b"\0"
    output += block + mask(crc32c(bytes(block))).to_bytes(4, "little")
    return handle
