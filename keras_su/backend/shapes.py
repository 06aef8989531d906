"""Functions of ``K`` about shapes and dtypes."""

import builtins

import keras
from keras import ops

from keras_su.ops import sequence


def as_tensor(x):
    """``x`` if it has a dtype and a shape (tensors, arrays, variables), otherwise a tensor of it."""
    return x if hasattr(x, "dtype") and hasattr(x, "shape") else ops.convert_to_tensor(x)


def as_axes(axis):
    """A list of axes as Keras 3 wants it."""
    return tuple(axis) if isinstance(axis, list) else axis


def dtype(x):
    """The dtype as a string, ``None`` for what has none."""
    return keras.backend.standardize_dtype(x.dtype) if hasattr(x, "dtype") else None


def cast(x, dtype):
    """``x`` in another dtype; Python numbers, lists and shapes become tensors.

    >>> cast([1, 0], "bool").shape == (2,)
    True
    """
    return ops.cast(as_tensor(x), dtype)


def cast_to_floatx(x):
    """``x`` in the default float dtype."""
    return cast(x, keras.config.floatx())


def shape(x):
    """The shape as a tuple; a length that is known at run time only is a number or a scalar tensor then."""
    return ops.shape(x)


def int_shape(x):
    """The static shape, ``None`` where it is not known."""
    return tuple(x.shape)


def ndim(x):
    """Number of axes."""
    return len(x.shape)


def count_params(x):
    """Number of values."""
    total = 1
    for size in int_shape(x):
        total *= size
    return total


def reshape(x, *shape):
    """``x`` in another shape, or bert4keras' form ``reshape(x, sizes, axis, sizes, axis, ...)``: axis by axis.

    One size may be -1; an unknown length, ``None``, counts as -1.

    >>> tuple(reshape(ops.ones((2, 6)), (2, -1), 1).shape)
    (2, 2, 3)
    """
    if len(shape) == 1 and isinstance(shape[0], (list, tuple)):
        shape = (tuple(-1 if size is None else size for size in shape[0]),)
    return sequence.reshape(as_tensor(x), *shape)


def flatten(x, start=None, end=None):
    """The axes from ``start`` to before ``end`` (all of them unless given) joined into one."""
    return sequence.flatten(as_tensor(x), start, end)


def batch_flatten(x):
    """All values of each sample in one axis."""
    return sequence.flatten(x, 1)


def expand_dims(x, axis=-1):
    """A new axis of length 1."""
    return ops.expand_dims(x, axis)


def squeeze(x, axis):
    """Without an axis of length 1."""
    return ops.squeeze(x, axis)


def transpose(x):
    """The axes in reverse order."""
    return ops.transpose(x, tuple(range(ndim(x)))[::-1])


def permute_dimensions(x, pattern):
    """The axes in the order ``pattern``."""
    return ops.transpose(x, pattern)


def tile(x, n):
    """Copies side by side, ``n[i]`` along axis i."""
    return ops.tile(x, n)


def repeat(x, n):
    """``(batch, dim)`` to ``(batch, n, dim)``."""
    return ops.repeat(ops.expand_dims(x, 1), n, axis=1)


def repeat_elements(x, rep, axis):
    """Each entry of an axis ``rep`` times in a row."""
    return ops.repeat(x, rep, axis=axis)


def temporal_padding(x, padding=(1, 1)):
    """Zeros before and behind the steps of ``(batch, length, dim)``."""
    return ops.pad(x, [[0, 0], list(padding), [0, 0]])


def reverse(x, axes):
    """The axes backwards."""
    return ops.flip(x, axis=as_axes(axes))


def slice(x, start, size):
    """``size`` entries from ``start`` on, for each axis; a size of -1 goes to the end."""
    parts = [builtins.slice(b, None if isinstance(s, int) and s == -1 else b + s) for b, s in zip(start, size)]
    return x[tuple(parts)]
