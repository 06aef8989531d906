"""Multi-label cross entropy: against its sums written out in numpy, densely and sparsely labelled, in 16 bits and at extremes."""

import keras
import numpy as np
import pytest
from helpers import assert_close, gradient, to_numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_su.errors import KerasSuError
from keras_su.losses import (
    GlobalPointerCrossentropy,
    MultilabelCategoricalCrossentropy,
    SparseMultilabelCategoricalCrossentropy,
    global_pointer_crossentropy,
    multilabel_categorical_crossentropy,
    sparse_global_pointer_crossentropy,
    sparse_multilabel_categorical_crossentropy,
)

INF = float("inf")
DICE = np.random.default_rng(11)
SCORES = DICE.normal(size=(5, 7), scale=3).astype("float32")
HARD = (DICE.random((5, 7)) < 0.4).astype("float32")
HARD[0], HARD[1] = 0, 1
SOFT = DICE.random((5, 7)).astype("float32")
DTYPES = ["float32", "float16"]


def oracle(labels, scores):
    """One row, class by class, in float64."""
    kept = [(t, s) for t, s in zip(labels.astype("float64"), scores.astype("float64")) if s != -INF]
    return np.log1p(sum((1 - t) * np.exp(s) for t, s in kept)) + np.log1p(sum(t * np.exp(-s) for t, s in kept))


def oracle_gradient(labels, scores):
    """Its derivative, from the definition."""
    scores = scores.astype("float64")
    rises, falls = (1 - labels) * np.exp(scores), labels * np.exp(-scores)
    return rises / (1 + rises.sum(-1, keepdims=True)) - falls / (1 + falls.sum(-1, keepdims=True))


def ids(labels, width=None, padding=0):
    """Sparse form of hard labels."""
    rows = [np.flatnonzero(row) for row in labels]
    width = max(map(len, rows)) if width is None else width
    return np.array([[*row, *[padding] * (width - len(row))] for row in rows], "int32")


@pytest.mark.parametrize("labels", [HARD, SOFT], ids=["hard", "soft"])
def test_dense_against_the_sums(labels):
    found = multilabel_categorical_crossentropy(labels, SCORES)
    assert_close(found, np.array([oracle(t, s) for t, s in zip(labels, SCORES)]), 1e-5)
    assert_close(
        gradient(lambda x: multilabel_categorical_crossentropy(labels, x), SCORES), oracle_gradient(labels, SCORES), 1e-5
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("labels", [HARD, SOFT], ids=["hard", "soft"])
def test_scores_of_minus_infinity_are_left_out(labels, dtype):
    """Whatever their labels say, and also where nothing else is left."""
    scores = np.where(np.random.default_rng(4).random(SCORES.shape) < 0.5, -INF, SCORES).astype("float32")
    scores[0] = -INF
    scores[1] = [1.0, *[-INF] * 6]
    rounded = to_numpy(ops.cast(ops.convert_to_tensor(scores), dtype))
    found = multilabel_categorical_crossentropy(labels, ops.cast(ops.convert_to_tensor(scores), dtype))
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    assert_close(found, np.array([oracle(t, s) for t, s in zip(labels, rounded)]), 1e-5)
    slope = gradient(lambda x: multilabel_categorical_crossentropy(labels, x), scores, dtype)
    assert np.all(np.isfinite(slope)) and not slope[scores == -INF].any() and slope[1, 0] != 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [30.0, 6e4])
def test_extreme_scores(size, dtype):
    scores = np.array([[size, -size, size, -size]], "float32")
    labels = np.array([[1, 0, 0, 1]], "float32")
    for function, given_labels in ((multilabel_categorical_crossentropy, labels), (sparse_of_two, ids(labels))):
        loss = to_numpy(function(given_labels, ops.cast(ops.convert_to_tensor(scores), dtype)))
        rounded = float(to_numpy(ops.cast(ops.convert_to_tensor(size), dtype)))
        np.testing.assert_allclose(loss, [2 * rounded], rtol=1e-6)
        slope = gradient(lambda x, f=function, t=given_labels: f(t, x), scores, dtype)
        np.testing.assert_allclose(slope, [[0, 0, 1, -1]], atol=1e-6)


