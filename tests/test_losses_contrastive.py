"""InfoNCE, FlatNCE, pairs in a batch, CoSENT and distillation: sums written out, and identities of their definitions."""

import keras
import numpy as np
import pytest
from helpers import assert_close, gradient, to_numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_su.errors import KerasSuError
from keras_su.losses import (
    CoSENT,
    FlatNCE,
    InBatchPairContrastive,
    InfoNCE,
    SimilarityDistillation,
    cosent,
    flatnce,
    in_batch_pair_contrastive,
    info_nce,
    pair_scores,
    similarity_distillation,
    split_pairs,
)

INF = float("inf")
DICE = np.random.default_rng(21)
SCORES = DICE.normal(size=(4, 6), scale=3).astype("float32")
RIGHT = np.array([5, 0, 2, 2], "int32")
VECTORS = DICE.normal(size=(6, 5)).astype("float32")
DTYPES = ["float32", "float16"]


def in_dtype(array, dtype):
    return ops.cast(ops.convert_to_tensor(array), dtype)


def cross_entropy(scores, right):
    """Of softmax, row by row in float64."""
    scores = scores.astype("float64")
    return np.log(np.exp(scores).sum(-1)) - scores[np.arange(len(scores)), right]


def cosines(vectors):
    unit = vectors / np.linalg.norm(vectors.astype("float64"), axis=-1, keepdims=True)
    return unit @ unit.T


def test_info_nce_is_the_cross_entropy_of_the_right_candidate():
    assert_close(info_nce(SCORES, RIGHT), cross_entropy(SCORES, RIGHT), 1e-5)
    assert_close(info_nce(SCORES[:, :4]), cross_entropy(SCORES[:, :4], np.arange(4)), 1e-5)
    assert_close(InfoNCE(temperature=0.5)(RIGHT, SCORES), cross_entropy(SCORES / 0.5, RIGHT).mean(), 1e-5)
    assert_close(InfoNCE(temperature=0.5)(RIGHT[:, None], SCORES), cross_entropy(SCORES / 0.5, RIGHT).mean(), 1e-5)


