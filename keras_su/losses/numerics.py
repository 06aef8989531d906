"""What all losses share: float32 arithmetic, logits of minus infinity as classes that do not exist, means over real tokens."""

import keras
from keras import ops

from keras_su.ops.attention import lowest

LOWEST = lowest("float32")


def wide(x):
    """``x`` in float32, or in its own dtype where that is wider."""
    x = ops.convert_to_tensor(x)
    return ops.cast(x, keras.backend.result_type(x.dtype, "float32"))


def existing(x):
    """Which entries are not minus infinity. NaN counts as existing: a mistake has to stay visible."""
    return ops.not_equal(x, -float("inf"))


def log_sum_exp(x, keep):
    """``log(sum(exp(x)))`` of the kept entries of the last axis, and `LOWEST` where there are none.

    Entries that are not kept may be infinite; they get a gradient of zero.
    """
    return ops.logsumexp(ops.where(keep, x, LOWEST), axis=-1)


def log_one_plus_sum_exp(x, keep):
    """``log(1 + sum(exp(x)))`` of the kept entries of the last axis; 0 where there are none."""
    return ops.softplus(log_sum_exp(x, keep))


def log_probabilities(y_pred, from_logits=True):
    """Logarithms of probabilities over the last axis, float32 and finite.

    A logit of minus infinity is a class that does not exist: probability 0, and about -1e30 instead of minus infinity.
    Probabilities are cut off at ``keras.config.epsilon()``.
    """
    y_pred = wide(y_pred)
    if from_logits:
        return ops.log_softmax(ops.where(existing(y_pred), y_pred, LOWEST), axis=-1)
    return ops.log(ops.clip(y_pred, keras.config.epsilon(), 1.0))


def masked_mean(values, mask):
    """Mean of ``values`` weighted with ``mask``, and 0 where everything is masked. What a zero hides may be infinite.

    Args:
        values: floating tensor.
        mask: booleans or weights of the same shape; segment ids will do.

    Returns:
        A scalar, ``sum(values * mask) / sum(mask)``, in float32.

    >>> float(masked_mean([1.0, 3.0, float("nan")], [True, True, False]))
    2.0
    """
    values = wide(values)
    weights = ops.cast(ops.convert_to_tensor(mask), values.dtype)
    total = ops.sum(weights)
    counted = ops.where(ops.equal(weights, 0), 0.0, values) * weights
    return ops.sum(counted) / ops.where(ops.equal(total, 0), 1.0, total)


def unit(vectors):
    """Vectors of the last axis divided by their length, in float32. A zero vector stays zero, with a finite gradient."""
    vectors = wide(vectors)
    square = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    return vectors * ops.rsqrt(ops.where(square > 0, square, 1.0))
