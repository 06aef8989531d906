"""Small helpers for strings: cutting long texts, full-width forms, matching, and what two sequences have in common."""

import re

import numpy as np

from keras_su.errors import bad_value
from keras_su.metrics import CommonSubsequence

# Full-width forms of the printable ASCII signs, and the ideographic space.
HALF_WIDTH = {0x3000: 0x20, **{code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}}


def is_string(value):
    """Whether the value is a ``str``."""
    return isinstance(value, str)


def convert_to_unicode(text, encoding="utf-8", errors="ignore"):
    """``bytes`` decoded; anything else as it is."""
    return text.decode(encoding, errors) if isinstance(text, bytes) else text


def convert_to_str(text, encoding="utf-8", errors="ignore"):
    """The same as `convert_to_unicode`, under the name that scripts for two versions of Python use."""
    return convert_to_unicode(text, encoding, errors)


def strQ2B(text):
    """Full-width signs (``Ａ``, ``！``, the ideographic space) as half-width ones; other characters stay.

    >>> strQ2B("Ｋｅｒａｓ　３！")
    'Keras 3!'
    """
    return text.translate(HALF_WIDTH)


def string_matching(text, keywords):
    """Whether any of the regular expressions ``keywords`` occurs in the text.

    >>> string_matching("今天天气不错", ["雨", "天.不错"])
    True
    """
    return any(re.search(keyword, text) for keyword in keywords)


def text_segmentate(text, maxlen, seps="\n", strips=None, hard_cut=False):
    """Cut a text into pieces of at most ``maxlen`` characters, at the first separator if that is enough, else at the next ones.

    Neighbouring pieces stay together while they fit. Separators stay at the end of their piece.

    Args:
        text: a string.
        maxlen: most characters of a piece.
        seps: separators in the order in which they are tried, a string of characters or a list of strings.
        strips: characters that are removed from both ends of every piece, besides white space.
        hard_cut: cut pieces that are still too long after the last separator. Otherwise they stay as they are.

    Returns:
        list of strings.

    >>> text_segmentate("今天天气很好。我们去公园玩吧！你觉得呢？", 14, "。！？")
    ['今天天气很好。', '我们去公园玩吧！你觉得呢？']
    >>> text_segmentate("没有标点的一个很长的句子", 5, "。", hard_cut=True)
    ['没有标点的', '一个很长的', '句子']
    """
    if not isinstance(maxlen, (int, np.integer)) or maxlen < 1:
        raise bad_value("maxlen", maxlen, "a positive integer")
    text = text.strip().strip(strips)
    if len(text) <= maxlen:
        return [text]
    if len(seps):
        cut = [text_segmentate(chunk, maxlen, seps[1:], strips, hard_cut) for chunk in _chunks(text, seps[0], maxlen)]
        return [piece for pieces in cut for piece in pieces]
    return [text[start : start + maxlen] for start in range(0, len(text), maxlen)] if hard_cut else [text]


def _chunks(text, separator, maxlen):
    """The text cut behind some of its separators; a chunk is longer than ``maxlen`` only where one piece alone is."""
    chunk, pieces = "", text.split(separator)
    for number, piece in enumerate(pieces):
        if chunk and piece and len(chunk) + len(piece) >= maxlen:
            yield chunk
            chunk = ""
        chunk += piece if number == len(pieces) - 1 else piece + separator
    if chunk:
        yield chunk


def longest_common_substring(source, target):
    """The longest run of items that two sequences share; of several, the one that ends first in ``source``, then in ``target``.

    Items are compared as dictionary keys are.

    Returns:
        length, and ``(start, stop, start, stop)`` of it in ``source`` and ``target``.

    >>> longest_common_substring("abcdefg", "xbcdyefg")
    (3, (1, 4, 1, 4))
    """
    positions = {}
    for j, item in enumerate(target):
        positions.setdefault(item, []).append(j)
    positions = {item: np.array(found) for item, found in positions.items()}
    length, span, none = 0, (0, 0, 0, 0), np.array([], np.int64)
    before = np.zeros(len(target) + 1, np.int64)  # before[j + 1]: shared items that end at the item before, and at j
    for i, item in enumerate(source):
        found = positions.get(item, none)
        ending = np.zeros_like(before)
        ending[found + 1] = before[found] + 1
        j = int(ending.argmax())
        if ending[j] > length:
            length = int(ending[j])
            span = (i + 1 - length, i + 1, j - length, j)
        before = ending
    return length, span


def longest_common_subsequence(source, target):
    """The longest common subsequence, and which items belong together; of several, the one that bert4keras returns.

    Items are compared as dictionary keys are.

    Returns:
        length, and a list of ``(position in source, position in target)``.

    >>> longest_common_subsequence("今天天气不错", "天气真错")
    (3, [(2, 0), (3, 1), (5, 3)])
    """
    common = CommonSubsequence(target)
    states = [common.start]
    for item in source:
        states.append(common.advance(states[-1], item))

    def length(i, j):
        """Of the first ``i`` items of the source and the first ``j`` of the target: zeros among the low bits of the state."""
        return j - (states[i] & (1 << j) - 1).bit_count()

    pairs, i, j = [], len(source), len(target)
    left = length(i, j)
    while len(pairs) < left:
        if source[i - 1] == target[j - 1]:
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif length(i, j - 1) > length(i - 1, j):
            j -= 1
        else:
            i -= 1
    return left, pairs[::-1]
