"""Cross-entropies of ``K``: one number for each distribution, without a mean."""

import keras
from keras import ops

from keras_su.backend.shapes import as_tensor, ndim


def categorical_crossentropy(target, output, from_logits=False, axis=-1):
    """Cross-entropy of distributions, one number for each."""
    return ops.categorical_crossentropy(ops.cast(as_tensor(target), output.dtype), output, from_logits=from_logits, axis=axis)


def sparse_categorical_crossentropy(target, output, from_logits=False, axis=-1):
    """Cross-entropy of class numbers of any dtype, ``(...)`` or ``(..., 1)``, with distributions ``(..., classes)``.

    >>> tuple(sparse_categorical_crossentropy(ops.ones((2, 3, 1)), ops.ones((2, 3, 5))).shape)
    (2, 3)
    """
    if axis not in (-1, ndim(output) - 1):
        output = ops.moveaxis(output, axis, -1)
    target = ops.cast(as_tensor(target), "int32")
    if ndim(target) == ndim(output):
        target = target[..., 0]  # an axis of one entry, which need not be known
    return ops.sparse_categorical_crossentropy(target, output, from_logits=from_logits)


def binary_crossentropy(target, output, from_logits=False):
    """Cross-entropy of probabilities, entry by entry."""
    target = ops.cast(as_tensor(target), output.dtype)
    if from_logits:
        return ops.binary_crossentropy(target, output, from_logits=True)
    tiny = keras.config.epsilon()
    output = ops.clip(output, tiny, 1 - tiny)
    return -(target * ops.log(output + tiny) + (1 - target) * ops.log(1 - output + tiny))
