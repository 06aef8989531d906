"""Arguments and arrays of batch encoding: pairing texts, checking lengths, padding rows."""

import operator

import numpy as np

from keras_su import errors


def checked_length(name, value):
    """A positive integer as a Python int, or the error that names the argument."""
    try:
        length = operator.index(value)
    except TypeError:
        length = 0
    if length < 1:
        raise errors.bad_value(name, value, "a positive integer or None")
    return length


def text_columns(texts, second_texts):
    """The first and the second texts of all rows, as two lists; the second is ``None`` when every row is a single text.

    Args:
        texts: iterable of texts, of lists of tokens, or (without ``second_texts``) of tuples of two of these.
        second_texts: iterable of as many second texts, or ``None``.

    >>> text_columns(["a", ("b", "c")], None)
    (['a', 'b'], [None, 'c'])
    """
    texts = _as_list("texts", texts)
    if second_texts is not None:
        second_texts = _as_list("second_texts", second_texts)
        if len(texts) != len(second_texts):
            raise errors.bad_value("second_texts", f"{len(second_texts)} texts", f"{len(texts)}, as many as texts")
        return texts, second_texts
    if all_texts(texts) or not any(isinstance(text, tuple) for text in texts):
        return texts, None
    for text in texts:
        if isinstance(text, tuple) and len(text) != 2:
            raise errors.bad_value("texts", text, "tuples of two texts (the tokens of one text go into a list)")
    rows = [text if isinstance(text, tuple) else (text, None) for text in texts]
    return [first for first, _ in rows], [second for _, second in rows]


def all_texts(entries):
    """Whether every entry is a plain string."""
    return set(map(type, entries)) <= {str}


def padded(rows, width, value, side, dtype):
    """Rows of integers as an array of shape ``(len(rows), width)``, filled up with ``value`` at the ``side``.

    >>> padded([[1, 2], [3]], 3, 0, "left", "int32").tolist()
    [[0, 1, 2], [0, 0, 3]]
    """
    array = np.full((len(rows), width), value, dtype=dtype)
    for target, row in zip(array, rows):
        if side == "right":
            target[: len(row)] = row
        else:
            target[width - len(row) :] = row
    return array


def _as_list(name, texts):
    if isinstance(texts, (str, bytes, dict)) or not hasattr(texts, "__iter__"):
        raise errors.bad_value(name, texts, "a list of texts; encode takes a single one")
    return list(texts)