def test_flatnce_is_the_logarithm_of_the_excess_and_its_gradient_that_of_info_nce_without_the_flat_end():
    info = cross_entropy(SCORES, RIGHT)
    assert_close(flatnce(SCORES, RIGHT), np.log(np.exp(info) - 1), 1e-4)
    assert_close(flatnce(SCORES, RIGHT, monitor="infonce"), info, 1e-4)
    flat, same, slow = (
        gradient(lambda x, f=f, k=k: f(x, RIGHT, **k), SCORES)
        for f, k in ((flatnce, {}), (flatnce, {"monitor": "infonce"}), (info_nce, {}))
    )
    miss = 1 - np.exp(-info)[:, None]
    assert_close(flat * miss, slow, 1e-5)
    assert_close(same, flat, 1e-6)
    assert_close(FlatNCE(temperature=0.5)(RIGHT, SCORES), np.log(np.exp(cross_entropy(SCORES / 0.5, RIGHT)) - 1).mean(), 1e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_flatnce_learns_where_info_nce_has_stopped(dtype):
    scores = np.array([[40.0, *[0.0] * 7]], "float32")
    stopped, learning = (gradient(lambda x, f=f: f(x, [0]), scores, dtype) for f in (info_nce, flatnce))
    assert abs(stopped).max() < 1e-16
    np.testing.assert_allclose(learning, [[-1, *[1 / 7] * 7]], rtol=4e-3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [info_nce, flatnce])
def test_what_does_not_count_equals_what_is_not_there(function, dtype):
    """Minus infinity and the mask; rows without a positive or a negative give zero, and all gradients are finite."""
    scores = np.concatenate([SCORES, SCORES[:2]])
    right = np.array([*RIGHT, 1, 1])
    mask = np.ones(scores.shape, bool)
    scores[0, 1] = -INF
    mask[1, 3:] = False
    mask[4] = np.arange(6) != 1  # no positive
    scores[5] = np.where(np.arange(6) == 1, 2.0, -INF)  # no negative
    rounded = to_numpy(in_dtype(scores, dtype))
    there = [(rounded[:1, [0, 2, 3, 4, 5]], [4]), (rounded[1:2, :3], [0]), (rounded[2:4], [2, 2])]
    expected = np.concatenate([cross_entropy(*rows) for rows in there])
    expected = expected if function is info_nce else np.log(np.exp(expected) - 1)
    found = function(in_dtype(scores, dtype), right, mask=mask)
    assert_close(found, np.array([*expected, 0, 0]), 1e-4)
    slope = gradient(lambda x: function(x, right, mask=mask), scores, dtype)
    assert np.all(np.isfinite(slope)) and not slope[~mask].any() and not slope[4:].any()
    assert np.all(np.isfinite(gradient(lambda x: function(x, right), np.array([[6e4, -6e4]] * 6, "float32"), dtype)))


def test_contrast_needs_two_candidates():
    for function in (info_nce, flatnce):
        with pytest.raises(KerasSuError, match="number of candidates: got 1, expected at least 2"):
            function(SCORES[:, :1])
    with pytest.raises(KerasSuError, match="Unknown monitored value of FlatNCE 'info_nce'. Did you mean 'infonce'"):
        FlatNCE(monitor="info_nce")
    with pytest.raises(KerasSuError, match="FlatNCE: temperature: got 0, expected a positive number"):
        FlatNCE(temperature=0)


def test_every_row_looks_for_its_partner_among_the_others():
    expected = []
    for row, partner in enumerate([1, 0, 3, 2, 5, 4]):
        others = [one for one in range(6) if one != row]
        expected.append(cross_entropy(30 * cosines(VECTORS)[[row]][:, others], others.index(partner))[0])
    assert_close(in_batch_pair_contrastive(VECTORS), np.array(expected), 1e-4)
    concat = VECTORS[[0, 2, 4, 1, 3, 5]]
    assert_close(in_batch_pair_contrastive(concat, layout="concat"), np.array(expected)[[0, 2, 4, 1, 3, 5]], 1e-4)
    assert_close(InBatchPairContrastive()(np.zeros((6, 1)), VECTORS), np.mean(expected), 1e-4)
    swapped = VECTORS[[1, 0, 3, 2, 5, 4]]
    assert_close(ops.mean(in_batch_pair_contrastive(swapped, 20.0)), ops.mean(in_batch_pair_contrastive(VECTORS, 20.0)), 1e-5)
    lengths = np.array([[0.1], [1], [2], [3], [50], [7]], "float32")
    assert_close(in_batch_pair_contrastive(lengths * VECTORS), np.array(expected), 1e-4)


def test_pairs_of_equal_vectors_that_are_orthogonal_to_all_others():
    vectors = np.repeat(np.eye(4, dtype="float32"), 2, axis=0)
    assert_close(in_batch_pair_contrastive(vectors, 3.0), np.full(8, np.log1p(6 * np.exp(-3))), 1e-6)
    duplicates = vectors[[0, 1, 0, 1, 4, 5, 6, 7]]
    seen = (np.arange(8)[:, None] // 4 != np.arange(8) // 4) | (np.arange(8)[:, None] // 2 == np.arange(8) // 2)
    found = in_batch_pair_contrastive(duplicates, 3.0, mask=seen)
    assert_close(found, np.full(8, np.log1p(4 * np.exp(-3))), 1e-6)
    scores, partner = pair_scores(vectors, 3.0)
    assert_close(flatnce(scores, partner), np.full(8, np.log(6) - 3), 1e-5)


def test_vectors_of_any_length_have_finite_gradients():
    vectors = VECTORS * np.array([[0], [1e-3], [1], [1e3], [1e4], [0]], "float32")
    for function in (in_batch_pair_contrastive, lambda x: similarity_distillation(VECTORS, x)):
        assert np.all(np.isfinite(gradient(function, vectors, "float16")))
    assert keras.backend.standardize_dtype(in_batch_pair_contrastive(in_dtype(VECTORS, "float16")).dtype) == "float32"


def test_rows_must_form_pairs():
    for function in (in_batch_pair_contrastive, split_pairs):
        with pytest.raises(KerasSuError, match="number of rows: got 5, expected an even number"):
            function(VECTORS[:5])
    with pytest.raises(KerasSuError, match="Unknown layout of pairs 'concatenate'. Did you mean 'concat'"):
        InBatchPairContrastive(layout="concatenate")
    assert [to_numpy(ops.convert_to_tensor(x)).tolist() for x in split_pairs(np.arange(4), "concat")] == [[0, 1], [2, 3]]


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-1, 1, width=32), st.booleans()), min_size=4, max_size=4))
def test_cosent_against_its_sum(pairs):
    labels, cos, mask = (np.array(column) for column in zip(*pairs))
    total = sum(
        np.exp(20 * (float(cos[j]) - float(cos[i])))
        for i in range(4)
        for j in range(4)
        if labels[i] > labels[j] and mask[i] and mask[j]
    )
    assert_close(cosent(labels, cos.astype("float32"), mask=mask), np.log1p(total), 1e-4)


