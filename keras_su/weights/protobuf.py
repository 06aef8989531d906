"""The wire format of protocol buffers, as far as TensorFlow's checkpoint index uses it."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def read_varint(data, position):
    """The unsigned integer at ``position`` and the position after it; an ``IndexError`` when the data end inside it.

    >>> read_varint(bytes([0xAC, 0x02]), 0)
    (300, 2)
    """
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise IndexError("a variable-length integer is longer than ten bytes")


def write_varint(value):
    """The shortest encoding of an unsigned integer."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def fields(message):
    """Yields ``(field number, value)`` of a message: int for numbers, bytes for strings and inner messages."""
    position = 0
    while position < len(message):
        key, position = read_varint(message, position)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, position = read_varint(message, position)
        elif wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
            value, position = int.from_bytes(message[position : position + size], "little"), position + size
        elif wire == BYTES:
            size, position = read_varint(message, position)
            value, position = message[position : position + size], position + size
        else:
            raise IndexError(f"unknown wire type {wire}")
        if position > len(message):
            raise IndexError("the message ends inside a field")
        yield number, value


def varint_field(number, value):
    """One encoded integer field; zero is left out, as the format has it."""
    return write_varint(number << 3 | VARINT) + write_varint(value) if value else b""


def bytes_field(number, value):
    """One encoded string or inner message."""
    return write_varint(number << 3 | BYTES) + write_varint(len(value)) + value


def fixed32_field(number, value):
    """One encoded 32-bit field."""
    return write_varint(number << 3 | FIXED32) + value.to_bytes(4, "little")
