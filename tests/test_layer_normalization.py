"""LayerNormalization and ScaleOffset against NumPy, with every switch; the conditional form; 16-bit precision."""

import numpy as np
import pytest
from helpers import assert_close, gradient, randomized, to_numpy
from keras import ops
from layer_cases import ARRAYS, TENSORS

from keras_su.layers import LayerNormalization, ScaleOffset

X, CONDITION = TENSORS["x"], TENSORS["condition"]
SWITCHES = [True, False, None, 2.0, 0, list(range(8)), np.linspace(-1, 1, 8)]


def by_definition(x, gamma, beta, zero_mean=True, unit_variance=True, epsilon=1e-7):
    x = x.astype("float64")
    if zero_mean:
        x = x - x.mean(-1, keepdims=True)
    if unit_variance:
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon)
    return x * gamma + beta


def constant(switch, off):
    """What a switch of scale or offset adds up to when nothing is learned."""
    return off if switch is False or switch is None else np.asarray(switch, "float64")


@pytest.mark.parametrize("zero_mean, unit_variance", [(True, True), (False, True), (True, False), (False, False)])
def test_every_switch_of_layer_normalization(zero_mean, unit_variance):
    for scale in SWITCHES:
        for offset in SWITCHES:
            layer = LayerNormalization(zero_mean, unit_variance, epsilon=0.01, scale=scale, offset=offset)
            randomized(layer, (2, 5, 8))
            learned = dict(zip((w.name for w in layer.weights), layer.get_weights()))
            assert list(learned) == ["beta"] * (offset is True) + ["gamma"] * (scale is True)
            gamma, beta = learned.get("gamma", constant(scale, 1.0)), learned.get("beta", constant(offset, 0.0))
            expected = by_definition(ARRAYS["x"], gamma, beta, zero_mean, unit_variance, 0.01)
            np.testing.assert_allclose(to_numpy(layer(X)), expected, rtol=1e-4, atol=1e-5, err_msg=f"{scale=} {offset=}")


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_every_switch_of_scale_offset(switch):
    scaled = randomized(ScaleOffset(scale=switch, offset=False), (2, 5, 8))
    gamma = scaled.get_weights()[0] if switch is True else constant(switch, 1.0)
    assert_close(scaled(X), ARRAYS["x"] * gamma)
    shifted = randomized(ScaleOffset(scale=None, offset=switch), (2, 5, 8))
    beta = shifted.get_weights()[0] if switch is True else constant(switch, 0.0)
    assert_close(shifted(X), ARRAYS["x"] + beta)


def test_default_epsilon_is_that_of_the_released_models():
    assert LayerNormalization().epsilon == 1e-7
    assert LayerNormalization(epsilon=1e-12).epsilon == 1e-12


@pytest.mark.parametrize("shape", [(4, 8), (2, 3, 4, 8)])
def test_other_ranks(shape):
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    assert_close(LayerNormalization()(x), by_definition(x, 1, 0))


@pytest.mark.parametrize("layer_class", [LayerNormalization, ScaleOffset])
@pytest.mark.parametrize("options", [{}, {"hidden_units": 4}, {"scale": False}, {"offset": 0.5}, {"zero_mean": False}])
def test_conditional_equals_unconditional_at_the_start(layer_class, options):
    if layer_class is ScaleOffset:
        options = {k: v for k, v in options.items() if k != "zero_mean"}
    layer = layer_class(conditional=True, **options)
    plain = layer_class(**{k: v for k, v in options.items() if k != "hidden_units"})
    assert_close(layer([X, CONDITION]), plain(X))
    kernels = {w.path.split("/")[-2]: to_numpy(w) for w in layer.weights if w.name == "kernel"}
    assert set(kernels) - {"hidden_dense"} == {"beta_dense"} | ({"gamma_dense"} if options.get("scale") is not False else set())
    assert not any(kernels[name].any() for name in kernels if name != "hidden_dense")
    assert "hidden_units" not in options or kernels["hidden_dense"].any()


