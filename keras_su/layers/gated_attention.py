"""The gated attention unit: attention and feed-forward in one layer."""

import keras
from keras import ops

from keras_su import activations, initializers
from keras_su.cache import current_cache
from keras_su.errors import KerasSuError, bad_value, unknown_name
from keras_su.layers.attention import mask_and_bias
from keras_su.layers.base import Layer
from keras_su.layers.normalization import ScaleOffset
from keras_su.ops.attention import NORMALIZATIONS, attend
from keras_su.ops.rotary import apply_rotary_position_embeddings
from keras_su.registration import register


@register
class GatedAttentionUnit(Layer):
    """``output(u * (A v))``, where ``u``, ``v`` and a narrow ``qk`` come from one projection (FLASH, arXiv 2202.10447).

    Queries and keys are two affine images of ``qk``; attention has a single head.

    Args:
        units: width of ``u`` and ``v``, usually twice the width of the input.
        key_size: width of queries and keys.
        activation: of the projections.
        use_bias: biases of the dense layers, and offsets of queries and keys.
        normalization: ``"squared_relu"``, ``"softmax"`` or ``"softmax_plus"``, see :func:`keras_su.ops.attention.attend`.
        self_attention: ``False`` takes ``[q, k, v]`` with projections of their own.
        attention_scale: divide the scores by ``sqrt(key_size)``.
        attention_dropout: dropout rate of the attention weights.
        kernel_initializer: of the dense layers.
        length_floor: smallest number of visible keys that ``softmax_plus`` counts; 16 in the released GAU-alpha weights.

    Call arguments:
        inputs: ``x`` ``(batch, T, width)``, or a list ``[x, (attention bias), (rotary table)]``; with
            ``self_attention=False`` the list starts with ``q, k, v``.
        mask: mask of ``x`` (of the keys), or a list parallel to ``inputs``.
        a_bias: the list holds an attention bias, boolean or float, as in :class:`MultiHeadAttention`.
        p_bias: ``"rotary"``: the list holds a rotary table ``(1 or batch, T, key_size)``.

    Returns:
        tensor like ``x``.

    Weights in order: input projection, scale-offset of the query, of the key, output projection.

    >>> import numpy as np
    >>> tuple(GatedAttentionUnit(units=16, key_size=4)(np.ones((2, 5, 8), "float32")).shape)
    (2, 5, 8)
    """

    cache_aware = attends = True

    def __init__(
        self,
        units,
        key_size,
        activation="swish",
        use_bias=True,
        normalization="squared_relu",
        self_attention=True,
        attention_scale=True,
        attention_dropout=None,
        kernel_initializer="glorot_uniform",
        length_floor=16,
        **kwargs,
    ):
        super().__init__(**kwargs)
        for name, value in (("units", units), ("key_size", key_size)):
            if not isinstance(value, int) or value < 1:
                raise bad_value(f"GatedAttentionUnit: {name}", value, "a positive integer")
        if normalization not in NORMALIZATIONS:
            raise unknown_name("attention normalization", normalization, NORMALIZATIONS)
        self.units = units
        self.key_size = key_size
        self.activation = activations.resolve(activation)
        self.use_bias = use_bias
        self.normalization = normalization
        self.self_attention = self_attention
        self.attention_scale = attention_scale
        self.attention_dropout = attention_dropout
        self.kernel_initializer = kernel_initializer
        self.length_floor = length_floor

    def build(self, input_shape):
        shapes = input_shape if isinstance(input_shape[0], (list, tuple)) else [input_shape]
        shape = shapes[0]
        if self.self_attention:
            self.i_dense = self._dense("input", 2 * self.units + self.key_size, shape)
            self.q_scaleoffset = self._scale_offset("query", shape)
            self.k_scaleoffset = self._scale_offset("key", shape)
        else:
            self.uq_dense = self._dense("gate_query", self.units + self.key_size, shape)
            self.k_dense = self._dense("key", self.key_size, shapes[1])
            self.v_dense = self._dense("value", self.units, shapes[2])
        self.o_dense = self._dense("output", shape[-1], (*shape[:-1], self.units), activation=None)
        self.dropout = None
        if self.attention_dropout:
            self.dropout = self.sub(keras.layers.Dropout, "dropout", rate=self.attention_dropout)
        self.built = True

    def _dense(self, name, units, input_shape, activation="own"):
        dense = self.sub(
            keras.layers.Dense,
            name,
            units=units,
            activation=activations.get(self.activation if activation == "own" else activation),
            use_bias=self.use_bias,
            kernel_initializer=initializers.get(self.kernel_initializer),
        )
        dense.build(input_shape)
        return dense

    def _scale_offset(self, name, input_shape):
        layer = self.sub(ScaleOffset, name, offset=self.use_bias)
        layer.build((*input_shape[:-1], self.key_size))
        return layer

    def call(self, inputs, mask=None, a_bias=None, p_bias=None, inputs_mask=None, training=None):
        streams, attention_bias, position = self._take_apart(inputs, a_bias, p_bias)
        mask = inputs_mask if mask is None else mask
        key_mask = mask[0 if self.self_attention else 1] if isinstance(mask, (list, tuple)) else mask
        if self.self_attention:
            projected = self.i_dense(streams[0])
            gate, value, shared = ops.split(projected, [self.units, 2 * self.units], axis=-1)
            query, key = self.q_scaleoffset(shared), self.k_scaleoffset(shared)
        else:
            gate, query = ops.split(self.uq_dense(streams[0]), [self.units], axis=-1)
            key, value = self.k_dense(streams[1]), self.v_dense(streams[2])
        if position is not None:
            query, key = apply_rotary_position_embeddings(position, query, key)
        cache = current_cache()
        if cache is not None and (self.self_attention or not cache.is_context(self, 1)):
            key, value = cache.extend(key), cache.extend(value)
            key_mask = None if key_mask is None else cache.extend_mask(key_mask)
        allowed, bias = mask_and_bias(attention_bias, key_mask, self.name)
        output = attend(
            *(ops.expand_dims(x, 2) for x in (query, key, value)),
            mask=allowed,
            bias=bias,
            scale=None if self.attention_scale else 1.0,
            normalization=self.normalization,
            length_floor=self.length_floor,
            dropout=self.dropout,
            training=training,
        )
        return self.o_dense(gate * ops.squeeze(output, 2))

    def _take_apart(self, inputs, a_bias, p_bias):
        """The streams, the attention bias and the rotary table behind the calling convention."""
        inputs = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        if p_bias not in (None, "rotary"):
            raise unknown_name("position term p_bias of GatedAttentionUnit", p_bias, ["rotary"])
        names = ["x"] if self.self_attention else ["q", "k", "v"]
        expected = names + ["attention bias"] * bool(a_bias) + ["position term"] * bool(p_bias)
        if len(inputs) != len(expected):
            raise KerasSuError(
                f"{self.name}: got {len(inputs)} inputs, expected {len(expected)} [{', '.join(expected)}] "
                f"for a_bias={a_bias}, p_bias={p_bias!r}."
            )
        extras = inputs[len(names) :]
        return inputs[: len(names)], extras.pop(0) if a_bias else None, extras.pop(0) if p_bias else None

    def compute_mask(self, inputs, mask=None):
        return mask[0] if isinstance(mask, (list, tuple)) else mask

    def compute_output_spec(self, inputs, mask=None, a_bias=None, p_bias=None, inputs_mask=None, training=None):
        x = inputs[0] if isinstance(inputs, (list, tuple)) else inputs
        return keras.KerasTensor(x.shape, self.compute_dtype)
