"""CAN against its definition, row by row, and what it leaves alone."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_su import postprocess
from keras_su.errors import KerasSuError
from keras_su.postprocess import CAN, CANPredictor, can, uncertainty


def by_definition(rows, prior, k=3, threshold=0.9, alpha=1.0, iters=1):
    """One uncertain row after the other, as the paper's algorithm says, in plain numbers."""
    rows, prior = np.array(rows, "float64"), np.array(prior) / np.sum(prior)
    doubt = []
    for row in rows:
        largest = sorted(row, reverse=True)[:k]
        parts = [p / sum(largest) for p in largest]
        doubt.append(-sum(p * np.log(p) for p in parts if p > 0) / np.log(len(parts)))
    confident = [row for row, d in zip(rows, doubt) if d < threshold]
    result = rows.copy()
    for number, (row, d) in enumerate(zip(rows, doubt)):
        if d < threshold or not confident:
            continue
        matrix = np.array([*confident, row])
        for _ in range(iters):
            matrix = matrix**alpha
            mean = matrix.mean(axis=0)
            matrix = np.where(mean > 0, matrix / np.where(mean > 0, mean, 1) * prior, matrix)
            matrix = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1e-300)
        if matrix[-1].any():
            result[number] = matrix[-1]
    return result


def random_rows(seed, rows=9, classes=4, zeros=True):
    """Rows between sure and undecided, some with exact zeros."""
    dice = np.random.default_rng(seed)
    logits = dice.normal(size=(rows, classes)) * dice.choice([0.3, 4.0], size=(rows, 1))
    table = np.exp(logits)
    if zeros:
        table[dice.random(table.shape) < 0.15] = 0
        table[:, 0] += 1e-3
    return table / table.sum(axis=1, keepdims=True), dice.random(classes) + 0.1


def test_the_example_of_the_article():
    assert np.allclose(can([[0.05, 0.95], [0.5, 0.5]], [0.5, 0.5]), [[0.05, 0.95], [0.725, 0.275]])


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    classes=st.integers(2, 6),
    k=st.integers(2, 7),
    threshold=st.sampled_from([0.5, 0.9, 1.1]),
    alpha=st.sampled_from([0.5, 1.0, 3.0]),
    iters=st.integers(1, 4),
)
def test_is_the_algorithm(seed, classes, k, threshold, alpha, iters):
    rows, prior = random_rows(seed, classes=classes)
    options = {"k": k, "threshold": threshold, "alpha": alpha, "iters": iters}
    found = can(rows, prior, **options)
    assert np.allclose(found, by_definition(rows, prior, **options), atol=1e-9)
    assert np.allclose(found.sum(axis=1), 1)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_one_iteration_has_a_closed_form(seed):
    rows, prior = random_rows(seed, rows=12, zeros=False)
    correct = CAN(prior, threshold=0.8)
    found, uncertain = correct(rows), correct.uncertain
    if not uncertain.all():
        wanted = rows * correct.prior / (rows + rows[~uncertain].sum(axis=0))
        assert np.allclose(found[uncertain], (wanted / wanted.sum(axis=1, keepdims=True))[uncertain])
    assert (found[~uncertain] == rows[~uncertain]).all()  # to the bit
    assert correct.changed == (found != rows).any(axis=1).sum() <= uncertain.sum()


def test_portions_change_nothing(monkeypatch):
    rows, prior = random_rows(3, rows=40)
    whole = can(rows, prior, iters=3)
    monkeypatch.setattr(postprocess, "MOST_NUMBERS", 1)
    assert np.allclose(can(rows, prior, iters=3), whole)


def test_rows_are_corrected_alone_and_their_order_does_not_matter():
    rows, prior = random_rows(5, rows=20)
    correct = CAN(prior, threshold=0.8)
    found, uncertain = correct(rows), np.flatnonzero(correct.uncertain)
    one_less = np.delete(rows, uncertain[0], axis=0)
    assert np.allclose(correct(one_less), np.delete(found, uncertain[0], axis=0))
    order = np.random.default_rng(0).permutation(20)
    assert np.allclose(correct(rows[order]), found[order])


def test_a_column_that_is_as_frequent_as_it_should_be_stays():
    """Fixed point: the mean of the matrix is the prior already."""
    assert np.allclose(can([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5]], [1, 1]), [[0.9, 0.1], [0.1, 0.9], [0.5, 0.5]])


def test_nobody_is_confident():
    rows = np.array([[0.5, 0.5], [0.45, 0.55]])
    correct = CAN([3, 1])
    assert (correct(rows) == rows).all() and correct.changed == 0 and correct.uncertain.all()


