"""The view ``keras_su.backend.keras``: old names with their old meaning, the rest of Keras as it is and where it is."""

import warnings

import keras as real
import numpy as np
import pytest
from helpers import run_in_fresh_process, to_numpy
from keras import ops

import keras_su.layers
from keras_su.backend import K, keras
from keras_su.errors import KerasSuError

X = np.arange(12, dtype="float32").reshape(4, 3)


@real.saving.register_keras_serializable("test_backend_keras")
def pair_difference(x, scale=1.0):
    """Of every row with the next one."""
    return scale * (x[::2] - x[1::2])


def test_what_is_not_replaced_is_keras_itself():
    assert keras.backend is K and keras.layers.Dense is real.layers.Dense and keras.utils is real.utils
    assert keras.callbacks.CSVLogger is real.callbacks.CSVLogger and keras.layers.Layer is real.layers.Layer
    assert issubclass(keras.callbacks.Callback, real.callbacks.Callback)
    assert keras.metrics.sparse_categorical_accuracy is real.metrics.sparse_categorical_accuracy
    assert keras.layers.Lambda is keras_su.layers.Lambda is not real.layers.Lambda
    assert {"Model", "load_model", "Sequential"} <= set(dir(keras.models)) and keras.__version__ == real.__version__
    with pytest.raises(AttributeError):
        keras.layers.NoSuchLayer  # noqa: B018


def test_losses_and_metrics_by_their_old_names():
    p, q = np.array([[0.2, 0.8]], "float32"), np.array([[0.5, 0.5]], "float32")
    for loss in (keras.losses.kullback_leibler_divergence, keras.metrics.KLD, keras.losses.kld):
        np.testing.assert_allclose(to_numpy(loss(p, q)), [0.2 * np.log(0.4) + 0.8 * np.log(1.6)], rtol=1e-5)
    np.testing.assert_allclose(to_numpy(keras.losses.mse(p, q)), [0.09], rtol=1e-5)


