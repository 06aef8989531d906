"""Sums that keep the padding mask."""

import keras

from keras_su.layers.base import Layer
from keras_su.registration import register


@register
class Residual(Layer):
    """``sum(inputs)`` for a list of tensors; keeps the mask of the first.

    Keras' ``Add`` drops the mask when one of its inputs has none, and costs about four times as much per call on torch.
    """

    token_wise = True

    def call(self, inputs):
        total = inputs[0]
        for other in inputs[1:]:
            total = total + other
        return total

    def compute_mask(self, inputs, mask=None):
        return mask[0] if isinstance(mask, (list, tuple)) else mask

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs[0].shape, self.compute_dtype)
