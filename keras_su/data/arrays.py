"""Small helpers for numpy arrays, and decorators for the arguments of methods."""

import functools

import numpy as np

from keras_su.errors import bad_value


def is_one_of(value, candidates):
    """Whether the value is one of the candidates, the same object: arrays and tensors cannot be asked ``value in candidates``."""
    return any(value is candidate for candidate in candidates)


def softmax(x, axis=-1):
    """Softmax of an array; zeros where nothing but -inf stands.

    >>> softmax(np.array([[0.0, 0.0, -np.inf], [-np.inf, -np.inf, -np.inf]]))
    array([[0.5, 0.5, 0. ], [0. , 0. , 0. ]])
    """
    x = np.asarray(x)
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(float)
    x = x.astype(np.promote_types(dtype, np.float32))
    peak = x.max(axis=axis, keepdims=True)
    weights = np.exp(x - np.where(np.isneginf(peak), 0, peak))
    total = weights.sum(axis=axis, keepdims=True)
    return (weights / np.where(total == 0, 1, total)).astype(dtype)


def orthogonally_resize(a, new_shape, window=2):
    """A matrix in another size with the old norm: axes are cropped, or grow by repeating blocks of ``window`` rows.

    Args:
        a: array.
        new_shape: size of each axis. An axis that grows must be divisible by ``window``.
        window: rows that are repeated together. With whole repetitions orthogonal rows stay orthogonal.

    >>> orthogonally_resize(np.eye(2), (2, 4)) * 2**0.5
    array([[1., 0., 1., 0.], [0., 1., 0., 1.]])
    """
    if len(new_shape) != a.ndim:
        raise bad_value("new_shape", new_shape, f"{a.ndim} sizes, one for each axis")
    resized = a
    for axis, (old, new) in enumerate(zip(a.shape, new_shape)):
        if new > old:
            if old % window:
                raise bad_value("window", window, f"a divisor of {old}, the size of axis {axis}, which grows")
            repeats = -(-new // old)
            blocks = np.arange(old).reshape(-1, window)
            resized = np.take(resized, np.repeat(blocks, repeats, axis=0).reshape(-1), axis=axis)
        resized = np.take(resized, np.arange(new), axis=axis)
    return resized / np.linalg.norm(resized) * np.linalg.norm(a)


def insert_arguments(**arguments):
    """Decorator for a method, mostly ``__init__``: further keyword arguments with defaults, kept as attributes.

    >>> class Model:
    ...     @insert_arguments(with_pool=False)
    ...     def __init__(self, size):
    ...         self.size = size
    >>> Model(3, with_pool=True).with_pool, Model(3).with_pool
    (True, False)
    """

    def decorate(method):
        @functools.wraps(method)
        def with_more(self, *args, **kwargs):
            for name, default in arguments.items():
                setattr(self, name, kwargs.pop(name, default))
            return method(self, *args, **kwargs)

        return with_more

    return decorate


def delete_arguments(*arguments):
    """Decorator for a method, mostly ``__init__``: these keyword arguments, which the method would take, are refused.

    Raises:
        TypeError: when one of them is given.
    """

    def decorate(method):
        @functools.wraps(method)
        def with_fewer(self, *args, **kwargs):
            for name in arguments:
                if name in kwargs:
                    raise TypeError(f"{type(self).__name__}() got an unexpected keyword argument {name!r}.")
            return method(self, *args, **kwargs)

        return with_fewer

    return decorate
