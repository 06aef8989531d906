"""Batches in which rows belong together two by two: what one text becomes in two passes, or two texts that mean the same."""

from keras import ops

from keras_su.errors import bad_value, unknown_name

LAYOUTS = ("interleaved", "concat")


def check_layout(layout, more=()):
    """``layout`` if it is known, otherwise an error with the nearest name."""
    if layout not in (*LAYOUTS, *more):
        raise unknown_name("layout of pairs", layout, (*LAYOUTS, *more))
    return layout


def split_pairs(rows, layout="interleaved"):
    """First and second members of all pairs.

    Args:
        rows: ``(2n, ...)``; pair ``k`` is rows ``2k`` and ``2k + 1`` (``"interleaved"``), or ``k`` and ``n + k`` (``"concat"``).
        layout: one of the two.

    Returns:
        Two tensors ``(n, ...)``.

    Raises:
        KerasSuError: an odd number of rows, as far as it is known when the program is traced.

    >>> import numpy as np
    >>> [np.array(half).tolist() for half in split_pairs(np.array([1, 10, 2, 20]))]
    [[1, 2], [10, 20]]
    """
    _check_even(rows, layout)
    if layout == "interleaved":
        return rows[::2], rows[1::2]
    half = ops.shape(rows)[0] // 2
    return rows[:half], rows[half:]


def spread_over_pairs(values, layout):
    """One value of each pair, ``(n, ...)``, given to both of its rows, ``(2n, ...)``."""
    return ops.repeat(values, 2, axis=0) if layout == "interleaved" else ops.concatenate([values, values], axis=0)


def partners(rows, layout="interleaved"):
    """For every row the index of the other member of its pair: int32 ``(2n,)``."""
    _check_even(rows, layout)
    count = ops.shape(rows)[0]
    index = ops.arange(count, dtype="int32")
    if layout == "interleaved":
        return index + 1 - 2 * (index % 2)
    return (index + count // 2) % count


def _check_even(rows, layout):
    check_layout(layout)
    count = rows.shape[0]
    if isinstance(count, int) and count % 2:
        raise bad_value("pairs of rows: number of rows", count, "an even number, two rows for each pair")
