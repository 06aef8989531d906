"""Scale and offset, and the normalisations built on them, plain or conditional."""

import keras
from keras import ops

from keras_su import activations, initializers
from keras_su.errors import KerasSuError
from keras_su.layers.base import Layer
from keras_su.registration import register


@register
class ScaleOffset(Layer):
    """``x * gamma + beta`` over the last axis, optionally shifted by a condition vector.

    Args:
        scale: ``True`` learns ``gamma`` (from ones), ``False`` or ``None`` leaves it out, a number, list or array is a
            constant.
        offset: the same for ``beta`` (from zeros).
        conditional: inputs are then ``[x, condition]``, and zero-initialised dense layers of the condition are added to gamma
            and beta. At the start the layer equals the unconditional one. The condition is ``(batch, c)`` or ``(batch, length,
            c)``.
        hidden_units: width of an optional shared dense layer before those two.
        hidden_activation: its activation.
        hidden_initializer: its initializer.

    Weights in order: beta, gamma, then hidden, beta and gamma dense kernels.
    """

    token_wise = True

    def __init__(
        self,
        scale=True,
        offset=True,
        conditional=False,
        hidden_units=None,
        hidden_activation="linear",
        hidden_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.scale = scale
        self.offset = offset
        self.conditional = conditional
        self.hidden_units = hidden_units
        self.hidden_activation = activations.resolve(hidden_activation)
        self.hidden_initializer = hidden_initializer

    def build(self, input_shape):
        if not self.conditional and isinstance(input_shape[0], (list, tuple)):
            given = f"got {len(input_shape)} inputs, expected one tensor"
            raise KerasSuError(f"{self.name}: {given}. A list [x, condition] is for conditional=True.")
        shape, condition = self.several(input_shape, "x", "condition") if self.conditional else (input_shape, None)
        if self.offset is True:
            self.beta = self.add_weight(name="beta", shape=(shape[-1],), initializer="zeros")
        if self.scale is True:
            self.gamma = self.add_weight(name="gamma", shape=(shape[-1],), initializer=self._gamma_initializer())
        if self.conditional:
            if self.hidden_units is not None:
                self.hidden_dense = self.sub(
                    keras.layers.Dense,
                    "hidden_dense",
                    units=self.hidden_units,
                    activation=activations.get(self.hidden_activation),
                    use_bias=False,
                    kernel_initializer=initializers.get(self.hidden_initializer),
                )
                self.hidden_dense.build(condition)
                condition = (*condition[:-1], self.hidden_units)
            for name, wanted in (("beta_dense", self.offset), ("gamma_dense", self.scale)):
                if not _absent(wanted):
                    dense = self.sub(keras.layers.Dense, name, units=shape[-1], use_bias=False, kernel_initializer="zeros")
                    dense.build(condition)
                    setattr(self, name, dense)
        self.built = True

    def _gamma_initializer(self):
        return "ones"

    def call(self, inputs):
        x, condition = inputs if self.conditional else (inputs, None)
        gamma, beta = self._scale_and_offset(condition, x)
        if gamma is not None:
            x = x * gamma
        return x if beta is None else x + beta

    def _scale_and_offset(self, condition, x):
        """Gamma and beta for ``x``, ``None`` where switched off."""
        if condition is not None:
            for _ in range(len(x.shape) - len(condition.shape)):
                condition = ops.expand_dims(condition, 1)
            if self.hidden_units is not None:
                condition = self.hidden_dense(condition)
        values = []
        for wanted, learned, dense in ((self.scale, "gamma", "gamma_dense"), (self.offset, "beta", "beta_dense")):
            if _absent(wanted):
                values.append(None)
                continue
            value = getattr(self, learned) if wanted is True else ops.broadcast_to(wanted, (x.shape[-1],))
            value = ops.cast(value, x.dtype)
            if condition is not None:
                value = value + ops.cast(getattr(self, dense)(condition), x.dtype)
            values.append(value)
        return values

    def compute_mask(self, inputs, mask=None):
        return mask[0] if self.conditional and isinstance(mask, (list, tuple)) else mask

    def compute_output_spec(self, inputs):
        x = inputs[0] if self.conditional else inputs
        return keras.KerasTensor(x.shape, self.compute_dtype)


def _absent(value):
    return value is None or value is False


@register
class LayerNormalization(ScaleOffset):
    """Layer normalisation over the last axis with every switch of the bert4keras family.

    Args:
        zero_mean: subtract the mean; ``False`` makes it an RMS norm (arXiv 1910.07467).
        unit_variance: divide by the root of the mean square.
        epsilon: added to the mean square; default ``keras.config.epsilon()`` = 1e-7. (Keras' own layer uses 1e-3.)
        unit_offset: the learned scale is ``1 + gamma``, with gamma from zeros (Gemma).
        **kwargs: those of :class:`ScaleOffset`; ``scale=False, offset=False`` has no weights (RoFormerV2), ``conditional=True``
            is the conditional layer norm whose inputs are ``[x, condition]``.

    Statistics are computed in float32 under every precision policy.

    >>> import numpy as np
    >>> tuple(LayerNormalization(epsilon=1e-12)(np.random.rand(2, 5, 8)).shape)
    (2, 5, 8)
    """

    def __init__(
        self,
        zero_mean=True,
        unit_variance=True,
        epsilon=None,
        scale=True,
        offset=True,
        conditional=False,
        hidden_units=None,
        hidden_activation="linear",
        hidden_initializer="glorot_uniform",
        unit_offset=False,
        **kwargs,
    ):
        super().__init__(scale, offset, conditional, hidden_units, hidden_activation, hidden_initializer, **kwargs)
        self.unit_offset = unit_offset
        self.zero_mean = zero_mean
        self.unit_variance = unit_variance
        self.epsilon = keras.config.epsilon() if epsilon is None else epsilon

    def _gamma_initializer(self):
        return "zeros" if self.unit_offset else "ones"

    def call(self, inputs):
        x, condition = inputs if self.conditional else (inputs, None)
        dtype = x.dtype
        wide = ops.cast(x, keras.backend.result_type(dtype, "float32"))
        gamma, beta = self._scale_and_offset(condition, wide)
        if self.unit_offset and gamma is not None:
            gamma = gamma + 1
        if self.zero_mean and self.unit_variance and condition is None:
            return ops.cast(ops.layer_normalization(wide, gamma, beta, axis=-1, epsilon=self.epsilon), dtype)
        if self.zero_mean:
            wide = wide - ops.mean(wide, axis=-1, keepdims=True)
        if self.unit_variance:
            wide = wide * ops.rsqrt(ops.mean(ops.square(wide), axis=-1, keepdims=True) + self.epsilon)
        if gamma is not None:
            wide = wide * gamma
        if beta is not None:
            wide = wide + beta
        return ops.cast(wide, dtype)
