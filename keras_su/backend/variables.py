"""Functions of ``K`` that make tensors and variables, read them and assign to them."""

import keras
import numpy as np
from keras import ops

from keras_su.backend.shapes import ndim
from keras_su.errors import KerasSuError


def _floatx(dtype):
    return keras.config.floatx() if dtype is None else dtype


def zeros(shape, dtype=None, name=None):
    """A tensor of zeros."""
    return ops.zeros(shape, dtype=_floatx(dtype))


def ones(shape, dtype=None, name=None):
    """A tensor of ones."""
    return ops.ones(shape, dtype=_floatx(dtype))


def eye(size, dtype=None, name=None):
    """The unit matrix."""
    return ops.eye(size, dtype=_floatx(dtype))


def arange(start, stop=None, step=1, dtype="int32"):
    """Numbers from ``start`` (0 if only one is given) to before ``stop``.

    Floats as arguments give floats, unless another dtype than the default is asked for; none are left of ``stop <= start``.
    """
    if stop is None:
        start, stop = 0, start
    if all(isinstance(number, (int, float, np.number)) for number in (start, stop, step)):
        numbers = np.arange(start, stop, step)  # TensorFlow refuses what has no numbers, and floats where int32 is asked for
        return ops.convert_to_tensor(numbers, dtype=_floatx(None) if numbers.dtype.kind == "f" and dtype == "int32" else dtype)
    return ops.cast(ops.arange(start, stop, step), dtype)


def constant(value, dtype=None, shape=None, name=None):
    """A tensor; with a shape, of one value everywhere, or of as many values as the shape has."""
    value = ops.convert_to_tensor(value, dtype=_floatx(dtype))
    if shape is None:
        return value
    return ops.reshape(value, shape) if ndim(value) else ops.broadcast_to(value, shape)


def variable(value, dtype=None, name=None, constraint=None):
    """A Keras variable."""
    if constraint is not None:
        raise KerasSuError(
            "K.variable: constraints belong to the weights of a layer in Keras 3: self.add_weight(constraint=...)."
        )
    name = None if name is None else name.replace("/", "_")
    return keras.Variable(ops.convert_to_tensor(value, dtype=_floatx(dtype)), name=name)


def identity(x, name=None):
    """``x``."""
    return x


def eval(x):
    """The numbers of a tensor, a variable or a schedule as an array (a NumPy scalar for one number).

    >>> float(eval(variable(2.0)))
    2.0
    """
    return np.asarray(ops.convert_to_numpy(x))[()]


get_value = eval


def set_value(x, value):
    """Assign to a variable."""
    if not hasattr(x, "assign"):
        schedule = "The rate of an optimizer with a schedule, or with decay, follows it: set optimizer.learning_rate instead."
        raise KerasSuError(f"K.set_value: {type(x).__name__} is no variable. {schedule}")
    x.assign(value)


def batch_get_value(tensors):
    """:func:`eval` of each."""
    return [eval(x) for x in tensors]


def batch_set_value(tuples):
    """Assign to many variables: pairs ``(variable, value)``."""
    for x, value in tuples:
        x.assign(value)


def update(x, new_x):
    """Assign to a variable."""
    x.assign(new_x)
    return x


def update_add(x, increment):
    """Add to a variable."""
    x.assign_add(increment)
    return x


def update_sub(x, decrement):
    """Subtract from a variable."""
    x.assign_sub(decrement)
    return x


def moving_average_update(x, value, momentum):
    """Move a variable to ``momentum * x + (1 - momentum) * value``."""
    x.assign(momentum * x + (1 - momentum) * ops.convert_to_tensor(value, dtype=x.dtype))
    return x
