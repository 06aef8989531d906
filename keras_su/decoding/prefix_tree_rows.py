"""Ragged rows of token ids with their values: the form in which keys are collected, sorted and merged into a prefix tree.

Ids are stored plus one and every row is closed by a zero. A row that ends is then smaller than any row that goes on, so
"prefix first" is plain lexicographic order, and reading past the end of a row meets only its closing zero.
"""

from dataclasses import dataclass, fields

import numpy as np


@dataclass
class Rows:
    """Keys and values of ``n`` rows.

    Attributes:
        tokens: ``(tokens,)`` uint16 or uint32, id + 1, each row closed by 0.
        bounds: ``(n + 1,)`` int64; row ``r`` is ``tokens[bounds[r]:bounds[r + 1]]``, its zero included.
        counts: ``(n,)`` uint32, number of values of each row.
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
    def nbytes(self):
        return sum(getattr(self, field.name).nbytes for field in fields(self))

    def taken(self, column):
        """A column, which the rows then no longer have."""
        values = getattr(self, column)
        setattr(self, column, None)
        return values

    def key(self, row):
        """The row as bytes that sort like the rows, whatever the token dtype."""
        return self.tokens[self.bounds[row] : self.bounds[row + 1]].astype(">u4").tobytes()

    def windows(self, size):
        """The same rows as consecutive ``Rows`` of at most ``size`` rows; tokens and text are views."""
        value_bounds = running_bounds(self.counts)
        for start in range(0, len(self), size):
            yield self._slice(value_bounds, start, min(start + size, len(self)))

    def split(self, row):
        """The rows before ``row`` and the rows from there on; tokens and text are views."""
        value_bounds = running_bounds(self.counts)
        return self._slice(value_bounds, 0, row), self._slice(value_bounds, row, len(self))

    def _slice(self, value_bounds, start, stop):
        bounds = self.bounds[start : stop + 1]
        text_bounds = self.text_bounds[value_bounds[start] : value_bounds[stop] + 1]
        return Rows(
            self.tokens[bounds[0] : bounds[-1]],
            bounds - bounds[0],
            self.counts[start:stop],
            text_bounds - text_bounds[0],
            self.text[text_bounds[0] : text_bounds[-1]],
        )


def empty_rows():
    """``Rows`` without any row."""
    zero = np.zeros(1, np.int64)
    return Rows(np.zeros(0, np.uint16), zero, np.zeros(0, np.uint32), zero, np.zeros(0, np.uint8))


def joined(pieces):
    """One ``Rows`` with the rows of all ``pieces`` in order; the pieces are taken apart, so that few bytes are there twice."""
    kept = [piece for piece in pieces if len(piece)]
    pieces.clear()
    if len(kept) < 2:
        return kept[0] if kept else empty_rows()
    columns = {}
    for field in fields(Rows):
        join = _joined_bounds if field.name.endswith("bounds") else np.concatenate
        columns[field.name] = join([piece.taken(field.name) for piece in kept])
    return Rows(**columns)


def _joined_bounds(pieces):
    shifts = running_bounds([piece[-1] for piece in pieces])
    return np.concatenate([[0], *(piece[1:] + shift for piece, shift in zip(pieces, shifts))])


def running_bounds(sizes):
    """``[0, s0, s0 + s1, ...]`` as int64."""
    bounds = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=bounds[1:])
    return bounds


def spread(starts, sizes):
    """The positions ``starts[i], starts[i] + 1, ...`` (``sizes[i]`` of them) of every ``i``, one after the other."""
    bounds = running_bounds(sizes)
    positions = np.repeat(starts - bounds[:-1], sizes)
    positions += np.arange(bounds[-1])
    return positions


def gather(flat, bounds, order, block=16384):
    """The segments ``order`` of a ragged array, one after the other, and their bounds.

    Works in blocks that fit the cache: index arrays of the whole would be several times larger than the tokens.
    """
    new_bounds = running_bounds((bounds[1:] - bounds[:-1])[order])
    out = np.empty(new_bounds[-1], flat.dtype)
    for start in range(0, len(order), block):
        part = order[start : start + block]
        first = bounds[part]
        span = slice(new_bounds[start], new_bounds[start + len(part)])
        out[span] = flat[spread(first, bounds[part + 1] - first)]
    return out, new_bounds
