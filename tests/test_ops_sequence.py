"""Gathering, windows, padding and shapes, against numpy."""

import keras
import numpy as np
import pytest
from helpers import assert_close, gradient, to_numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_su.errors import KerasSuError
from keras_su.ops.sequence import batch_gather, divisible_temporal_padding, flatten, pool1d, reshape, root_mean_square

X = np.random.default_rng(0).normal(size=(2, 7, 3)).astype("float32")


def test_each_row_is_gathered_with_its_own_indices():
    indices = np.array([[6, 0, 0], [1, 5, 2]])
    expected = np.stack([row[places] for row, places in zip(X, indices)])
    for given_as in ("int32", "int64", "float32"):
        assert_close(batch_gather(ops.convert_to_tensor(X), ops.convert_to_tensor(indices.astype(given_as))), expected)
    assert_close(batch_gather(ops.convert_to_tensor(X), ops.convert_to_tensor([1, 0])), X[[1, 0]])
    heads = X.reshape(2, 7, 3)[:, :6].reshape(2, 2, 3, 3)
    places = np.array([[[0], [2]], [[1], [1]]])
    expected = np.array([[[heads[b, h, places[b, h, 0]]] for h in range(2)] for b in range(2)])
    assert_close(batch_gather(ops.convert_to_tensor(heads), ops.convert_to_tensor(places)), expected)


@pytest.mark.parametrize("size, step, mode", [(3, 1, "max"), (2, 2, "avg"), (3, 2, "max")])
def test_windows(size, step, mode):
    reduce = {"max": np.max, "avg": np.mean}[mode]
    windows = [reduce(X[:, start : start + size], axis=1) for start in range(0, 7 - size + 1, step)]
    found = pool1d(ops.convert_to_tensor(X), size, step, pool_mode=mode)
    assert_close(found, np.stack(windows, axis=1))
    first = pool1d(ops.convert_to_tensor(X.transpose(0, 2, 1)), size, step, data_format="channels_first", pool_mode=mode)
    assert_close(ops.transpose(first, (0, 2, 1)), found)
    assert pool1d(ops.convert_to_tensor(X), size, step, padding="same", pool_mode=mode).shape[1] == -(-7 // step)


@settings(max_examples=12)
@given(st.integers(1, 9), st.integers(1, 5))
def test_padding_makes_the_length_divisible_and_changes_nothing_else(length, n):
    x = np.resize(X, (2, length, 3))
    padded = to_numpy(divisible_temporal_padding(ops.convert_to_tensor(x), n))
    assert padded.shape[1] % n == 0 and padded.shape[1] - length < n
    np.testing.assert_array_equal(padded[:, :length], x)
    assert not padded[:, length:].any()


@settings(max_examples=10)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.data())
def test_flatten_joins_the_axes_of_a_slice(shape, data):
    tensor = np.arange(np.prod(shape)).reshape(shape)
    start = data.draw(st.integers(0, len(shape) - 1))
    end = data.draw(st.integers(start + 1, len(shape)))
    expected = tensor.reshape([*shape[:start], -1, *shape[end:]])
    for bounds in ((start, end), (start - len(shape), end)):
        np.testing.assert_array_equal(to_numpy(flatten(ops.convert_to_tensor(tensor), *bounds)), expected)
    assert flatten(ops.convert_to_tensor(tensor)).shape == (tensor.size,)


def test_reshape_by_axes():
    x = np.arange(48).reshape(2, 4, 6)
    tensor = ops.convert_to_tensor(x)
    np.testing.assert_array_equal(to_numpy(reshape(tensor, (4, -1))), x.reshape(4, 12))
    np.testing.assert_array_equal(to_numpy(reshape(tensor, [3, -1], 2)), x.reshape(2, 4, 3, 2))
    np.testing.assert_array_equal(to_numpy(reshape(tensor, [-1, 3], 2, [2, -1], 1)), x.reshape(2, 2, 2, 2, 3))
    np.testing.assert_array_equal(to_numpy(reshape(tensor, [-1, 3], -1)), x.reshape(2, 4, 2, 3))
    with pytest.raises(KerasSuError, match=r"sizes: got \[-1, -1\], expected at most one -1"):
        reshape(tensor, [-1, -1], 1)
    with pytest.raises(KerasSuError, match="expected one shape, or pairs"):
        reshape(tensor, [2, 2], 1, [3, 2])


def test_shapes_of_a_graph_whose_batch_is_unknown():
    symbol = keras.Input((4, 6))
    assert reshape(symbol, [2, -1], 2).shape == (None, 4, 2, 3)
    assert flatten(symbol, 1).shape == (None, 24)
    assert flatten(symbol, 0, 2).shape == (None, 6)
    assert batch_gather(symbol, keras.Input((3,), dtype="int32")).shape == (None, 3, 6)


def test_root_mean_square_and_its_gradient_at_zero():
    assert_close(root_mean_square(ops.convert_to_tensor(X), axis=1, keepdims=True), np.sqrt((X**2).mean(1, keepdims=True)))
    x = np.array([[3.0, 4.0], [0.0, 0.0]], "float32")
    found = gradient(lambda t: root_mean_square(t, axis=-1), x)
    assert_close(found, np.array([[3, 4], [0, 0]]) / (2 * np.sqrt(12.5)))
    wide = ops.convert_to_tensor(np.full((4,), 300.0), dtype="float16")
    assert float(to_numpy(root_mean_square(wide))) == 300.0


def test_unknown_pooling_is_refused():
    with pytest.raises(KerasSuError, match="Unknown pool_mode 'mean'"):
        pool1d(ops.convert_to_tensor(X), 2, pool_mode="mean")
