"""Padding and truncation against slow and plain definitions, and the form in which batches leave."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_su.data.batching import as_tuples, for_keras, sequence_padding, to_array, truncate_sequences
from keras_su.errors import KerasSuError

NUMBERS = st.integers(1, 99)


def padded_slowly(rows, length, value, mode):
    """One row of a matrix at a time, with lists."""
    result = []
    for row in rows:
        row = list(row[:length])
        filling = [value] * (length - len(row))
        result.append(row + filling if mode == "post" else filling + row)
    return result


@given(
    rows=st.lists(st.lists(NUMBERS, max_size=6), min_size=1, max_size=5),
    length=st.none() | st.integers(0, 8),
    value=st.integers(-3, 3),
    mode=st.sampled_from(["post", "pre"]),
    kind=st.sampled_from([list, np.array]),
)
def test_padding_of_rows(rows, length, value, mode, kind):
    wanted = padded_slowly(rows, max(map(len, rows)) if length is None else length, value, mode)
    found = sequence_padding([kind(row) for row in rows], length, value, mode=mode)
    assert found.shape == np.shape(wanted) and found.tolist() == wanted


@given(
    shapes=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=4),
    tail=st.sampled_from([(), (2,)]),
    length=st.none() | st.tuples(st.integers(0, 5), st.integers(0, 5)),
    mode=st.sampled_from(["post", "pre"]),
)
def test_padding_of_two_axes(shapes, tail, length, mode):
    arrays = [np.arange(1, 1 + int(np.prod(shape + tail))).reshape(shape + tail) for shape in shapes]
    found = sequence_padding(arrays, length, value=-1, seq_dims=2, mode=mode)
    height, width = length or np.max(shapes, axis=0)
    assert found.shape == (len(arrays), height, width, *tail)
    for rows, array in zip(found, arrays):
        flipped = rows if mode == "post" else rows[::-1, ::-1]
        array = array[:height, :width] if mode == "post" else array[:height, :width][::-1, ::-1]
        inside = np.zeros((height, width), bool)
        inside[: array.shape[0], : array.shape[1]] = True
        np.testing.assert_array_equal(flipped[: array.shape[0], : array.shape[1]], array)
        assert (flipped[~inside] == -1).all()


def test_padding_keeps_the_dtype():
    for dtype in ("int32", "int64", "float16", "float32", "bool"):
        assert sequence_padding([np.ones(2, dtype), np.ones(3, dtype)]).dtype == dtype
    assert sequence_padding([np.ones(2, "int32"), np.ones(3, "int64")]).dtype == "int64"
    assert sequence_padding([[1], [], [2, 3]]).dtype == "int64"
    assert sequence_padding([[0.5], []]).dtype == "float64"
    assert sequence_padding([["a"], ["b", "c"]], value="").tolist() == [["a", ""], ["b", "c"]]
    assert sequence_padding([[0.5], [1.0, 2.0]], value=-np.inf)[0, 1] == -np.inf


def test_padding_of_vectors():
    found = sequence_padding([np.ones((2, 3)), np.ones((1, 3)), []])
    assert found.sum(axis=-1).tolist() == [[3, 3], [3, 0], [0, 0]]


def test_what_padding_refuses():
    for inputs, arguments, message in (
        ([], {}, "at least one sequence"),
        ([[1]], {"mode": "left"}, "'post' or 'pre'"),
        ([[1]], {"value": 0.5}, "dtype is int64"),
        ([[1]], {"length": -1}, "an integer, 0 or more"),
        ([np.ones((2, 2))], {"length": 3, "seq_dims": 2}, "2 integers"),
        ([np.ones((2, 2)), np.ones((2, 3))], {}, r"\(2,\), \(3,\)"),
        ([[1, 2]], {"seq_dims": 2}, r"input 0 has shape \(2,\)"),
        ([[[1], [2, 3]]], {"seq_dims": 2}, "input 0 is a list whose rows"),
    ):
        with pytest.raises(KerasSuError, match=message):
            sequence_padding(inputs, **arguments)


def truncated_slowly(sequences, maxlen, positions):
    sequences = [list(sequence) for sequence in sequences]
    while sum(map(len, sequences)) > maxlen:
        longest = max(range(len(sequences)), key=lambda i: len(sequences[i]))
        sequences[longest].pop(positions[longest])
    return sequences


@given(st.lists(st.lists(NUMBERS, max_size=7), min_size=1, max_size=4), st.integers(0, 20), st.data())
def test_truncation_takes_from_the_longest(sequences, maxlen, data):
    positions = data.draw(st.lists(st.sampled_from([0, -1]), min_size=len(sequences), max_size=len(sequences)))
    wanted = truncated_slowly(sequences, maxlen, positions)
    for call in (
        lambda lists: truncate_sequences(maxlen, positions, *lists),
        lambda lists: truncate_sequences(lists, maxlen, positions),
    ):
        lists = [list(sequence) for sequence in sequences]
        found = call(lists)
        assert lists == wanted
        assert all(one is other for one, other in zip(found, lists))


def test_truncation_by_keywords_and_defaults():
    assert truncate_sequences([[1, 2, 3]], 2) == [[1, 2]]
    assert truncate_sequences([[1, 2, 3], [4]], maxlen=3, indices=0) == [[2, 3], [4]]
    assert truncate_sequences(sequences=[[1, 2, 3]], maxlen=2, indices=-2) == [[1, 3]]


def test_what_truncation_refuses():
    for arguments, message in (
        ((-1, -1, [1]), "maxlen"),
        ((3, "right", [1]), "indices"),
        ((3, [0], [1], [2]), "indices"),
        ((3, -1, (1, 2)), "in place"),
    ):
        with pytest.raises(KerasSuError, match=message):
            truncate_sequences(*arguments)


def shape_of(batch):
    """A batch with the letter of each leaf's kind: ``a`` for arrays."""
    if isinstance(batch, tuple):
        return tuple(map(shape_of, batch))
    if isinstance(batch, dict):
        return {name: shape_of(value) for name, value in batch.items()}
    return "a" if isinstance(batch, np.ndarray) else batch


def test_lists_become_tuples():
    x, y = np.ones((2, 3)), np.zeros(2)
    for batch, wanted, kept in (
        (([x, x], y), (("a", "a"), "a"), (("a", "a"), "a")),
        ([[x, x], y], (("a", "a"), "a"), (("a", "a"), "a")),
        (([x, x, y], None), (("a", "a", "a"), None), (("a", "a", "a"),)),
        (([x], [y]), (("a",), ("a",)), ("a", "a")),
        ((x, [y, y]), ("a", ("a", "a")), ("a", ("a", "a"))),
        ((x, y, y), ("a", "a", "a"), ("a", "a", "a")),
        ((x, None, None), ("a", None, None), ("a",)),
        (([[[1, 2]], [[0, 0]]], [0, 1]), (("a", "a"), "a"), (("a", "a"), "a")),
        (({"ids": [[1, 2]]}, y), ({"ids": "a"}, "a"), ({"ids": "a"}, "a")),
        (x, "a", ("a",)),
    ):
        found = as_tuples(batch)
        assert shape_of(found) == wanted
        assert as_tuples(found) is found or shape_of(as_tuples(found)) == wanted
        assert shape_of(for_keras(found)) == kept


def test_to_array():
    assert to_array([1, 2]).tolist() == [1, 2]
    assert [array.shape for array in to_array([1], [[2, 3]])] == [(1,), (1, 2)]
