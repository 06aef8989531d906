"""Functions of ``K`` that act on each number by itself."""

from keras import ops

# The same name with the same meaning in Keras 3.
abs = ops.abs
cos = ops.cos
elu = ops.elu
equal = ops.equal
exp = ops.exp
greater = ops.greater
greater_equal = ops.greater_equal
less = ops.less
less_equal = ops.less_equal
log = ops.log
maximum = ops.maximum
minimum = ops.minimum
not_equal = ops.not_equal
ones_like = ops.ones_like
sigmoid = ops.sigmoid
sign = ops.sign
sin = ops.sin
softplus = ops.softplus
softsign = ops.softsign
square = ops.square
stop_gradient = ops.stop_gradient
tanh = ops.tanh
zeros_like = ops.zeros_like


def pow(x, a):
    """``x`` to the power ``a``."""
    return ops.power(x, a)


def round(x):
    """The nearest integer, halves to the even one."""
    return ops.round(x)


def sqrt(x):
    """Square root, 0 for what is negative."""
    return ops.sqrt(ops.maximum(x, 0))


def clip(x, min_value=None, max_value=None):
    """``x`` within bounds, of which one may be ``None``; the lower bound wins where they cross."""
    if max_value is not None:
        x = ops.minimum(x, max_value)
    return x if min_value is None else ops.maximum(x, min_value)


def relu(x, alpha=0.0, max_value=None, threshold=0.0):
    """``x`` from ``threshold`` on but at most ``max_value``, and ``alpha * (x - threshold)`` below."""
    x = ops.convert_to_tensor(x)
    below = alpha * (x - threshold) if alpha else ops.zeros_like(x)
    above = x if max_value is None else ops.minimum(x, max_value)
    return ops.where(ops.greater(x, threshold), above, below)


def softmax(x, axis=-1):
    """Softmax over an axis."""
    return ops.softmax(x, axis=axis)


def hard_sigmoid(x):
    """``clip(0.2 x + 0.5, 0, 1)``, as Keras 2 has it (Keras 3 divides by 6)."""
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)
