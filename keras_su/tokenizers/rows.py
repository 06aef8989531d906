"""Truncating and padding all rows of a batch at once, on arrays; the rules are those of `truncation`."""

from typing import NamedTuple

import numpy as np

from keras_su import errors
from keras_su.tokenizers.bulk import Ragged, stretches


class Around(NamedTuple):
    """Ids that stand around the texts of a row: lists of at most one id each."""

    start: list
    end: list
    second_start: list

    def count(self, texts):
        """How many stand around one or two texts."""
        return len(self.start) + len(self.end) + (texts - 1) * (len(self.second_start) + len(self.end))


def shortened(texts, around, limit, truncate_from):
    """The one or two texts of each row, cut so that a row has at most ``limit`` ids with the special ones around its texts.

    Args:
        texts: a list of one or two `Ragged`.
        around: the `Around` of the rows.
        limit: most ids in a row, enough for the special ones.
        truncate_from: ``'right'``, ``'left'`` or an integer.
    """
    lead, tail = len(around.start), len(around.end)
    excess = np.maximum(row_lengths(texts, around) - limit, 0)
    if not excess.any():
        return texts
    counts = [excess] if len(texts) == 1 else _losses(texts[0].lengths, texts[1].lengths, excess)
    return [_without(text, count, lead, tail, truncate_from) for text, count in zip(texts, counts)]


def _losses(first, second, excess):
    """How much each of two texts loses: the longer one until they are equal, then both in turn, the first one first."""
    ahead = np.minimum(np.abs(first - second), excess)
    from_first, from_second = np.where(first > second, ahead, 0), np.where(first < second, ahead, 0)
    rest = excess - ahead
    return from_first + (rest + 1) // 2, from_second + rest // 2


def _without(text, counts, lead, tail, truncate_from):
    ids, lengths = text
    if truncate_from == "right":
        gone = lengths - counts
    elif truncate_from == "left":
        gone = np.zeros_like(lengths)
    elif truncate_from >= 0:
        gone = np.full_like(lengths, truncate_from - lead)
    else:
        gone = lengths + tail + truncate_from + 1 - counts
    gone = np.clip(gone, 0, lengths - counts)
    keep = np.ones(len(ids), bool)
    keep[stretches(np.cumsum(lengths) - lengths + gone, counts)] = False
    return Ragged(ids[keep], lengths - counts)


def padded_rows(texts, around, width, pad_id, side, dtype):
    """Padded token ids and segment ids of rows of one or two texts, with the special ids around them.

    Args:
        texts: a list of one or two `Ragged`.
        around: the `Around` of the rows.
        width: columns of the arrays.
        pad_id: what fills up the token ids.
        side: ``'right'`` or ``'left'``.
        dtype: type of the arrays.

    >>> text = Ragged(np.array([7, 8, 9]), np.array([2, 1]))
    >>> padded_rows([text], Around([1], [2], []), 5, 0, "right", "int32")[0].tolist()
    [[1, 7, 8, 2, 0], [1, 9, 2, 0, 0]]
    """
    if not np.can_cast("int32", dtype):
        _check_range(
            [
                *around.start,
                *around.end,
                *(bound for text in texts for bound in (text.ids.min(initial=0), text.ids.max(initial=0))),
            ],
            dtype,
        )
    lengths = row_lengths(texts, around)
    token_ids = np.full((len(lengths), width), pad_id, dtype)
    segment_ids = np.zeros((len(lengths), width), dtype)
    flat, place = token_ids.reshape(-1), np.arange(len(lengths)) * width
    if side == "left":
        place += width - lengths
    for number, text in enumerate(texts):
        begin = place
        for index in around.second_start if number else around.start:
            flat[place] = index
            place = place + 1
        flat[stretches(place, text.lengths)] = text.ids
        place = place + text.lengths
        for index in around.end:
            flat[place] = index
            place = place + 1
        if number:
            segment_ids.reshape(-1)[stretches(begin, place - begin)] = 1
    return token_ids, segment_ids


def row_lengths(texts, around):
    """Ids in each row, those around the texts included."""
    return sum(text.lengths for text in texts) + around.count(len(texts))


def _check_range(ids, dtype):
    if any(np.asarray(index).astype(dtype) != index for index in ids):
        raise errors.bad_value("dtype", dtype, f"a type that holds the ids {min(ids)} to {max(ids)}")
