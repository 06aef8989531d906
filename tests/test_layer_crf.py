"""Conditional random fields against sums over all paths."""

import itertools

import keras
import numpy as np
import pytest
from helpers import assert_close, gradient, to_numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_su.decoding.viterbi import ViterbiDecoder
from keras_su.layers import ConditionalRandomField

DICE = np.random.default_rng(7)
TAGS = 3


def field(trans, lr_multiplier=1, **kwargs):
    """A field whose effective transitions are ``trans``."""
    crf = ConditionalRandomField(lr_multiplier, **kwargs)
    crf.build((None, None, len(trans)))
    crf.set_weights([np.asarray(trans) / lr_multiplier])
    return crf


def path_score(path, scores, trans):
    return sum(scores[step][tag] for step, tag in enumerate(path)) + sum(trans[a][b] for a, b in zip(path, path[1:]))


def negative_log_likelihood(labels, scores, trans):
    """By the definition: all paths of one text."""
    if not len(labels):
        return 0.0
    paths = itertools.product(range(len(trans)), repeat=len(labels))
    return np.log(sum(np.exp(path_score(path, scores, trans)) for path in paths)) - path_score(labels, scores, trans)


def example(seed, batch=4, length=4, spread=1.0):
    """Scores, transitions, labels and any mask; a row without a token is always there."""
    dice = np.random.default_rng(seed)
    mask = dice.random((batch, length)) < 0.7
    mask[-1] = False
    scores, trans = (dice.normal(size=shape, scale=spread) for shape in ((batch, length, TAGS), (TAGS, TAGS)))
    return scores.astype("float32"), trans.astype("float32"), dice.integers(0, TAGS, (batch, length)), mask


def expected_loss(scores, trans, labels, counts):
    return np.array([negative_log_likelihood(y[c], x[c], trans) for x, y, c in zip(scores, labels, counts)])


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 1.0, 3.0]))
def test_loss_is_minus_the_log_of_the_probability_of_the_path(seed, spread):
    scores, trans, labels, mask = example(seed, spread=spread)
    crf = field(trans)
    y_pred = crf(scores, mask=ops.convert_to_tensor(mask))
    expected = expected_loss(scores, trans, labels, mask)
    loss = to_numpy(crf.sparse_loss(ops.convert_to_tensor(labels), y_pred))
    assert_close(loss, expected, 1e-4)
    assert np.all(loss >= 0) and loss[-1] == 0
    # A label that is no tag means that the step does not count.
    unknown = np.where(np.random.default_rng(seed).random(labels.shape) < 0.3, -100, labels)
    loss = to_numpy(crf.sparse_loss(ops.convert_to_tensor(unknown), y_pred))
    assert_close(loss, expected_loss(scores, trans, labels, mask & (unknown >= 0)), 1e-4)


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 1e3, 1e6]))
def test_loss_is_never_negative(seed, spread):
    scores, trans, labels, mask = example(seed, spread=spread)
    crf = field(trans)
    best = crf.decode(crf(scores, mask=ops.convert_to_tensor(mask)))
    for y_true in (labels, np.maximum(to_numpy(best), 0)):
        loss = to_numpy(crf.sparse_loss(ops.convert_to_tensor(y_true), crf(scores, mask=ops.convert_to_tensor(mask))))
        assert np.all(np.isfinite(loss)) and np.all(loss >= 0)


def test_labels_of_any_kind_mean_the_same():
    scores, trans, labels, mask = example(1)
    crf = field(trans)
    y_pred = crf(scores, mask=ops.convert_to_tensor(mask))
    loss, accuracy = (to_numpy(f(ops.convert_to_tensor(labels), y_pred)) for f in (crf.sparse_loss, crf.sparse_accuracy))
    for dtype in ("int64", "uint8", "float32", "float16"):
        for y_true in (labels.astype(dtype), labels[..., None].astype(dtype)):
            assert_close(crf.sparse_loss(ops.convert_to_tensor(y_true), y_pred), loss)
            assert_close(crf.sparse_accuracy(ops.convert_to_tensor(y_true), y_pred), accuracy)
    for dtype in ("int32", "float32"):
        one_hot = ops.convert_to_tensor(np.eye(TAGS)[labels].astype(dtype))
        assert_close(crf.dense_loss(one_hot, y_pred), loss)
        assert_close(crf.dense_accuracy(one_hot, y_pred), accuracy)
    assert_close(accuracy, (scores.argmax(-1) == labels)[mask].mean())
    nothing = crf(scores, mask=ops.zeros(mask.shape, "bool"))
    assert float(to_numpy(crf.sparse_accuracy(ops.convert_to_tensor(labels), nothing))) == 0


def test_padding_is_passed_on_as_minus_infinity():
    scores, trans, _, mask = example(2)
    found = to_numpy(field(trans)(scores, mask=ops.convert_to_tensor(mask)))
    np.testing.assert_array_equal(found, np.where(mask[..., None], scores, -np.inf))
    assert_close(field(trans)(scores), scores)