def test_optimizers_by_their_old_arguments(tmp_path):
    x = keras.layers.Input((3,))
    model = keras.models.Model(x, keras.layers.Dense(1, kernel_initializer="zeros", use_bias=False)(x))
    model.compile(loss="mse", optimizer=keras.optimizers.SGD(lr=0.5, decay=1.0))
    data, wanted = np.array([[1.0, 0.0, 0.0]], "float32"), np.array([[1.0]], "float32")
    model.fit(data, wanted, epochs=2, verbose=0)
    # gradient of (w - 1)^2 is 2 (w - 1); the rate is 0.5 / (1 + step)
    first = 0.5 * 2
    second = first - 0.25 * 2 * (first - 1)
    np.testing.assert_allclose(K.eval(model.weights[0])[0, 0], second, rtol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = real.models.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is keras.optimizers.SGD and float(K.eval(loaded.optimizer.learning_rate)) == pytest.approx(
        1 / 6
    )
    optimizer = keras.optimizers.Adam(lr=1e-3)
    K.set_value(optimizer.lr, 1e-4)
    assert K.get_value(optimizer.lr) == K.get_value(optimizer.learning_rate) == pytest.approx(1e-4)
    optimizer.lr = 0.5
    assert K.get_value(optimizer.lr) == 0.5 and isinstance(optimizer, real.optimizers.Adam)
    assert "lr" in keras.optimizers.Adam.__doc__
    # a rate that decays is a schedule, to which nothing can be assigned
    with pytest.raises(KerasSuError, match="K.set_value"):
        K.set_value(keras.optimizers.Adam(lr=1e-3, decay=0.1).lr, 1.0)


LAMBDAS = {
    "every second row": (lambda x: x[::2] * x[1::2], {}, (None, 3), X[::2] * X[1::2]),
    "joined": (lambda x: K.concatenate([x[::2], x[1::2]], axis=-1), {}, (None, 6), np.concatenate([X[::2], X[1::2]], -1)),
    "arguments": (lambda x, by: x * by, {"arguments": {"by": 3.0}}, (None, 3), 3 * X),
    "output shape": (lambda x: x[:, :2], {"output_shape": (2,)}, (None, 2), X[:, :2]),
    "named": (pair_difference, {"arguments": {"scale": 2.0}}, (None, 3), 2 * (X[::2] - X[1::2])),
    "a number for each text": (lambda x: K.sum(x, axis=1), {}, (None,), X.sum(1)),
    "one for all": (lambda x: K.mean(x), {}, (), X.mean()),
    "cut": (lambda x: x[:, 0], {}, (None,), X[:, 0]),
}


@pytest.mark.parametrize("name", LAMBDAS)
def test_lambda(name):
    function, arguments, shape, expected = LAMBDAS[name]
    x = keras.layers.Input((3,))
    y = keras.layers.Lambda(function, **arguments)(x)
    assert tuple(y.shape) == shape
    np.testing.assert_allclose(to_numpy(keras.models.Model(x, y)(X)), expected, rtol=1e-6)


def test_lambda_of_several_inputs_integers_and_unknown_lengths():
    ids, states = keras.layers.Input((None,), dtype="int32"), keras.layers.Input((None, 5))

    def masked(inputs):
        ids, states = inputs
        return states * K.cast(K.greater(ids, 0), K.floatx())[..., None], ids[:, :1]

    kept, first = keras.layers.Lambda(masked)([ids, states])
    assert kept.shape == (None, None, 5) and first.shape == (None, 1) and first.dtype == "int32"
    every_second = keras.layers.Lambda(lambda x: x[:, ::2])(ids)
    assert every_second.shape == (None, None) and every_second.dtype == "int32"
    model = keras.models.Model([ids, states], kept)
    found = model.predict([[[1, 0]], np.ones((1, 2, 5))])
    np.testing.assert_array_equal(found, np.array([[[1.0] * 5, [0.0] * 5]], "float32"))


def test_lambda_and_masks():
    warnings.simplefilter("error", UserWarning)
    ids = keras.layers.Input((None,))
    embedded = real.layers.Embedding(4, 2, mask_zero=True)(ids)
    seen = []
    counted = keras.layers.Lambda(lambda x, mask=None: K.sum(K.cast(mask, "int32"), axis=1) if mask is not None else x[:, 0, 0])
    model = keras.models.Model(ids, counted(embedded))
    np.testing.assert_array_equal(to_numpy(model(np.array([[1, 2, 0], [0, 0, 3]]))), [2, 1])
    ends = keras.layers.Lambda(lambda x: x[:, -1:], mask=lambda inputs, mask=None: seen.append(mask) or mask[:, -1:])
    out = keras.layers.GlobalAveragePooling1D()(ends(embedded))
    found = to_numpy(keras.models.Model(ids, out)(np.array([[1, 2, 0], [0, 0, 3]])))
    assert seen and np.all(found[0] == 0) and np.any(found[1] != 0)


def test_lambda_saved_with_a_registered_function(tmp_path):
    x = keras.layers.Input((3,))
    model = keras.models.Model(x, keras.layers.Lambda(pair_difference, arguments={"scale": 2.0})(x))
    model.save(tmp_path / "lambda.model")
    loaded = keras.models.load_model(tmp_path / "lambda.model")
    assert isinstance(loaded.layers[-1], keras.layers.Lambda) and loaded.layers[-1].function is pair_difference
    np.testing.assert_array_equal(to_numpy(loaded(X)), 2 * (X[::2] - X[1::2]))


def test_lambda_that_cannot_work_says_why():
    with pytest.raises(KerasSuError, match="(?s)my_lambda: .*the function failed: .*output_shape="):
        keras.layers.Lambda(lambda x: x @ ops.ones((7, 7)), name="my_lambda")(keras.layers.Input((3,)))


def test_models_of_both_kinds():
    x = keras.layers.Input((3,))
    dense = real.layers.Dense(2, name="dense")
    ours, theirs = keras.models.Model(x, dense(x)), real.Model(x, dense(x))
    assert isinstance(ours, real.Model) and isinstance(ours, keras.models.Model) and isinstance(theirs, keras.models.Model)
    assert issubclass(real.Sequential, keras.Model) and not isinstance(dense, keras.Model)
    assert keras.Model is keras.models.Model and not hasattr(theirs, "fit_generator")
    nested = keras.models.Model(inputs=x, outputs=real.Sequential([ours, real.layers.Dense(1)])(x), name="nested")
    assert nested.name == "nested" and nested.predict([[1, 2, 3]]).shape == (1, 1)
    assert to_numpy(nested(X[:1])).shape == (1, 1) and ours(keras.layers.Input((3,))).shape == (None, 2)


class Counted(keras.models.Model):
    """A functional subclass with a training step of its own."""

    steps = 0

    def train_step(self, *args, **kwargs):
        type(self).steps += 1
        return super().train_step(*args, **kwargs)


class Inside(keras.models.Model):
    """Becomes functional in its constructor."""

    def __init__(self, units):
        x = keras.layers.Input((3,))
        super().__init__(x, real.layers.Dense(units)(x))


class Own(keras.models.Model):
    """Has a call of its own."""

    def __init__(self):
        super().__init__()
        self.dense = real.layers.Dense(2)

    def call(self, inputs, training=None):
        return self.dense(inputs) * 2


def test_subclasses_of_model():
    """Keras rewrites the bases of functional subclasses; one user's subclass must not change another's."""
    x = keras.layers.Input((3,))
    counted = Counted(x, real.layers.Dense(2)(x))
    inside, own = Inside(5), Own()
    for model, width in ((counted, 2), (inside, 5), (own, 2)):
        assert isinstance(model, keras.models.Model) and model.predict([[1, 2, 3]]).shape == (1, width)
        assert hasattr(model, "fit_generator")
    counted.compile("sgd", "mse")
    counted.fit(X, X[:, :2], verbose=0)
    assert Counted.steps > 0 and counted.layers[-1].units == 2
    np.testing.assert_allclose(own.predict(X), 2 * to_numpy(own.dense(X)), rtol=1e-5)
    assert Own().predict(X).shape == (4, 2) and Inside(4).predict(X).shape == (4, 4)


def test_keras_stays_untouched_and_the_environment_is_ignored():
    """In a process of its own: before and after the import; with the switches of bert4keras set."""
    program = """
import keras
def state():
    parts = [keras, keras.models, keras.layers, keras.losses, keras.metrics, keras.optimizers, keras.backend, keras.utils]
    classes = [keras.Model, keras.layers.Layer, keras.layers.Lambda, keras.Sequential, keras.optimizers.Adam]
    return [{k: v for k, v in vars(o).items() if k != "__warningregistry__"} for o in (*parts, *classes)]
before = state()
import sys
kept = {name: module for name, module in sys.modules.items() if name.startswith("keras.")}
from keras_su.backend import keras as view, K, is_tf_keras, do_recompute
import keras_su.models
x = view.layers.Input((2,))
view.models.Model(x, view.layers.Lambda(lambda x: x[::2])(x)).predict([[1, 2], [3, 4]])
after = state()
for old, new in zip(before, after):
    assert old.keys() == new.keys() and all(old[name] is new[name] for name in old), set(new) ^ set(old)
assert all(sys.modules[name] is module for name, module in kept.items())
print(is_tf_keras, do_recompute, view.__name__)
"""
    assert run_in_fresh_process(program, TF_KERAS="1", RECOMPUTE="1").split() == ["False", "False", "keras"]
