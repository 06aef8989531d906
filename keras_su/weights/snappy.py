"""Decompression of Snappy blocks, found in real TensorFlow checkpoint indexes (google/snappy, format_description.txt)."""

from keras_su.errors import CheckpointError
from keras_su.weights.protobuf import read_varint


def decompress(data):
    """The original bytes of one Snappy block (not the framed stream format).

    >>> decompress(bytes([11, 0b000, ord("a"), 0b100110, 1, 0]))
    b'aaaaaaaaaaa'
    """
    try:
        expected, position = read_varint(data, 0)
        output = bytearray()
        while position < len(data):
            tag = data[position]
            position += 1
            if tag & 3 == 0:
                position = _literal(data, position, tag >> 2, output)
            else:
                position = _copy(data, position, tag, output)
            if len(output) > expected:
                raise CheckpointError("Snappy data are damaged: more bytes come out than the header announces.")
    except IndexError:
        raise CheckpointError("Snappy data are damaged: they end inside an element.") from None
    if len(output) != expected:
        raise CheckpointError(f"Snappy data are damaged: {len(output)} bytes came out, the header announces {expected}.")
    return bytes(output)


def _literal(data, position, length, output):
    if length >= 60:  # the length itself follows in 1 to 4 bytes
        size = length - 59
        length = int.from_bytes(data[position : position + size], "little")
        position += size
    length += 1
    piece = data[position : position + length]
    if len(piece) != length:
        raise IndexError
    output += piece
    return position + length


def _copy(data, position, tag, output):
    kind = tag & 3
    if kind == 1:
        length = (tag >> 2 & 7) + 4
        offset = tag >> 5 << 8 | data[position]
        position += 1
    else:
        size = 2 if kind == 2 else 4
        length = (tag >> 2) + 1
        if position + size > len(data):
            raise IndexError
        offset = int.from_bytes(data[position : position + size], "little")
        position += size
    if not 0 < offset <= len(output):
        raise CheckpointError("Snappy data are damaged: a copy reaches before the beginning.")
    start = len(output) - offset
    pattern = bytes(output[start : start + length])
    while len(pattern) < length:  # the source may overlap what it produces: then it repeats itself
        pattern += pattern
    output += pattern[:length]
    return position
