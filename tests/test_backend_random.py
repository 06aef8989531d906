"""Random numbers of ``K``: what they look like, and that a layer in training draws new ones at every step."""

import keras as real
import numpy as np
import pytest
from helpers import backend, to_numpy

from keras_su.backend import K, keras

MANY = (40, 50)


def test_distributions():
    uniform = to_numpy(K.random_uniform(MANY, -1.0, 3.0))
    assert uniform.shape == MANY and uniform.dtype == "float32" and -1 <= uniform.min() < -0.9 and 2.9 < uniform.max() <= 3
    whole = to_numpy(K.random_uniform(list(MANY), minval=2, maxval=5, dtype="int32"))
    assert whole.dtype == "int32" and set(whole.ravel()) == {2, 3, 4}
    normal = to_numpy(K.random_normal(MANY, mean=3.0, stddev=2.0))
    assert abs(normal.mean() - 3) < 0.2 and abs(normal.std() - 2) < 0.2
    near = to_numpy(K.truncated_normal(MANY, 1.0, 0.5))
    assert abs(near - 1).max() <= 1 and abs(near.mean() - 1) < 0.05
    ones = to_numpy(K.random_binomial(MANY, p=0.25))
    assert set(ones.ravel()) == {0.0, 1.0} and abs(ones.mean() - 0.25) < 0.05
    assert to_numpy(K.random_bernoulli(MANY, p=0.25, dtype="int32")).dtype == "int32"
    dropped = to_numpy(K.dropout(np.ones(MANY, "float32"), 0.25))
    np.testing.assert_allclose(np.unique(dropped), [0, 4 / 3], rtol=1e-5)
    assert abs(dropped.mean() - 1) < 0.06


def test_seeds():
    assert np.array_equal(*(to_numpy(K.random_normal((5,), seed=7)) for _ in range(2)))
    assert not np.array_equal(*(to_numpy(K.random_normal((5,))) for _ in range(2)))


class Noise(real.layers.Layer):
    """As a script writes it: no seed anywhere. What was drawn is added up in a weight."""

    def build(self, input_shape):
        self.drawn = self.add_weight(shape=(8,), initializer="zeros", trainable=False, name="drawn")

    def call(self, inputs):
        rows = K.random_uniform((K.shape(inputs)[0], 1))
        self.drawn.assign(K.concatenate([self.drawn[1:], K.mean(rows)[None]], 0))
        return inputs * rows


def drawn_in_training(*layers):
    x = keras.layers.Input((3,))
    y = x
    for layer in layers:
        y = layer(y)
    model = keras.models.Model(x, y)
    model.compile("sgd", "mse")
    data = np.ones((8, 3), "float32")
    model.fit(data, data, batch_size=2, verbose=0)
    return K.eval(next(layer for layer in layers if isinstance(layer, Noise)).drawn)[-4:]


def test_a_layer_draws_new_numbers_at_every_step():
    numbers = drawn_in_training(Noise(), real.layers.Dropout(0.5), real.layers.Dense(3))
    assert len(set(numbers.tolist())) == 4 and np.all((numbers > 0) & (numbers < 1))


def test_a_seed_is_found_in_models_inside_of_models():
    x = keras.layers.Input((3,))
    inner = keras.models.Model(x, real.layers.Dropout(0.5)(real.layers.Dense(3)(x)))
    assert len(set(drawn_in_training(Noise(), inner).tolist())) == 4


def test_without_any_seed_in_the_model():
    if backend() == "jax":  # numbers would be the same at every step
        with pytest.raises(ValueError, match="SeedGenerator"):
            drawn_in_training(Noise(), real.layers.Dense(3))
    else:
        assert len(set(drawn_in_training(Noise(), real.layers.Dense(3)).tolist())) == 4
