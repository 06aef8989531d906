"""Pooling over time, and joining and cutting of tensors: against numpy, with every kind of mask."""

import keras
import numpy as np
import pytest
from helpers import assert_close, gradient, randomized, to_numpy
from keras import ops

from keras_su.errors import KerasSuError
from keras_su.layers import (
    AttentionPooling1D,
    BatchConcat,
    BatchSplit,
    Concatenate1D,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    integerize_shape,
)

X = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")
MASK = np.array([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 0]], bool)
VALID = ops.convert_to_tensor(MASK)
POOLINGS = {GlobalAveragePooling1D: np.mean, GlobalMaxPooling1D: np.max}
BOTH = pytest.mark.parametrize("pooling", POOLINGS)


def expected(pooling, mask=MASK):
    return np.stack([POOLINGS[pooling](x[m], axis=0) if m.any() else np.zeros(4) for x, m in zip(X, mask)])


@BOTH
def test_padding_does_not_count_whatever_it_holds(pooling):
    dirty = np.where(MASK[..., None], X, np.nan)
    assert_close(pooling()(dirty, mask=VALID), expected(pooling))
    assert_close(pooling(keepdims=True)(dirty, mask=VALID), expected(pooling)[:, None])
    turned = pooling("channels_first")(dirty.transpose(0, 2, 1), mask=VALID)
    assert_close(turned, expected(pooling))
    assert_close(pooling()(X), expected(pooling, np.ones_like(MASK)))
    assert_close(pooling()(keras.layers.Masking()(np.where(MASK[..., None], X, 0))), expected(pooling))


@BOTH
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_gradients_reach_tokens_only(pooling, dtype):
    found = gradient(lambda x: pooling(dtype=dtype)(x, mask=VALID), X, dtype)
    assert np.all(np.isfinite(found)) and not found[~MASK].any() and np.all(np.abs(found[:2]).sum(axis=(1, 2)) > 0)


@BOTH
def test_they_take_the_place_of_those_of_keras(pooling):
    layer = pooling(data_format="channels_first", keepdims=True)
    assert isinstance(layer, getattr(keras.layers, pooling.__name__))
    assert keras.saving.serialize_keras_object(layer)["registered_name"] == f"keras_su>{pooling.__name__}"

    class Sum(pooling):
        def call(self, inputs, mask=None):
            assert self.data_format == "channels_last"
            return ops.sum(inputs * ops.cast(mask, "float32")[..., None], axis=1)

    assert_close(Sum()(X, mask=VALID), np.where(MASK[..., None], X, 0).sum(axis=1))


def test_attention_pooling_is_a_weighted_mean():
    layer = randomized(AttentionPooling1D(hidden_dim=6), X.shape)
    hidden, score = layer.get_weights()
    weights = np.where(MASK, np.exp(np.tanh(X @ hidden) @ score)[..., 0], 0)
    weights = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
    dirty = np.where(MASK[..., None], X, np.nan)
    assert_close(layer(dirty, mask=VALID), np.einsum("bn,bnd->bd", weights, X))
    assert_close(layer(X), to_numpy(layer(X, mask=ops.ones_like(VALID))))
    found = gradient(lambda x: layer(x, mask=VALID), X)
    assert np.all(np.isfinite(found)) and not found[~MASK].any()


def test_sequences_one_behind_the_other():
    masked, plain = keras.layers.Masking()(np.where(MASK[..., None], X, 0)), ops.convert_to_tensor(X[:, :2])
    joined = Concatenate1D()([masked, plain])
    assert_close(joined[:, 5:], X[:, :2])
    np.testing.assert_array_equal(to_numpy(joined._keras_mask), np.concatenate([MASK, np.ones((3, 2), bool)], axis=1))
    assert getattr(Concatenate1D()([plain, plain]), "_keras_mask", None) is None
    assert Concatenate1D()([keras.Input((3, 4)), keras.Input((None, 4))]).shape == (None, None, 4)


@pytest.mark.parametrize(
    "parts, sizes", [(2, [2, 1]), (3, [1, 1, 1]), ([1, 2], [1, 2]), ([1, 1], [1, 2]), (1, [3]), (4, [1, 1, 1, 0])]
)
def test_batches_are_cut_and_put_together(parts, sizes):
    inputs = keras.Input((5, 4))
    pieces = BatchSplit(parts)(keras.layers.Masking()(inputs))
    assert [piece.shape for piece in pieces] == [(None, 5, 4)] * len(sizes)
    model = keras.Model(inputs, [BatchConcat()(pieces), *pieces])
    padded = np.where(MASK[..., None], X, 0)
    whole, *found = model(padded)
    assert [len(piece) for piece in found] == sizes
    assert_close(whole, padded)
    np.testing.assert_array_equal(to_numpy(whole._keras_mask), MASK)


def test_several_tensors_are_cut_alike():
    masked = keras.layers.Masking()(np.where(MASK[..., None], X, 0))
    first, second, third, fourth = BatchSplit(2)([masked, X])
    assert_close(ops.concatenate([third, fourth], axis=0), X)
    np.testing.assert_array_equal(to_numpy(second._keras_mask), MASK[2:])
    assert getattr(fourth, "_keras_mask", None) is None
    assert_close(first, to_numpy(masked)[:2])
    for wrong in (0, [], [1, -1], None):
        with pytest.raises(KerasSuError, match="BatchSplit: parts"):
            BatchSplit(wrong)


def test_shapes_become_plain_numbers():
    class Dimension:
        def __init__(self, value):
            self.value = value

    class Layer:
        @integerize_shape
        def build(self, input_shape):
            return input_shape

    build = Layer().build
    assert build((None, np.int64(5))) == (None, 5) and type(build([np.int64(5)])[0]) is int
    assert build([Dimension(None), Dimension(3)]) == (None, 3)
    assert build([(None, 5), [Dimension(2), 3]]) == [(None, 5), (2, 3)]
    assert build({"x": [None, 2]}) == {"x": (None, 2)}
    assert Layer.build.__name__ == "build"
