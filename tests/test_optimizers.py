"""Adam, Lion, AdaFactor and Tiger against plain numpy, and what their state costs."""

import re

import keras
import numpy as np
import pytest
from helpers import to_numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_su.errors import KerasSuError
from keras_su.optimizers import (
    AdaFactor,
    Adam,
    Lion,
    PiecewiseLinear,
    Tiger,
    extend_with_weight_decay,
    layerwise_lr_schedule,
    piecewise_linear,
)

DICE = np.random.default_rng(11)
KERNEL, BIAS = DICE.normal(size=(4, 3)), DICE.normal(size=3)
GRADIENTS = [(DICE.normal(size=(4, 3)), DICE.normal(size=3)) for _ in range(4)]
NAMES = ("kernel", "bias")


def tensor(array, dtype="float32"):
    return ops.convert_to_tensor(np.asarray(array, "float32"), dtype=dtype)


def trained(optimizer, gradients=GRADIENTS, start=(KERNEL, BIAS), names=NAMES, dtype="float32"):
    """The variables as arrays after one ``apply_gradients`` for each tuple of gradients."""
    variables = [keras.Variable(tensor(value), name=name, dtype=dtype) for value, name in zip(start, names)]
    for several in gradients:
        optimizer.apply_gradients([(tensor(g, dtype), v) for g, v in zip(several, variables)])
    return [to_numpy(variable) for variable in variables]


def assert_trained(optimizer, step, gradients=GRADIENTS, start=(KERNEL, BIAS), names=NAMES):
    """``step(weights, gradient, t, state, name)`` of numpy gives the same weights; ``state`` is a dictionary of the variable."""
    found = trained(optimizer, gradients, start, names)
    for i, (name, weights) in enumerate(zip(names, start)):
        state = {}
        for t, several in enumerate(gradients, 1):
            weights = step(weights, several[i], t, state, name)
        np.testing.assert_allclose(found[i], weights, rtol=1e-4, atol=1e-6, err_msg=name)


def rms(x, **axes):
    return np.sqrt(np.mean(np.square(x), **axes))


@pytest.mark.parametrize("bias_correction", [True, False])
def test_adam(bias_correction):
    def step(w, g, t, state, name):
        state["m"] = 0.8 * state.get("m", 0) + 0.2 * g
        state["v"] = 0.9 * state.get("v", 0) + 0.1 * g**2
        m, v = state["m"], state["v"]
        if bias_correction:
            m, v = m / (1 - 0.8**t), v / (1 - 0.9**t)
        return w - 0.1 * m / (np.sqrt(v) + 0.01)

    assert_trained(Adam(lr=0.1, beta_1=0.8, beta_2=0.9, epsilon=0.01, bias_correction=bias_correction), step)


def test_lion():
    def step(w, g, t, state, name):
        direction = np.sign(0.95 * state.get("m", 0) + 0.05 * g)
        state["m"] = 0.98 * state.get("m", 0) + 0.02 * g
        return w - 0.1 * direction

    assert_trained(Lion(0.1), step)


@pytest.mark.parametrize("rate", [0.3, None])
@pytest.mark.parametrize("scaled", [True, False])
def test_adafactor(rate, scaled):
    """A 3-dimensional kernel is factored over its two largest axes, and a bias is not."""
    shape = (4, 2, 3)
    start = (DICE.normal(size=shape), BIAS)
    gradients = [(DICE.normal(size=shape), bias) for _, bias in GRADIENTS]

    def step(w, g, t, state, name):
        beta = 1 - t**-0.8
        lr = (min(t**-0.5, 0.01) * (1 if scaled else 0.05)) if rate is None else rate
        if name == "kernel":
            rows = state["rows"] = beta * state.get("rows", 0) + (1 - beta) * (g**2).mean(axis=0, keepdims=True)
            columns = state["columns"] = beta * state.get("columns", 0) + (1 - beta) * (g**2).mean(axis=2, keepdims=True)
            square = rows * columns / rows.mean(axis=2, keepdims=True)
        else:
            square = state["square"] = beta * state.get("square", 0) + (1 - beta) * g**2
        u = g / np.sqrt(square)
        u = u / max(1, rms(u) / 0.7)
        u = state["m"] = 0.5 * state.get("m", 0) + 0.5 * u
        return w - lr * u * (max(rms(w), 1e-3) if scaled and name == "kernel" else 1)

    settings = {"beta1": 0.5, "clipping_threshold": 0.7, "min_dim_size_to_factor": 3, "multiply_by_parameter_scale": scaled}
    optimizer = AdaFactor(rate, **settings, exclude_from_parameter_scale=["bias$"])
    assert_trained(optimizer, step, gradients, start)
    again = AdaFactor.from_config(optimizer.get_config())
    assert again.get_config() == optimizer.get_config()
    assert again.get_config()["learning_rate"] == (None if rate is None else pytest.approx(rate))


def test_adafactor_keeps_rows_and_columns_only():
    optimizer = AdaFactor()
    optimizer.build([keras.Variable(np.zeros((200, 150), "float32"), name="kernel")])
    assert sum(np.prod(v.shape) for v in optimizer.variables) == 200 + 150 + 2  # and iterations, learning rate


