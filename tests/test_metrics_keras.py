"""Metrics on tensors, over batches of different sizes, against counting in numpy; and beside a loss in ``fit``."""

import keras
import numpy as np
import pytest

from keras_su.losses import Seq2SeqCrossentropy
from keras_su.metrics import GlobalPointerF1, MaskedAccuracy, masked_accuracy, span_scores

INF = float("inf")
DICE = np.random.default_rng(41)
SCORES = DICE.normal(size=(3, 4, 5)).astype("float32")
LABELS = np.where(DICE.random((3, 4)) < 0.5, SCORES.argmax(-1), 0)
MASK = DICE.random((3, 4)) < 0.7


def test_accuracy_of_what_counts():
    right = SCORES.argmax(-1) == LABELS
    assert 0 < right[MASK].mean() < 1
    for predictions in (SCORES, SCORES.argmax(-1)):
        assert float(masked_accuracy(LABELS, predictions, MASK)) == pytest.approx(right[MASK].mean())
        assert float(masked_accuracy(LABELS, predictions)) == pytest.approx(right.mean())
    assert float(masked_accuracy(LABELS[:, :1], SCORES[:, 0])) == pytest.approx(right[:, 0].mean())
    assert float(masked_accuracy(LABELS, SCORES, 2.5 * MASK)) == pytest.approx(right[MASK].mean())
    assert float(masked_accuracy(LABELS, SCORES, 0 * MASK)) == 0.0


def test_accuracy_over_batches_counts_tokens():
    metric = MaskedAccuracy(ignore_class=0)
    for rows in (slice(0, 1), slice(1, 3)):
        metric.update_state(LABELS[rows], SCORES[rows], sample_weight=MASK[rows])
    counted = MASK & (LABELS != 0)
    assert float(metric.result()) == pytest.approx((SCORES.argmax(-1) == LABELS)[counted].mean())
    metric.reset_state()
    assert float(metric.result()) == 0.0


@pytest.mark.parametrize("sparse", [False, True])
def test_f1_of_span_tables_equals_that_of_sets(sparse):
    """With minus infinity where no span can be, and texts without any span."""
    scores = DICE.normal(size=(4, 2, 3, 3)).astype("float32")
    scores[:, :, [1, 2, 2], [0, 0, 1]] = -INF
    scores[3] = -INF
    scores[:, :, 0, 0] = -INF if sparse else 1.0
    pairs = np.array(
        [[[[0, 1], [1, 2]], [[2, 2], [0, 0]]], [[[1, 1], [0, 0]]] * 2, [[[0, 0]] * 2] * 2, [[[0, 0]] * 2] * 2], "int32"
    )
    dense = np.zeros_like(scores)
    for text, head, span in np.argwhere(pairs.any(-1)):
        dense[text, head, *pairs[text, head, span]] = 1
    labels = pairs if sparse else dense
    metric = GlobalPointerF1(sparse=sparse)
    for rows in (slice(0, 3), slice(3, 4)):
        metric.update_state(labels[rows], scores[rows])
    expected = span_scores([set(map(tuple, np.argwhere(dense > 0)))], [set(map(tuple, np.argwhere(scores > 0)))])
    assert expected.correct and float(metric.result()) == pytest.approx(expected.f1)
    nothing = GlobalPointerF1(sparse=sparse, threshold=1e9)
    nothing.update_state(labels[2:], scores[2:])
    assert float(nothing.result()) == 0.0
    restored = keras.metrics.deserialize(keras.metrics.serialize(GlobalPointerF1(0.5, sparse, name="other")))
    assert (
        isinstance(restored, GlobalPointerF1) and restored.get_config() == GlobalPointerF1(0.5, sparse, name="other").get_config()
    )


def test_accuracy_while_training():
    inputs = keras.Input((None,), dtype="int32")
    model = keras.Model(
        inputs, keras.layers.Embedding(5, 5, embeddings_initializer=keras.initializers.Constant(np.eye(5)))(inputs)
    )
    model.compile(loss=Seq2SeqCrossentropy(), weighted_metrics=[MaskedAccuracy(ignore_class=0)])
    ids, labels = np.array([[1, 2, 3, 4], [1, 2, 0, 0]]), np.array([[1, 2, 4, 4], [2, 2, 0, 0]])
    found = model.evaluate(
        ids, labels, sample_weight=np.array([[1, 1, 1, 0], [1, 1, 1, 1]]), batch_size=1, verbose=0, return_dict=True
    )
    assert found["accuracy"] == pytest.approx(3 / 5)