def test_extreme_powers_stay_finite():
    rows = np.array([[1 - 1e-12, 1e-12, 0.0], [0.34, 0.33, 0.33], [0.0, 0.0, 1.0]])
    assert np.allclose(can(rows, [1, 1, 1], alpha=500.0, iters=3).sum(axis=1), 1)
    assert np.isfinite(can(rows, [1, 1, 1], alpha=1e-3, iters=50)).all()


def test_uncertainty():
    rows = [[0.4, 0.4, 0.2, 0.0], [1.0, 0.0, 0.0, 0.0], [0.25] * 4]
    assert np.allclose(uncertainty(rows, k=2), [1, 0, 1])
    entropy = -(0.8 * np.log(0.4) + 0.2 * np.log(0.2))
    assert np.allclose(uncertainty(rows, k=9), [entropy / np.log(4), 0, 1])


def test_a_class_that_never_occurs():
    rows = np.array([[0.98, 0.01, 0.01], [0.3, 0.4, 0.3], [0.0, 0.5, 0.5]])
    with pytest.warns(UserWarning, match="prior 0.*: 1"):
        correct = CAN([0.5, 0.0, 0.5], threshold=0.6)
    found = correct(rows)
    assert found[1, 1] == found[2, 1] == 0 and np.allclose(found.sum(axis=1), 1)
    with pytest.warns(UserWarning):
        assert (can(rows, [1, 0, 0], k=2)[2] == rows[2]).all()  # nothing would be left of it


def test_calibrated_classifier_whose_classes_are_shifted():
    """Trained on balanced classes, used where one is frequent: the known frequencies make it better."""
    dice = np.random.default_rng(0)
    truth = dice.choice(3, 4000, p=[0.8, 0.1, 0.1])
    evidence = dice.normal(size=(4000, 3)) + 1.5 * np.eye(3)[truth]
    rows = np.exp(1.5 * evidence)  # the likelihoods of the three classes, exactly
    rows /= rows.sum(axis=1, keepdims=True)
    correct = CAN([0.8, 0.1, 0.1], threshold=0.7)
    found = correct(rows)
    assert (found.argmax(1) == truth).mean() > (rows.argmax(1) == truth).mean() + 0.01
    assert 0 < correct.changed == correct.uncertain.sum() < 4000


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_tensors_and_dtypes(dtype):
    rows, prior = random_rows(1)
    found = can(ops.convert_to_tensor(rows.astype(dtype)), prior)
    assert found.dtype == ops.convert_to_numpy(ops.convert_to_tensor(rows.astype(dtype))).dtype
    assert np.allclose(found, can(rows, prior), atol=2e-3)


def test_no_rows():
    assert can(np.zeros((0, 3)), [1, 1, 1]).shape == (0, 3)


def test_predictor():
    layer = keras.layers.Dense(2, use_bias=False, kernel_initializer="identity")
    model = keras.Sequential([keras.Input((2,)), layer])
    rows = np.array([[0.05, 0.95], [0.5, 0.5]], "float32")
    wanted = can(rows, [1, 1])
    assert np.allclose(CANPredictor(model, CAN([1, 1])).predict(rows, verbose=0), wanted)
    predictor = CANPredictor(model, CAN([1, 1]), from_logits=True)
    assert np.allclose(predictor.predict(np.log(rows), batch_size=1, verbose=0), wanted, atol=1e-6)
    assert predictor.can.changed == 1
    two = keras.Model(model.inputs, [model.outputs[0], model.outputs[0]])
    with pytest.raises(KerasSuError, match="2 outputs"):
        CANPredictor(two, CAN([1, 1])).predict(rows, verbose=0)


@pytest.mark.parametrize(
    ("rows", "prior", "options", "message"),
    [
        ([[2.0, -1.0]], [1, 1], {}, "softmax"),
        ([[0.5, 0.6]], [1, 1], {}, "row 0"),
        ([[0.5, 0.5], [float("nan"), 1.0]], [1, 1], {}, "row 1"),
        ([0.5, 0.5], [1, 1], {}, "shape"),
        ([[0.5, 0.5]], [1, 1, 1], {}, "3, as the prior has"),
        ([[0.5, 0.5]], [1, -1], {}, "prior"),
        ([[0.5, 0.5]], [0, 0], {}, "prior"),
        ([[0.5, 0.5]], [[1, 1]], {}, "shape of the prior"),
        ([[0.5, 0.5]], [1, 1], {"k": 1}, "k: got 1"),
        ([[0.5, 0.5]], [1, 1], {"alpha": 0}, "alpha"),
        ([[0.5, 0.5]], [1, 1], {"threshold": float("nan")}, "threshold"),
        ([[0.5, 0.5]], [1, 1], {"iters": 0}, "iters"),
        ([[0.5, 0.5]], [1, 1], {"iters": 1.5}, "iters"),
    ],
)
def test_errors(rows, prior, options, message):
    with pytest.raises(KerasSuError, match=message):
        can(rows, prior, **options)
