"""Random tensors as Keras 2 makes them: without a seed, also inside a layer that is being compiled."""

import keras
from keras import ops

from keras_su.backend.calls import current_call, only_shapes_matter


def random_uniform(shape, minval=0.0, maxval=1.0, dtype=None, seed=None):
    """Numbers evenly distributed between two bounds; integers for an integer dtype."""
    dtype = dtype or keras.config.floatx()
    if "int" in dtype:
        return keras.random.randint(_shape(shape), minval, maxval, dtype=dtype, seed=_seed(seed))
    return keras.random.uniform(_shape(shape), minval, maxval, dtype=dtype, seed=_seed(seed))


def random_normal(shape, mean=0.0, stddev=1.0, dtype=None, seed=None):
    """Normally distributed numbers."""
    return keras.random.normal(_shape(shape), mean, stddev, dtype=dtype, seed=_seed(seed))


def truncated_normal(shape, mean=0.0, stddev=1.0, dtype=None, seed=None):
    """Normally distributed numbers within two standard deviations."""
    return keras.random.truncated_normal(_shape(shape), mean, stddev, dtype=dtype, seed=_seed(seed))


def random_binomial(shape, p=0.0, dtype=None, seed=None):
    """Ones with probability ``p``, zeros otherwise."""
    ones = ops.less(keras.random.uniform(_shape(shape), seed=_seed(seed)), p)
    return ops.cast(ones, dtype or keras.config.floatx())


random_bernoulli = random_binomial


def dropout(x, level, noise_shape=None, seed=None):
    """Zeros with probability ``level``; the rest grows so that the mean stays."""
    return keras.random.dropout(ops.convert_to_tensor(x), level, noise_shape=noise_shape, seed=_seed(seed))


def _shape(shape):
    return tuple(shape)


def _seed(seed):
    """The seed of the caller; inside a model, a generator that the model has already.

    JAX compiles a layer into a function, in which numbers would be the same at every step unless their seed is part of the
    model's state. A layer that was written for Keras 2 has no such seed, but the dropout beside it does.
    """
    if seed is not None:
        return seed
    if only_shapes_matter():
        return 0
    model = getattr(current_call(), "entry_layer", None)
    if model is None:
        return None
    layers = [model, *(model._flatten_layers() if hasattr(model, "_flatten_layers") else ())]
    for layer in layers:
        for generator in getattr(layer, "_seed_generators", ()):
            return generator
    return None