@pytest.mark.parametrize("steps", [1, 2])
def test_tiger(steps):
    """Every rule of names; with accumulation, the momentum of a mean of gradients and steps at every second batch."""
    names = ("kernel", "embeddings", "bias", "gamma")
    start = [1 + DICE.normal(size=(4, 3)) for _ in names]
    gradients = [[DICE.normal(size=(4, 3)) for _ in names] for _ in range(4)]
    means = np.array(gradients).reshape(-1, steps, 4, 4, 3).mean(axis=1)

    def step(w, g, t, state, name):
        m = state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
        scale = {"kernel": rms(w), "embeddings": rms(w, axis=-1, keepdims=True)}.get(name, 0.5)
        decay = 0.1 * w if name in ("kernel", "embeddings") else 0
        return w - 0.2 * min((t - 1) / 2, 1) * scale * (np.sign(m) + decay)

    kwargs = {"beta": 0.9, "weight_decay": 0.1, "lr_schedule": {2: 1}}
    optimizer = Tiger(0.2, **kwargs)
    assert_trained(optimizer, step, means, start, names)
    np.testing.assert_allclose(
        trained(Tiger(0.2, **kwargs, grad_accum_steps=steps), gradients, start, names),
        trained(Tiger(0.2, **kwargs), means, start, names),
        atol=1e-6,
    )
    assert Tiger.from_config(optimizer.get_config()).get_config() == optimizer.get_config()


def test_tiger_shrinks_what_has_no_finite_gradient():
    start = [2 * np.ones((4, 3))] * 3
    bad, good = np.full((4, 3), np.nan), np.ones((4, 3))
    for steps in (1, 2):
        optimizer = Tiger(0.1, weight_decay=0, grad_accum_steps=steps, shrink_ratio=0.9)
        found = trained(optimizer, [(bad, bad, good)] * steps, start, ("kernel", "gamma", "other"))
        expected = [2 * 0.9**steps, 1 + 0.9**steps, 2 - 0.2]
        np.testing.assert_allclose([w[0, 0] for w in found], expected, rtol=1e-5)
        assert all(np.ptp(w) == 0 for w in found)


@pytest.mark.parametrize("make", [Adam, Lion, AdaFactor, Tiger])
def test_bfloat16_weights_have_float32_state(make):
    """In bfloat16, ``1 - 0.999`` would be zero, and the first step of Adam infinite."""
    optimizer = make(0.1)
    start = [np.round(KERNEL * 16) / 16, np.round(BIAS * 16) / 16]
    found = trained(optimizer, GRADIENTS[:2], start, dtype="bfloat16")
    expected = trained(make(0.1), GRADIENTS[:2], start)
    for name, f, e in zip(NAMES, found, expected):
        np.testing.assert_allclose(f, e, atol=0.03, err_msg=name)
    states = [v for v in optimizer.variables if len(v.shape)]
    assert states and all(v.dtype == "float32" for v in states)


@settings(max_examples=40)
@given(
    points=st.dictionaries(st.integers(0, 50), st.floats(-2, 2), min_size=1, max_size=5),
    from_zero=st.booleans(),
)
def test_piecewise_linear_is_interpolation(points, from_zero):
    x = sorted(points)
    y = [points[step] for step in x]
    if from_zero and x[0] != 0:
        x, y = [0, *x], [0.0, *y]
    t = np.arange(60)
    expected = np.interp(t, x, y)
    np.testing.assert_allclose(to_numpy(piecewise_linear(tensor(t), points, from_zero)), expected, atol=1e-5)
    schedule = PiecewiseLinear.from_config(PiecewiseLinear(0.5, points, from_zero).get_config())
    assert float(schedule(7)) == pytest.approx(0.5 * expected[7], abs=1e-5)


def test_layerwise_factors_match_one_layer_each():
    factors = layerwise_lr_schedule(12, 0.5)
    paths = ["Embedding-Token/embeddings", "x-Transformer-1-FeedForward/kernel", "bert/Transformer-11-FeedForward/kernel"]
    matched = [[factor for pattern, factor in factors.items() if re.search(pattern, path)] for path in paths]
    assert matched == [[0.5**13], [0.5**11], [0.5]]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: piecewise_linear(1, {}), "schedule"),
        (lambda: PiecewiseLinear(1.0, {"soon": 1}), "a dictionary {step: value}"),
        (lambda: AdaFactor(exclude_from_parameter_scale=["("]), "regular expression"),
        (lambda: Tiger(grad_accum_steps=0), "positive integer"),
        (lambda: layerwise_lr_schedule(3, 0), "positive number"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(KerasSuError, match=message):
        make()


@pytest.mark.parametrize("make", [Adam, AdaFactor, extend_with_weight_decay(keras.optimizers.SGD)])
def test_the_rate_is_also_called_lr(make):
    optimizer = make(lr=0.25)
    assert float(optimizer.lr) == 0.25
    optimizer.lr.assign(0.125)
    assert float(optimizer.learning_rate) == 0.125
    optimizer.lr = 0.5
    assert float(optimizer.learning_rate) == 0.5
