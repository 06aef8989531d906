"""Functions of ``K`` that take many numbers together."""

import keras
from keras import ops

from keras_su.backend.shapes import as_axes, as_tensor, dtype


def _numbers(x):
    """Booleans as numbers, Python lists and shapes as tensors."""
    x = as_tensor(x)
    return ops.cast(x, keras.config.floatx()) if dtype(x) == "bool" else x


def sum(x, axis=None, keepdims=False):
    """Sum over an axis, a list of them, or everything; of booleans, too."""
    return ops.sum(_numbers(x), axis=as_axes(axis), keepdims=keepdims)


def mean(x, axis=None, keepdims=False):
    """Mean over an axis, a list of them, or everything; a float also for integers and booleans."""
    return ops.mean(_numbers(x), axis=as_axes(axis), keepdims=keepdims)


def prod(x, axis=None, keepdims=False):
    """Product over an axis, a list of them, or everything; ``x`` may be a shape."""
    return ops.prod(_numbers(x), axis=as_axes(axis), keepdims=keepdims)


def max(x, axis=None, keepdims=False):
    """Largest value."""
    return ops.max(as_tensor(x), axis=as_axes(axis), keepdims=keepdims)


def min(x, axis=None, keepdims=False):
    """Smallest value."""
    return ops.min(as_tensor(x), axis=as_axes(axis), keepdims=keepdims)


def std(x, axis=None, keepdims=False):
    """Standard deviation."""
    return ops.std(_numbers(x), axis=as_axes(axis), keepdims=keepdims)


def var(x, axis=None, keepdims=False):
    """Variance."""
    return ops.var(_numbers(x), axis=as_axes(axis), keepdims=keepdims)


def any(x, axis=None, keepdims=False):
    """Whether any entry is not zero."""
    return ops.any(ops.cast(as_tensor(x), "bool"), axis=as_axes(axis), keepdims=keepdims)


def all(x, axis=None, keepdims=False):
    """Whether no entry is zero."""
    return ops.all(ops.cast(as_tensor(x), "bool"), axis=as_axes(axis), keepdims=keepdims)


def logsumexp(x, axis=None, keepdims=False):
    """``log(sum(exp(x)))`` without overflow."""
    return ops.logsumexp(x, axis=as_axes(axis), keepdims=keepdims)


def argmax(x, axis=-1):
    """Place of the largest value."""
    return ops.argmax(x, axis=axis)


def argmin(x, axis=-1):
    """Place of the smallest value."""
    return ops.argmin(x, axis=axis)


def cumsum(x, axis=0):
    """Sums of everything up to each place."""
    return ops.cumsum(x, axis=axis)


def cumprod(x, axis=0):
    """Products of everything up to each place."""
    return ops.cumprod(x, axis=axis)


def l2_normalize(x, axis=None):
    """``x`` divided by its length; zeros stay zeros."""
    square = ops.sum(ops.square(x), axis=as_axes(axis), keepdims=True)
    return x * ops.rsqrt(ops.maximum(square, 1e-12))


def in_top_k(predictions, targets, k):
    """Whether each target is among the ``k`` largest of its row of predictions."""
    return ops.in_top_k(ops.cast(as_tensor(targets), "int32"), predictions, k)