@pytest.mark.parametrize("zero_mean", [True, False])
@pytest.mark.parametrize("hidden", [None, 4])
def test_conditional_formula(zero_mean, hidden):
    options = {"hidden_units": hidden, "hidden_activation": "relu"} if hidden else {}
    layer = randomized(LayerNormalization(zero_mean=zero_mean, conditional=True, **options), (2, 5, 8), (2, 3))
    beta, gamma, *kernels = layer.get_weights()
    condition = ARRAYS["condition"]
    if hidden:
        condition = np.maximum(condition @ kernels.pop(0), 0)
    beta_kernel, gamma_kernel = kernels
    gammas, betas = ((own + condition @ kernel)[:, None] for own, kernel in ((gamma, gamma_kernel), (beta, beta_kernel)))
    assert_close(layer([X, CONDITION]), by_definition(ARRAYS["x"], gammas, betas, zero_mean), 1e-4)


def test_condition_of_each_token():
    """A condition (batch, length, c) may differ from token to token; repeated, it equals the one of the text."""
    of_text = randomized(LayerNormalization(conditional=True), (2, 5, 8), (2, 3))
    of_token = randomized(LayerNormalization(conditional=True), (2, 5, 8), (2, 5, 3))
    repeated = np.repeat(ARRAYS["condition"][:, None], 5, axis=1)
    assert_close(of_token([X, ops.convert_to_tensor(repeated)]), of_text([X, CONDITION]))
    repeated[0, 2] += 1
    changed = to_numpy(of_token([X, ops.convert_to_tensor(repeated)])) - to_numpy(of_text([X, CONDITION]))
    assert np.abs(changed[0, 2]).max() > 0.1
    changed[0, 2] = 0
    assert np.abs(changed).max() < 1e-5


@pytest.mark.parametrize("policy, step", [("mixed_float16", 2.0**-10), ("mixed_bfloat16", 2.0**-7)])
@pytest.mark.parametrize("options", [{}, {"zero_mean": False}, {"conditional": True}])
def test_statistics_do_not_overflow_in_16_bits(policy, step, options):
    """Squares of 1000 are beyond float16, and so are the differences that make up a variance around 1000."""
    x = ops.cast(ARRAYS["x"] * 1000 + 500, "float16" if policy == "mixed_float16" else "bfloat16")
    layer = LayerNormalization(epsilon=1e-12, dtype=policy, **options)
    output = layer([x, ops.cast(CONDITION, x.dtype)] if "conditional" in options else x)
    expected = by_definition(to_numpy(x), 1, 0, options.get("zero_mean", True), epsilon=1e-12)
    np.testing.assert_allclose(to_numpy(output), expected, rtol=0, atol=2 * step)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("zero_mean", [True, False])
def test_zero_vectors_stay_finite(policy, zero_mean):
    """1e-12 is zero in float16, the sum with it is not taken there."""
    layer = LayerNormalization(zero_mean=zero_mean, epsilon=1e-12, dtype=policy)
    assert not to_numpy(layer(ops.zeros((1, 2, 8)))).any()


@pytest.mark.parametrize("options", [{}, {"zero_mean": False}])
def test_gradient_at_zero_and_elsewhere(options):
    layer = LayerNormalization(epsilon=1e-6, **options)
    layer.build((None, 8))
    assert np.all(np.isfinite(gradient(layer, np.zeros((1, 8), "float32"))))
    x, step = ARRAYS["other"][0, :1], 1e-4
    cubed = gradient(lambda x: layer(x) ** 3, x)  # the plain sum would have gradient 0

    def total(x):
        return np.sum(by_definition(x, 1, 0, epsilon=1e-6, **options) ** 3)

    numeric = [(total(x + d) - total(x - d)) / (2 * step) for d in step * np.eye(8)]
    np.testing.assert_allclose(cubed[0], numeric, rtol=1e-3, atol=1e-3)
