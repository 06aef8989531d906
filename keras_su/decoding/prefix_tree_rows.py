"""Ragged rows of token ids with their values: the form in which keys are collected, sorted and merged into a prefix tree.

Ids are stored plus one and every row is closed by a zero. A row that ends is then smaller than any row that goes on, so
"prefix first" is plain lexicographic order, and reading past the end of a row meets only its closing zero.
"""

from dataclasses import dataclass

import numpy as np

CLOSE = 0


@dataclass
class Rows:
    """Keys and values of ``n`` rows.

    Attributes:
        tokens: ``(tokens,)`` uint16 or uint32, id + 1, each row closed by 0.
        bounds: ``(n + 1,)`` int64; row ``r`` is ``tokens[bounds[r]:bounds[r + 1]]``, its zero included.
        counts: ``(n,)`` int64, number of values of each row.
        text_bounds: ``(values + 1,)`` int64; value ``v`` is ``text[text_bounds[v]:text_bounds[v + 1]]``.
        text: ``(bytes,)`` uint8, the values in UTF-8, row after row.
    """

    tokens: np.ndarray
    bounds: np.ndarray
    counts: np.ndarray
    text_bounds: np.ndarray
    text: np.ndarray

    def __len__(self):
        return len(self.counts)

    @property
    def value_bounds(self):
        """``(n + 1,)`` int64; row ``r`` owns the values ``value_bounds[r]:value_bounds[r + 1]``."""
        return running_bounds(self.counts)

    @property
    def nbytes(self):
        return sum(part.nbytes for part in (self.tokens, self.bounds, self.counts, self.text_bounds, self.text))

    def key(self, row):
        """The row as bytes whose order is the order of the rows, whatever the token dtype."""
        return self.tokens[self.bounds[row] : self.bounds[row + 1]].astype(">u4").tobytes()

    def slice(self, start, stop):
        """The rows ``start:stop``, copied."""
        value_bounds = self.value_bounds
        first, last = value_bounds[start], value_bounds[stop]
        text_bounds = self.text_bounds[first : last + 1]
        bounds = self.bounds[start : stop + 1]
        return Rows(
            self.tokens[bounds[0] : bounds[-1]].copy(),
            bounds - bounds[0],
            self.counts[start:stop].copy(),
            text_bounds - text_bounds[0],
            self.text[text_bounds[0] : text_bounds[-1]].copy(),
        )


def running_bounds(sizes):
    """``[0, s0, s0 + s1, ...]`` as int64."""
    bounds = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=bounds[1:])
    return bounds


def concatenate(pieces):
    """One ``Rows`` with the rows of all ``pieces`` in order."""
    if len(pieces) == 1:
        return pieces[0]
    sizes = [np.diff(piece.bounds) for piece in pieces]
    text_sizes = [np.diff(piece.text_bounds) for piece in pieces]
    return Rows(
        np.concatenate([piece.tokens for piece in pieces]),
        running_bounds(np.concatenate(sizes)),
        np.concatenate([piece.counts for piece in pieces]),
        running_bounds(np.concatenate(text_sizes)),
        np.concatenate([piece.text for piece in pieces]),
    )


def empty_rows():
    zero = np.zeros(1, np.int64)
    return Rows(np.zeros(0, np.uint16), zero, np.zeros(0, np.int64), zero, np.zeros(0, np.uint8))


def spread(starts, sizes):
    """The positions ``starts[i], starts[i] + 1, ...`` (``sizes[i]`` of them) of every ``i``, one after the other."""
    bounds = running_bounds(sizes)
    positions = np.repeat(starts - bounds[:-1], sizes)
    positions += np.arange(bounds[-1])
    return positions


def gather(flat, bounds, order, block=32768):
    """The segments ``order`` of a ragged array, one after the other, and their bounds.

    Works in blocks that fit the cache: index arrays of the whole would be several times larger than the tokens.
    """
    sizes = (bounds[1:] - bounds[:-1])[order]
    new_bounds = running_bounds(sizes)
    out = np.empty(new_bounds[-1], flat.dtype)
    for start in range(0, len(order), block):
        stop = min(start + block, len(order))
        out[new_bounds[start] : new_bounds[stop]] = flat[spread(bounds[order[start:stop]], sizes[start:stop])]
    return out, new_bounds
