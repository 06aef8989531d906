"""CRC-32C and Snappy, the two codes inside a TensorFlow checkpoint index, against their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_su.errors import CheckpointError
from keras_su.weights.crc32c import crc32c, mask
from keras_su.weights.protobuf import read_varint, write_varint
from keras_su.weights.snappy import decompress


def crc_bit_by_bit(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    "data, expected",  # RFC 3720, B.4
    [(b"\0" * 32, 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E), (b"123456789", 0xE3069283)],
    ids=["zeros", "ones", "ascending", "digits"],
)
def test_crc_of_published_examples(data, expected):
    assert crc32c(data) == expected


@given(st.binary(max_size=200))
def test_crc_of_short_messages(data):
    assert crc32c(data) == crc_bit_by_bit(data)


@pytest.mark.parametrize("size", [45479, 45480, 45487, 80064, 131073])
def test_crc_of_messages_that_are_folded(size):
    data = np.random.default_rng(size).bytes(size)
    assert crc32c(data) == crc_bit_by_bit(data)


@pytest.mark.parametrize("size", [(1 << 20) + 8, (1 << 20) + 9, 3 * (1 << 20) - 1])
def test_crc_over_several_chunks_is_linear(size):
    # crc(a) ^ crc(b) ^ crc(a ^ b) is the same for all a and b of one length: the value for zeros.
    rng = np.random.default_rng(size)
    a, b = rng.integers(0, 256, (2, size), dtype=np.uint8)
    assert crc32c(a) ^ crc32c(b) ^ crc32c(a ^ b) == crc32c(np.zeros(size, np.uint8))
    changed = a.copy()
    changed[size // 3] ^= 1
    assert crc32c(changed) != crc32c(a)


def test_crc_ignores_the_shape_of_an_array():
    array = np.arange(60, dtype="f4").reshape(3, 4, 5)
    assert crc32c(array) == crc32c(array.tobytes())


def test_mask_matches_the_definition():
    crc = 0xE3069283
    rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    assert mask(crc) == (rotated + 0xA282EAD8) % 2**32


def literal(data):
    size = len(data) - 1
    if size < 60:
        return bytes([size << 2]) + data
    length = (size.bit_length() + 7) // 8
    return bytes([(59 + length) << 2]) + size.to_bytes(length, "little") + data


def copy(offset, length, kind):
    if kind == 1:
        return bytes([1 | (length - 4) << 2 | offset >> 8 << 5, offset & 255])
    return bytes([kind | (length - 1) << 2]) + offset.to_bytes(2 if kind == 2 else 4, "little")


@st.composite
def snappy_streams(draw):
    """A valid stream and what it stands for, made element by element."""
    plain, stream = b"", b""
    for _ in range(draw(st.integers(0, 8))):
        kind = draw(st.sampled_from([0, 1, 2, 3])) if plain else 0
        if kind == 0:
            piece = draw(st.binary(min_size=1, max_size=300))
            stream += literal(piece)
        else:
            offset = draw(st.integers(1, min(len(plain), 2047)))
            length = draw(st.integers(4, 11) if kind == 1 else st.integers(1, 64))
            piece = b""
            for index in range(length):
                piece += (plain + piece)[len(plain) - offset + index :][:1]
            stream += copy(offset, length, kind)
        plain += piece
    return write_varint(len(plain)) + stream, plain


@given(snappy_streams())
def test_snappy_gives_back_what_was_encoded(case):
    stream, plain = case
    assert decompress(stream) == plain


@given(snappy_streams(), st.data())
def test_a_cut_snappy_stream_is_an_error(case, data):
    stream, plain = case
    cut = stream[: data.draw(st.integers(0, len(stream) - 1))]
    with pytest.raises(CheckpointError, match="Snappy data are damaged"):
        assert decompress(cut) == plain  # never silently a shorter result


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_noise_gives_a_checkpoint_error_or_bytes_of_the_announced_length(data):
    try:
        output = decompress(data)
    except CheckpointError:
        return
    assert len(output) == read_varint(data, 0)[0]


@pytest.mark.parametrize("size", [60, 61, 256, 257, 70000])
def test_long_literals(size):
    data = np.random.default_rng(0).bytes(size)
    assert decompress(write_varint(size) + literal(data)) == data


def test_a_copy_before_the_beginning_is_an_error():
    with pytest.raises(CheckpointError, match="before the beginning"):
        decompress(write_varint(5) + literal(b"a") + copy(2, 4, 2))
