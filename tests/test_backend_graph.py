"""Helpers of ``keras_su.backend``: finding layers, computing again, schedules, what it exports."""

import keras as real
import numpy as np
import pytest
from helpers import assert_close, backend, gradient, to_numpy
from keras import ops

from keras_su import backend as module
from keras_su.backend import K, get_available_gpus, keras, piecewise_linear, recompute_grad, search_layer, set_gelu
from keras_su.errors import KerasSuError
from keras_su.layers import FeedForward
from keras_su.models import build_transformer_model


@pytest.fixture(scope="module")
def bert():
    return build_transformer_model(
        {"vocab_size": 9, "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8},
        model="bert",
    )


def test_search_layer(bert):
    output = keras.layers.Dense(2, name="head")(bert.output)
    for start in (output, bert.output, bert.layers[-1]):
        assert search_layer(start, "Embedding-Token") is bert.get_layer("Embedding-Token")
    assert search_layer(output, "head").units == 2
    assert search_layer(output, "Embedding-Tokens") is None and search_layer(bert.output, "head") is None


def test_search_layer_inside_of_models(bert):
    x = keras.layers.Input((4,), name="new")
    inner = keras.models.Model(x, real.layers.Dense(3, name="deep")(x), name="inner")
    outer = keras.models.Model(x, real.layers.Dense(2, name="last")(inner(x)), name="outer")
    y = keras.layers.Input((4,))
    output = keras.layers.Dense(1, name="top")(outer(y))
    assert search_layer(output, "last") is outer.get_layer("last")
    assert search_layer(output, "deep") is inner.get_layer("deep")
    assert search_layer(output, "inner") is inner and search_layer(output, "nothing") is None
    seen = set()
    assert search_layer(output, "nothing", exclude_from=seen) is None and seen
    with pytest.raises(KerasSuError, match="search_layer"):
        search_layer(np.ones(3), "top")


class Twice(real.layers.Layer):
    """Two matrices, and a mask of another dtype beside the states."""

    recompute = False

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(3, 3), name="kernel", initializer=real.initializers.RandomNormal(seed=1))
        self.calls = 0

    def compute(self, inputs, mask=None):
        self.calls += 1
        x, ids = inputs
        return ops.tanh(x @ self.kernel) * ops.cast(ids, x.dtype)[:, None]

    def call(self, inputs, mask=None):
        return (recompute_grad(Twice.compute) if self.recompute else Twice.compute)(self, inputs, mask=mask)


class Recomputed(Twice):
    recompute = True


def test_recompute_grad_changes_no_gradient():
    x, ids = np.random.default_rng(0).normal(size=(2, 3)).astype("float32"), np.array([1, 2], "int32")
    plain, again = Twice(), Recomputed()
    plain.build(None), again.build(None)
    assert_close(plain([x, ids]), again([x, ids]))
    assert_close(gradient(lambda x: plain([x, ids]), x), gradient(lambda x: again([x, ids]), x))
    calls = again.calls
    gradient(lambda x: again([x, ids]), x)
    assert again.calls >= calls + 1

    results = []
    for layer in (plain, again):  # and the weights learn the same
        states, numbers = keras.layers.Input((3,)), keras.layers.Input((), dtype="int32")
        model = keras.models.Model([states, numbers], layer([states, numbers]))
        model.compile("sgd", "mse")
        model.fit([x, ids], x, verbose=0)
        results.append(to_numpy(layer.kernel))
    assert_close(*results)


def test_piecewise_linear():
    schedule = {10: 1.0, 20: 0.1}
    for step, expected in {0: 0.0, 5: 0.5, 10: 1.0, 15: 0.55, 20: 0.1, 99: 0.1}.items():
        assert float(K.eval(piecewise_linear(step, schedule))) == pytest.approx(expected)
        assert float(K.eval(piecewise_linear(ops.convert_to_tensor(step), schedule))) == pytest.approx(expected)
    assert float(K.eval(piecewise_linear(0, {5: 0.5}, from_zero=False))) == 0.5


def test_gelu_is_what_it_was_when_a_layer_was_made():
    try:
        set_gelu("tanh")
        layer = FeedForward(4, activation="gelu")
        set_gelu("erf")
        assert layer.get_config()["activation"] == "gelu_tanh"
        assert FeedForward(4, activation="gelu").get_config()["activation"] == "gelu_erf"
    finally:
        set_gelu("erf")


def test_what_scripts_import():
    assert isinstance(get_available_gpus(), list) and all(isinstance(name, str) for name in get_available_gpus())
    for name in module.__all__:
        assert getattr(module, name) is not None or name == "tf"
    assert not {"where", "reshape", "flatten", "dtype", "custom_objects", "set_gelu", "batch_gather"} - set(module.__all__)
    assert module.custom_objects is real.saving.get_custom_objects()
    assert module.symbolic(len) is len and module.reshape is not None
    if backend() == "tensorflow":  # elsewhere this line would load it
        assert module.tf.eye(2).shape == (2, 2)
    with pytest.raises(AttributeError, match="no_such_name"):
        module.no_such_name  # noqa: B018
