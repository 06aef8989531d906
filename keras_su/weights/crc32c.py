"""CRC-32C (Castagnoli), the checksum of TensorFlow checkpoint files, fast enough in numpy to check every tensor.

A checksum is the remainder of the message, read as a polynomial over GF(2), after division by a fixed polynomial P. Two facts
do the work:

- ``x^5685 + x^1362 + x^426 + 1`` is a multiple of P, and with it every power, so also
  ``x^(64*5685) + x^(64*1362) + x^(64*426) + 1``, the 64th. A 64-bit word may therefore be moved to three places later in the
  message by XOR without changing the remainder, and 4323 words move at once in one numpy call.
- What is left, at most a few thousand words, is folded pairwise: two neighbours become ``left * x^length + right``, where the
  product is four table look-ups. Zeros in front of a message do not change the remainder, so lengths are rounded up there.
"""

import functools

import numpy as np

_POLYNOMIAL = 0x82F63B78  # P without its leading term, bits reflected as in the algorithm's definition
_MOVES = (5685, 5685 - 1362, 5685 - 426)  # distances in words to which the XOR goes
_SPAN = max(_MOVES)
_BLOCK = min(_MOVES)  # so many words can move at once: none of them lands inside the block
_CHUNK = 1 << 19  # bytes per round: the working copy stays in the cache
_MASK_DELTA = 0xA282EAD8


def crc32c(data):
    """The CRC-32C of a bytes-like object or a contiguous numpy array, as an int.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    data = np.frombuffer(data, np.uint8) if not isinstance(data, np.ndarray) else data.reshape(-1).view(np.uint8)
    if data.size < 8:
        return _crc_of_few_bytes(data.tolist())
    first = data.size % 8 or 8
    pending = np.zeros(8, np.uint8)
    pending[8 - first :] = data[:first]
    rest = data[first:]
    start = 8 - first
    words = np.concatenate([pending, rest[:_CHUNK]])
    words[start : start + 4] ^= 0xFF  # the initial value, all ones, belongs to the first four bytes of the message
    words = _fold_words(words.view("<u8"))
    for position in range(_CHUNK, rest.size, _CHUNK):
        words = _fold_words(np.concatenate([words, rest[position : position + _CHUNK].view("<u8")]))
    return int(_times(_fold_pairs(words.view("<u4")), 0)[0]) ^ 0xFFFFFFFF


def mask(crc):
    """The rotated form that TensorFlow and LevelDB store, so that a checksum of checksums stays meaningful."""
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def _crc_of_few_bytes(values):
    crc = 0xFFFFFFFF
    table = _byte_table()
    for value in values:
        crc = int(table[(crc ^ value) & 0xFF]) ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _fold_words(words):
    """XOR leading words into later ones, in place, until at most ``_SPAN`` are left."""
    start = 0
    while words.size - start > _SPAN:
        stop = min(start + _BLOCK, words.size - _SPAN)
        for distance in _MOVES:
            words[start + distance : stop + distance] ^= words[start:stop]
        start = stop
    return words[start:]


def _fold_pairs(words):
    """32-bit words -> one word with the same remainder."""
    level = 0
    while words.size > 1:
        if words.size % 2:
            words = np.concatenate([np.zeros(1, "<u4"), words])
        words = _times(words[0::2], level) ^ words[1::2]
        level += 1
    return words


def _times(words, level):
    """Every word times ``x^(32 * 2**level)``, modulo P."""
    octets = np.ascontiguousarray(words).view(np.uint8).reshape(-1, 4)
    tables = _product_tables(level)
    return tables[0][octets[:, 0]] ^ tables[1][octets[:, 1]] ^ tables[2][octets[:, 2]] ^ tables[3][octets[:, 3]]


@functools.cache
def _product_tables(level):
    """Four tables of 256 words, one per octet of a word; their XOR is the product of ``_times``."""
    single_bits = np.uint32(1) << np.arange(32, dtype="<u4")
    if level == 0:
        products, table = single_bits, _byte_table()
        for _ in range(4):
            products = table[products & 0xFF] ^ (products >> np.uint32(8))
    else:
        products = _times(_times(single_bits, level - 1), level - 1)
    tables = np.zeros((4, 256), "<u4")
    for bit in range(8):
        tables[:, 1 << bit : 2 << bit] = tables[:, : 1 << bit] ^ products[bit::8, None]
    return tables


@functools.cache
def _byte_table():
    table = np.arange(256, dtype="<u4")
    for _ in range(8):
        table = np.where(table & 1, (table >> np.uint32(1)) ^ np.uint32(_POLYNOMIAL), table >> np.uint32(1)).astype("<u4")
    return table
