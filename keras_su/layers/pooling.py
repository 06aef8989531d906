"""From the vectors of the tokens to one vector for the text."""

import keras
from keras import ops

from keras_su.errors import bad_value, unknown_name
from keras_su.layers.base import Layer
from keras_su.registration import register

MODES = ("cls", "max", "mean", "mean_sqrt_len", "weighted_mean", "last")
"""What :class:`Pooling` can do, in the order in which several are put together (that of sentence-transformers)."""


@register
class Pooling(Layer):
    """One vector for a sequence. Padding, on either side, never changes the result; a sequence without tokens gives zeros.

    Args:
        mode: ``"cls"``, the first token; ``"last"``, the last one; ``"mean"``; ``"max"``; ``"mean_sqrt_len"``, the sum divided by
            the square root of the number of tokens; ``"weighted_mean"``, where the n-th token counts n times; or a list of
            these. The results of several are joined along the last axis in the order cls, max, mean, mean_sqrt_len,
            weighted_mean, last, whatever the order of the list.

    Call arguments:
        inputs: hidden states ``(batch, length, width)``, whose Keras mask, if any, says which tokens count; or a list of the
            hidden states and a mask ``(batch, length)``, in which nonzero means that the token counts.

    Returns:
        ``(batch, width)``, or ``(batch, n * width)`` for n modes. Sums are taken in float32.

    Raises:
        KerasSuError: an unknown mode, or none.

    >>> import numpy as np
    >>> hidden = np.array([[[1.0], [3.0], [8.0]]])
    >>> [float(x) for x in Pooling(["mean", "max"])([hidden, np.array([[1, 1, 0]])])[0]]
    [3.0, 2.0]
    """

    def __init__(self, mode="mean", **kwargs):
        super().__init__(**kwargs)
        modes = [mode] if isinstance(mode, str) else list(mode) if isinstance(mode, (list, tuple)) else []
        if not modes:
            raise bad_value("Pooling: mode", mode, f"one of {', '.join(MODES)}, or a list of them")
        for one in modes:
            if one not in MODES:
                raise unknown_name("pooling mode", one, MODES)
        self.mode = mode if isinstance(mode, str) else [one for one in MODES if one in modes]

    def call(self, inputs, mask=None):
        hidden = inputs
        if isinstance(inputs, (list, tuple)):
            hidden, mask = self.several(inputs, "hidden states", "mask")
        valid = ops.ones(ops.shape(hidden)[:2], "bool") if mask is None else ops.not_equal(mask, 0)
        # Selected, not multiplied by zero: what is in the padding may be anything, NaN included.
        x = ops.where(ops.expand_dims(valid, -1), ops.cast(hidden, "float32"), 0.0)
        valid = ops.cast(valid, "int32")
        modes = [self.mode] if isinstance(self.mode, str) else self.mode
        pooled = [_pool(x, valid, mode) for mode in modes]
        return ops.cast(pooled[0] if len(pooled) == 1 else ops.concatenate(pooled, axis=-1), self.compute_dtype)

    def compute_mask(self, inputs, mask=None):
        return None

    def compute_output_spec(self, inputs, mask=None):
        hidden = self.several(inputs, "hidden states", "mask")[0] if isinstance(inputs, (list, tuple)) else inputs
        width, count = hidden.shape[-1], 1 if isinstance(self.mode, str) else len(self.mode)
        return keras.KerasTensor((hidden.shape[0], width and count * width), self.compute_dtype)


def _pool(x, valid, mode):
    """Pool float32 ``x`` ``(batch, length, width)``, zero in the padding; ``valid`` is int32 ``(batch, length)``."""
    if mode in ("cls", "last"):
        number = ops.cumsum(valid, axis=1)  # of the token within its text, from 1
        wanted = ops.ones_like(number[:, -1:]) if mode == "cls" else number[:, -1:]
        chosen = ops.logical_and(ops.equal(number, wanted), ops.equal(valid, 1))
        return ops.sum(ops.where(ops.expand_dims(chosen, -1), x, 0.0), axis=1)
    count = ops.cast(ops.sum(valid, axis=1, keepdims=True), "float32")
    if mode == "max":
        # The smallest number, not minus infinity: a text without tokens would have no gradient but NaN.
        largest = ops.max(ops.where(ops.expand_dims(ops.equal(valid, 1), -1), x, -3.4e38), axis=1)
        return ops.where(ops.greater(count, 0), largest, 0.0)
    if mode == "weighted_mean":
        weights = ops.cast(ops.cumsum(valid, axis=1) * valid, "float32")
        total = ops.sum(x * ops.expand_dims(weights, -1), axis=1)
        return total / ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1.0)
    total = ops.sum(x, axis=1)
    count = ops.maximum(count, 1.0)
    return total / (ops.sqrt(count) if mode == "mean_sqrt_len" else count)