def sparse_of_two(labels, scores):
    return sparse_multilabel_categorical_crossentropy(labels, scores)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 6), unique=True, min_size=2, max_size=2), st.integers(0, 2**32 - 1))
def test_sparse_equals_dense(positives, seed):
    dice = np.random.default_rng(seed)
    scores = dice.normal(size=(2, 7), scale=8).astype("float32")
    scores[1, dice.integers(0, 7)] = -INF
    labels = np.array([positives, positives[::-1]], "int32")
    dense = np.zeros((2, 7), "float32")
    dense[:, positives] = 1
    assert_close(
        sparse_multilabel_categorical_crossentropy(labels, scores), multilabel_categorical_crossentropy(dense, scores), 1e-4
    )


def test_label_zero_is_padding_when_it_is_masked():
    """Class 0 then takes no part, however much padding there is; and rows may be without any label."""
    scores = np.array(SCORES)
    scores[2, 3:5] = -INF
    without_zero = np.where(np.arange(7) > 0, scores, -INF).astype("float32")
    labels = HARD * (np.arange(7) > 0)
    dense = lambda x: multilabel_categorical_crossentropy(labels, x)  # noqa: E731
    sparse = lambda x: sparse_multilabel_categorical_crossentropy(ids(labels, 9), x, mask_zero=True)  # noqa: E731
    assert_close(sparse(scores), dense(without_zero), 1e-5)
    assert_close(gradient(sparse, scores, "float16"), gradient(dense, without_zero, "float16"), 1e-6)
    empty = sparse_multilabel_categorical_crossentropy(np.zeros((5, 0), "int32"), SCORES)
    assert_close(empty, multilabel_categorical_crossentropy(np.zeros_like(HARD), SCORES), 1e-5)


def span_table():
    """Scores of GlobalPointer, 2 texts of 3 and 4 tokens, 3 heads, and labels in both forms."""
    scores = DICE.normal(size=(2, 3, 4, 4)).astype("float32")
    scores[:, :, np.tril_indices(4, -1)[0], np.tril_indices(4, -1)[1]] = -INF
    scores[0, :, 3] = scores[0, :, :, 3] = -INF
    pairs = np.zeros((2, 3, 2, 2), "int32")
    pairs[0, 0] = [[0, 1], [1, 2]]
    pairs[1, 2, 0] = [3, 3]
    dense = np.zeros_like(scores)
    for text, head, span in np.argwhere(pairs.any(-1)):
        dense[text, head, *pairs[text, head, span]] = 1
    return dense, pairs, scores


def test_span_tables_head_by_head():
    dense, pairs, scores = span_table()
    expected = [[oracle(t.ravel(), s.ravel()) for t, s in zip(*text)] for text in zip(dense, scores)]
    assert_close(global_pointer_crossentropy(dense, scores), np.array(expected), 1e-5)
    scores[:, :, 0, 0] = -INF  # the pair that stands for padding
    expected = np.array([[oracle(t.ravel(), s.ravel()) for t, s in zip(*text)] for text in zip(dense, scores)])
    assert_close(sparse_global_pointer_crossentropy(pairs, scores), expected, 1e-5)
    assert_close(GlobalPointerCrossentropy(sparse=True)(pairs, scores), expected.mean(), 1e-5)
    assert_close(GlobalPointerCrossentropy(heads="sum")(dense, scores), expected.sum(axis=1).mean(), 1e-5)
    weighted = GlobalPointerCrossentropy(reduction="sum")(dense, scores, sample_weight=np.array([2.0, 0.0]))
    assert_close(weighted, 2 * expected[0].mean(), 1e-5)


def test_classes_are_the_functions():
    assert_close(
        MultilabelCategoricalCrossentropy(reduction="none")(SOFT, SCORES), multilabel_categorical_crossentropy(SOFT, SCORES)
    )
    labels = ids(HARD * (np.arange(7) > 0))
    expected = sparse_multilabel_categorical_crossentropy(labels, SCORES, mask_zero=True)
    assert_close(SparseMultilabelCategoricalCrossentropy(mask_zero=True, reduction="none")(labels, SCORES), expected)
    with pytest.raises(KerasSuError, match="Unknown reduction of heads 'summ'. Did you mean 'sum'"):
        GlobalPointerCrossentropy(heads="summ")
