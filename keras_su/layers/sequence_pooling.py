"""Masked counterparts of Keras' pooling over time, and pooling with learned weights."""

import keras
from keras import ops

from keras_su.layers.base import Layer
from keras_su.ops.attention import normalize
from keras_su.registration import register


class _GlobalPooling:
    """What both layers share: padding, which may hold anything, is taken out; a text without tokens gives zeros."""

    def __init__(self, data_format=None, keepdims=False, **kwargs):
        super().__init__(data_format=data_format, keepdims=keepdims, **kwargs)
        self.supports_masking = True

    def call(self, inputs, mask=None):
        axis = 1 if self.data_format == "channels_last" else 2
        if mask is None:
            return self._pool(ops.cast(inputs, "float32"), 1.0, axis, inputs.dtype)
        valid = ops.cast(mask, "bool")
        valid = ops.expand_dims(valid, 2 if axis == 1 else 1)
        x = ops.where(valid, ops.cast(inputs, "float32"), self._neutral)
        return self._pool(x, ops.cast(valid, "float32"), axis, inputs.dtype)

    def compute_mask(self, inputs, mask=None):
        return None


@register
class GlobalAveragePooling1D(_GlobalPooling, keras.layers.GlobalAveragePooling1D):
    """Mean of the vectors of a text, over its tokens: padding does not count, and a text without tokens gives zeros.

    Args:
        data_format: ``"channels_last"`` or ``"channels_first"``; default is that of Keras.
        keepdims: keep the axis of time, with size 1.

    The sum is taken in float32.

    >>> import numpy as np
    >>> x = np.array([[[1.0], [3.0], [8.0]]])
    >>> float(GlobalAveragePooling1D()(x, mask=np.array([[True, True, False]]))[0, 0])
    2.0
    """

    _neutral = 0.0

    def _pool(self, x, valid, axis, dtype):
        total = ops.sum(x, axis=axis, keepdims=self.keepdims)
        count = ops.sum(valid * ops.ones_like(x), axis=axis, keepdims=self.keepdims)
        return ops.cast(total / ops.maximum(count, 1.0), dtype)


@register
class GlobalMaxPooling1D(_GlobalPooling, keras.layers.GlobalMaxPooling1D):
    """Largest entries of the vectors of a text, over its tokens: padding does not count, and a text without tokens gives zeros.

    Arguments are those of :class:`GlobalAveragePooling1D`.
    """

    # Not minus infinity: a text without tokens would have no gradient but NaN.
    _neutral = -3.4e38

    def _pool(self, x, valid, axis, dtype):
        largest = ops.max(x, axis=axis, keepdims=self.keepdims)
        exists = ops.any(ops.greater(valid * ops.ones_like(x), 0), axis=axis, keepdims=self.keepdims)
        return ops.cast(ops.where(exists, largest, 0.0), dtype)


@register
class AttentionPooling1D(Layer):
    """A weighted mean of the vectors of a text, whose weights are learned: ``softmax(v tanh(W x))`` (arXiv 1703.03130).

    Args:
        hidden_dim: width of the layer inside; default is that of the input.

    Input ``(batch, length, width)``, output ``(batch, width)``. Padding has weight 0; a text without tokens gives zeros.

    Weights in order: ``hidden/kernel``, ``score/kernel``.
    """

    def __init__(self, hidden_dim=None, **kwargs):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim

    def build(self, input_shape):
        width = self.hidden_dim or input_shape[-1]
        self.hidden = self.sub(keras.layers.Dense, "hidden", units=width, activation="tanh", use_bias=False)
        self.hidden.build(input_shape)
        self.score = self.sub(keras.layers.Dense, "score", units=1, use_bias=False)
        self.score.build((*input_shape[:-1], width))
        self.built = True

    def call(self, inputs, mask=None):
        scores = ops.squeeze(self.score(self.hidden(inputs)), -1)
        weights = normalize(ops.cast(scores, "float32"), None if mask is None else ops.cast(mask, "bool"))
        if mask is not None:
            inputs = ops.where(ops.expand_dims(mask, -1), inputs, 0)  # 0 * NaN is NaN
        return ops.einsum("bn,bnd->bd", ops.cast(weights, inputs.dtype), inputs)

    def compute_mask(self, inputs, mask=None):
        return None

    def compute_output_spec(self, inputs, mask=None):
        return keras.KerasTensor((inputs.shape[0], inputs.shape[-1]), self.compute_dtype)