def test_cosent_looks_at_order_only():
    labels, cos = np.array([5, 3, 3, 1]), np.array([0.9, 0.4, 0.3, -0.2], "float32")
    assert_close(cosent(labels, cos), cosent(labels * 7 - 40, cos), 1e-6)
    assert float(cosent(labels, cos)) <= np.log1p(5 * np.exp(-20 * 0.5))
    mirrored = sum(np.exp(20 * (float(cos[i]) - float(cos[j]))) for i in range(4) for j in range(4) if labels[i] > labels[j])
    assert_close(cosent(-labels, cos), np.log1p(mirrored), 1e-5)
    assert float(cosent(np.ones(4), cos)) == 0.0
    assert not gradient(lambda x: cosent(np.ones(4), x), cos).any()
    assert abs(np.sum(gradient(lambda x: cosent(-labels, x), cos))) < 1e-4


def test_cosent_of_vectors_of_cosines_and_of_extremes():
    labels = np.array([2, 0, 1])
    cos = cosines(VECTORS)[[0, 2, 4], [1, 3, 5]]
    expected = np.log1p(sum(np.exp(20 * (cos[j] - cos[i])) for i, j in [(0, 1), (0, 2), (2, 1)]))
    assert_close(CoSENT()(np.repeat(labels, 2), VECTORS * 3), expected, 1e-4)
    assert_close(CoSENT(layout="concat")(np.tile(labels, 2)[:, None], VECTORS[[0, 2, 4, 1, 3, 5]]), expected, 1e-4)
    assert_close(CoSENT(layout="cosines")(labels[:, None], cos[:, None]), expected, 1e-4)
    slope = gradient(lambda x: cosent(labels, x), np.array([-6e4, 6e4, 0], "float32"), "float16")
    np.testing.assert_allclose(slope, [-20, 20, 0], rtol=1e-3)


def test_distillation_compares_cosines_and_nothing_else():
    teacher = DICE.normal(size=(6, 3)).astype("float32")
    expected = 100 * np.square(cosines(VECTORS) - cosines(teacher)).mean(axis=1)
    assert_close(similarity_distillation(teacher, VECTORS), expected, 1e-4)
    assert_close(SimilarityDistillation(scale=1.0)(teacher, VECTORS), expected.mean() / 100, 1e-4)
    turn, _ = np.linalg.qr(DICE.normal(size=(5, 5)))
    assert_close(similarity_distillation(teacher, VECTORS @ turn.astype("float32")), expected, 1e-4)
    assert_close(similarity_distillation(VECTORS, 3 * VECTORS @ turn.astype("float32")), np.zeros(6), 1e-5)
    slope = gradient(lambda x: similarity_distillation(teacher, x), VECTORS)
    assert_close((slope * VECTORS).sum(axis=-1), np.zeros(6), 1e-4)  # the lengths of vectors do not matter
    assert not gradient(lambda x: similarity_distillation(x, VECTORS), teacher).any()
