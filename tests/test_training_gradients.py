"""Gradients against closed forms and finite differences, once and twice, of tensors and of variables."""

import keras
import numpy as np
import pytest
from helpers import to_numpy
from keras import ops

from keras_su.errors import KerasSuError
from keras_su.layers import MultiHeadAttention
from keras_su.training import gradients, value_and_grad

DICE = np.random.default_rng(4)


def test_structures_values_and_what_does_not_matter():
    a, b = DICE.normal(size=(2, 3)).astype("float32"), DICE.normal(size=3).astype("float32")

    def function(given):
        return ops.sum(given["a"] ** 2 * given["rest"][0]), {"twice": 2 * given["a"]}

    (value, aux), found = value_and_grad(function, {"a": a, "rest": [b, b]}, has_aux=True)
    np.testing.assert_allclose(to_numpy(value), (a**2 * b).sum(), rtol=1e-5)
    np.testing.assert_allclose(to_numpy(aux["twice"]), 2 * a)
    np.testing.assert_allclose(to_numpy(found["a"]), 2 * a * b, rtol=1e-5)
    np.testing.assert_allclose(to_numpy(found["rest"][0]), (a**2).sum(axis=0), rtol=1e-5)
    assert not to_numpy(found["rest"][1]).any()
    assert not to_numpy(gradients(lambda x: ops.ones((2,)), b)).any()


def test_what_a_function_takes_from_elsewhere_is_constant():
    x = ops.convert_to_tensor(3.0)
    assert float(gradients(lambda y: x * y, x)) == 3.0


@pytest.mark.parametrize("differentiable", [True, False])
def test_variables_have_the_tensors_while_the_function_runs(differentiable):
    variable, other = keras.Variable([1.0, 2.0]), keras.Variable([5.0, 7.0])
    with keras.StatelessScope([(other, ops.convert_to_tensor([3.0, 4.0]))]):
        found = gradients(lambda _: variable**2 * other, [variable], differentiable=differentiable)
    assert to_numpy(found[0]).tolist() == [6.0, 16.0]  # the value of the outer scope
    assert to_numpy(variable).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("kind", ["attention", "cross entropy"])
def test_second_derivatives_against_finite_differences(kind):
    """Of the penalty |gradient of the loss|^2, through the layers that have a fused kernel on some backend."""
    if kind == "attention":
        layer = MultiHeadAttention(2, 3)
        x = DICE.normal(size=(2, 4, 6)).astype("float32")
        layer.build([x.shape] * 3)
        mask = np.tril(np.ones((1, 4, 4), bool))
        apply = lambda x: ops.sum(layer([x, x, x, mask], a_bias=True) ** 2)  # noqa: E731
    else:
        layer = keras.layers.Dense(4, activation="softmax")
        x = DICE.normal(size=(3, 5)).astype("float32")
        layer.build(x.shape)
        labels = np.array([0, 3, 1])
        apply = lambda x: ops.mean(keras.losses.sparse_categorical_crossentropy(labels, layer(x)))  # noqa: E731

    def penalty(x):
        return ops.sum(gradients(apply, x) ** 2)

    weights = layer.trainable_variables
    exact = [to_numpy(g) for g in gradients(lambda _: penalty(ops.convert_to_tensor(x)), weights)]
    directions = [DICE.normal(size=w.shape) for w in weights]
    before = layer.get_weights()
    ends = []
    for sign in (1, -1):
        layer.set_weights([w + sign * 1e-2 * d for w, d in zip(before, directions)])
        ends.append(to_numpy(ops.stop_gradient(penalty(ops.convert_to_tensor(x)))))
    expected = (ends[0] - ends[1]) / 2e-2
    assert abs(expected) > 1e-3
    assert sum((g * d).sum() for g, d in zip(exact, directions)) == pytest.approx(expected, rel=2e-2)


def test_token_ids_have_no_gradient():
    with pytest.raises(KerasSuError, match="dtype of an input: got 'int32', expected floating numbers"):
        gradients(lambda x: x, np.array([1, 2], "int32"))
