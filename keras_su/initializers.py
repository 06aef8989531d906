"""Initializers by name, including the ones that Keras does not have."""

import keras
import numpy as np
from keras import ops

from keras_su.errors import bad_value
from keras_su.registration import register


def sinusoidal_table(length, size, base=10000.0):
    """Interleaved sines and cosines, ``table[p, 2i] = sin(p / base^(2i/size))``, as a float32 array ``(length, size)``."""
    if size % 2:
        raise bad_value("sinusoidal table: size", size, "an even number (a sine and a cosine for each frequency)")
    angles = np.arange(length)[:, None] * np.power(base, -np.arange(0, size, 2) / size)
    return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(length, size).astype("float32")


@register
class Sinusoidal(keras.initializers.Initializer):
    """The fixed sinusoidal position table ("Attention Is All You Need") as the initial value of a ``(length, size)`` weight."""

    def __call__(self, shape, dtype=None):
        return ops.convert_to_tensor(sinusoidal_table(*shape), dtype=dtype)

    def get_config(self):
        return {}


@register
class FanNormal(keras.initializers.Initializer):
    """Truncated normal with standard deviation ``1.1368 / sqrt(fan) * gain`` (RoFormerV2, kexue.fm/archives/8998).

    The fan is the first axis of a matrix, and the second for embedding tables, which have more than 10,000 rows or less than 10.

    Args:
        gain: factor, e.g. ``num_layers ** -0.5``.
        seed: of the random numbers.
    """

    def __init__(self, gain=1.0, seed=None):
        self.gain = gain
        self.seed = seed

    def __call__(self, shape, dtype=None):
        fan = shape[1] if shape[0] > 10000 or shape[0] < 10 else shape[0]
        return keras.random.truncated_normal(shape, stddev=1.13684723 / fan**0.5 * self.gain, dtype=dtype, seed=self.seed)

    def get_config(self):
        return {"gain": self.gain, "seed": self.seed}


def get(identifier):
    """A fresh initializer for a name, a serialised form or an object.

    Fresh matters: a Keras initializer object without a seed draws the same numbers at every call, so query and key kernels that
    share one object would start out equal.
    """
    if identifier == "Sinusoidal":
        return Sinusoidal()
    if isinstance(identifier, dict):
        return keras.initializers.deserialize(identifier)
    initializer = keras.initializers.get(identifier)
    if isinstance(initializer, keras.initializers.Initializer):
        return initializer.__class__.from_config(initializer.get_config())
    return initializer