def test_the_multiplier_is_a_matter_of_speed_only():
    scores, trans, labels, mask = example(3)
    slow, fast = field(trans), field(trans, lr_multiplier=100)
    y_pred, y_true = slow(scores, mask=ops.convert_to_tensor(mask)), ops.convert_to_tensor(labels)
    assert_close(fast.trans, trans)
    assert_close(fast.sparse_loss(y_true, y_pred), slow.sparse_loss(y_true, y_pred))
    fresh = ConditionalRandomField(lr_multiplier=100)
    fresh.build((None, None, 50))
    assert 0.1 < np.abs(to_numpy(fresh.trans)).max() <= np.sqrt(6 / 100)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_gradients_are_the_differences_of_probabilities(dtype):
    """d loss / d score = probability of the tag - label, and 0 where nothing counts."""
    scores, trans, labels, mask = example(4)
    crf = field(trans, dtype=f"mixed_{dtype}" if dtype == "float16" else dtype)
    y_true, valid = ops.convert_to_tensor(labels), ops.convert_to_tensor(mask)
    found = gradient(lambda x: crf.sparse_loss(y_true, crf(x, mask=valid)), scores, dtype)
    expected = np.zeros_like(scores)
    for row, (x, y, m) in enumerate(zip(scores, labels, mask)):
        x, y = x[m], y[m]
        paths = list(itertools.product(range(TAGS), repeat=len(y)))
        weights = np.exp([path_score(path, x, trans) for path in paths])
        marginals = np.zeros_like(x)
        for path, weight in zip(paths, weights / weights.sum()):
            marginals[np.arange(len(path)), list(path)] += weight
        expected[row][m] = marginals - np.eye(TAGS)[y]
    assert_close(found, expected, 1e-5 if dtype == "float32" else 5e-3)


def test_a_forbidden_tag_is_not_padding():
    scores, trans, labels, _ = example(5)
    scores[0, 1, 2] = -np.inf
    labels[0] = [0, 1, 0, 1]
    crf = field(trans)
    loss = to_numpy(crf.sparse_loss(ops.convert_to_tensor(labels), crf(scores)))
    assert_close(loss, expected_loss(scores.astype("float64"), trans, labels, np.ones_like(labels, bool)), 1e-4)
    found = gradient(lambda x: crf.sparse_loss(ops.convert_to_tensor(labels), crf(x)), scores)
    assert np.all(np.isfinite(found))


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_decoding_finds_the_best_path(seed):
    scores, trans, _, mask = example(seed)
    crf = field(trans)
    found = crf.decode(crf(scores, mask=ops.convert_to_tensor(mask)))
    assert keras.backend.standardize_dtype(found.dtype) == "int32"
    np.testing.assert_array_equal(to_numpy(found), ViterbiDecoder(trans).decode_batch(scores, mask))


def tagger():
    """Tokens to tags, compiled; the tag is the parity of the token, except after a 9, when it is 2."""
    ids = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 8, mask_zero=True)(ids)
    crf = ConditionalRandomField(lr_multiplier=10)
    model = keras.Model(ids, crf(keras.layers.Dense(TAGS)(x)))
    model.compile("adam", loss=crf.sparse_loss, metrics=[crf.sparse_accuracy])
    return model, crf


def test_training_with_the_loss_as_a_method():
    model, crf = tagger()
    ids = DICE.integers(1, 10, size=(8, 6))
    labels = ids % 2
    labels[:, 1:][ids[:, :-1] == 9] = 2
    ids[:4, 4:] = 0  # padding
    before = to_numpy(crf.trans)
    history = model.fit(ids, labels, batch_size=4, epochs=2, verbose=0).history
    assert history["loss"][1] < history["loss"][0]
    assert np.all(np.isfinite(to_numpy(crf.trans))) and np.abs(to_numpy(crf.trans) - before).max() > 0.01
    loss, accuracy = model.evaluate(ids, labels, batch_size=8, verbose=0)
    scores = model.predict_on_batch(ids)
    mask = ids > 0
    expected = expected_loss(np.where(mask[..., None], scores, 0), to_numpy(crf.trans), labels, mask)
    assert loss == pytest.approx(expected.mean(), rel=1e-4)
    assert accuracy == pytest.approx((scores.argmax(-1) == labels)[mask].mean(), abs=1e-6)


def test_texts_of_lengths_that_are_not_known_beforehand():
    """TensorFlow compiles one program for all lengths then."""
    model, crf = tagger()
    ids = DICE.integers(1, 10, size=(2, 6))

    def batches():
        for length in (4, 6):
            yield ids[:, :length], ids[:, :length] % 2

    loss = model.evaluate(batches(), steps=2, verbose=0, return_dict=True)["loss"]
    expected = [
        expected_loss(model.predict_on_batch(x), to_numpy(crf.trans), y, np.ones_like(x, bool)).mean() for x, y in batches()
    ]
    assert loss == pytest.approx(np.mean(expected), rel=1e-4)
