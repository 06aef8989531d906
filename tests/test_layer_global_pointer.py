"""Scores of spans against loops over first and last tokens."""

import keras
import numpy as np
import pytest
from helpers import assert_close, gradient, randomized, to_numpy
from keras import ops

from keras_su.errors import KerasSuError
from keras_su.layers import EfficientGlobalPointer, GlobalPointer

BOTH = pytest.mark.parametrize("pointer", [GlobalPointer, EfficientGlobalPointer])
X = np.random.default_rng(0).normal(size=(2, 6, 5)).astype("float32")
MASK = np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]], bool)
HEADS, SIZE = 3, 4


def rotated(vector, position):
    """The vector of a token after rotation, as complex numbers."""
    angles = position * 10000.0 ** (-np.arange(0, SIZE, 2) / SIZE)
    return (vector[::2] + 1j * vector[1::2]) * np.exp(1j * angles)


def oracle(pointer, layer, x, positions, rope):
    """Scores ``(heads, length, length)`` of one text."""
    weights = [w.astype("float64") for w in layer.get_weights()]
    pairs = x @ weights[0] + weights[1]
    length = len(x)
    result = np.zeros((HEADS, length, length))
    for head in range(HEADS):
        for m in range(length):
            for n in range(length):
                if pointer is GlobalPointer:
                    first = pairs[m].reshape(HEADS, 2, SIZE)[head, 0]
                    last, own = pairs[n].reshape(HEADS, 2, SIZE)[head, 1], 0
                else:
                    first, last = pairs[m][::2], pairs[n][1::2]
                    types = pairs @ weights[2] + weights[3]
                    own = (types[n, 2 * head] + types[m, 2 * head + 1]) / 2
                turn = [positions[m], positions[n]] if rope else [0, 0]
                result[head, m, n] = (rotated(first, turn[0]) * rotated(last, turn[1]).conj()).real.sum() / SIZE**0.5 + own
    return result


@BOTH
@pytest.mark.parametrize("rope", [True, False])
def test_scores_of_spans(pointer, rope):
    layer = randomized(pointer(HEADS, SIZE, RoPE=rope), X.shape)
    found = to_numpy(layer(X, mask=ops.convert_to_tensor(MASK)))
    for row in range(2):
        inside = np.logical_and(np.outer(MASK[row], MASK[row]), np.triu(np.ones((6, 6), bool)))
        expected = np.where(inside, oracle(pointer, layer, X[row], np.arange(6), rope), -np.inf)
        assert_close(found[row], expected, 2e-5)


@BOTH
def test_what_is_no_span_can_have_a_finite_score(pointer):
    layer = randomized(pointer(HEADS, SIZE, fill=-1e12), X.shape)
    endless = pointer.from_config({**layer.get_config(), "fill": float("-inf")})
    randomized(endless, X.shape)
    found, infinite = (to_numpy(one(X, mask=ops.convert_to_tensor(MASK))) for one in (layer, endless))
    np.testing.assert_array_equal(found, np.where(np.isinf(infinite), np.float32(-1e12), infinite))
    half = pointer(HEADS, SIZE, fill=-1e12, dtype="mixed_float16")(X)
    assert float(to_numpy(half).min()) == -65504
    everything = randomized(pointer(HEADS, SIZE, tril_mask=False), X.shape)
    assert np.all(np.isfinite(to_numpy(everything(X))))


@BOTH
def test_positions_matter_by_their_differences_and_in_float32(pointer):
    layer = randomized(pointer(HEADS, SIZE), X.shape)
    moved = np.array([[7, 9, 10, 12, 13, 20], [0, 1, 2, 3, 4, 5]], "int32")
    found = to_numpy(layer(X, position_ids=ops.convert_to_tensor(moved)))
    upper = np.triu(np.ones((6, 6), bool))
    assert_close(found[0][:, upper], oracle(pointer, layer, X[0], moved[0], True)[:, upper], 2e-5)
    assert_close(found[1], to_numpy(layer(X))[1])
    half = randomized(pointer(HEADS, SIZE, dtype="mixed_bfloat16"), X.shape)
    near, far = (to_numpy(half(X, position_ids=ops.convert_to_tensor(moved + shift))) for shift in (0, 1000))
    assert_close(far[0][:, upper], near[0][:, upper], 0.1)


@BOTH
def test_the_mask_of_an_embedding_arrives(pointer):
    ids, places = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    table = keras.layers.Embedding(9, 5, mask_zero=True)
    layer = pointer(HEADS, SIZE)
    model = keras.Model([ids, places], [layer(table(ids)), layer(table(ids), position_ids=places)])
    assert model.outputs[0].shape == (None, HEADS, None, None)
    plain, moved = model([np.array([[4, 5, 0]]), np.array([[0, 1, 2]])])
    np.testing.assert_array_equal(np.isinf(to_numpy(plain)[0, 0]), [[0, 0, 1], [1, 0, 1], [1, 1, 1]])
    assert_close(plain, moved)


@BOTH
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_gradients_are_finite(pointer, dtype):
    layer = pointer(HEADS, SIZE, dtype=f"mixed_{dtype}" if dtype == "float16" else dtype)
    found = gradient(lambda x: ops.sigmoid(layer(x, mask=ops.convert_to_tensor(MASK))), X, dtype)
    assert np.all(np.isfinite(found)) and np.any(found[MASK]) and not found[~MASK].any()


@BOTH
def test_what_is_refused(pointer):
    with pytest.raises(KerasSuError, match=f"{pointer.__name__}: heads: got 0, expected a positive integer"):
        pointer(0, 4)
    with pytest.raises(KerasSuError, match="head_size: got 3, expected an even number, for RoPE=True"):
        pointer(2, 3)
