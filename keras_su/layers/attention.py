"""Multi-head attention."""

import keras
from keras import ops

from keras_su import initializers, masks
from keras_su.errors import KerasSuError, bad_value, unknown_name
from keras_su.layers.base import Layer
from keras_su.ops.attention import NORMALIZATIONS, attend
from keras_su.ops.rotary import apply_rotary_position_embeddings
from keras_su.registration import register

POSITION_TERMS = ("rotary", "t5_relative", "typical_relative")


@register
class MultiHeadAttention(Layer):
    """Attention with bert4keras' calling convention.

    Args:
        heads: number of heads.
        head_size: width of a value head.
        out_dim: output width; default ``heads * head_size``.
        key_size: width of a query and key head; default ``head_size``. A larger one lifts the low-rank bottleneck of the
            scores.
        use_bias: biases of the four dense layers.
        normalization: ``"softmax"``, ``"squared_relu"`` or ``"softmax_plus"``, see :func:`keras_su.ops.attention.attend`.
        attention_scale: divide the scores by ``sqrt(key_size)``.
        attention_dropout: dropout rate of the attention weights.
        return_attention_scores: return ``[output, scores]``, scores ``(batch, heads, T, S)`` scaled, before bias and softmax.
        kernel_initializer: of the four dense layers.
        mask_mode: a rule of :mod:`keras_su.masks` (``"causal"``, ``"unilm"``, ``"prefix"``, ...) that this layer applies by
            itself; the rules that read segments need ``segments=`` in the call.

    Call arguments:
        inputs: ``x`` for self-attention, or a list ``[q, k, v]``, followed by the attention bias if ``a_bias`` and by the
            position term if ``p_bias``. ``q``: ``(batch, T, width)``, ``k`` and ``v``: ``(batch, S, width)``.
        mask: list parallel to ``inputs``; entry 2 (of ``v``) hides padded keys. Filled by Keras from implicit masks.
        a_bias: the list holds an attention bias. Boolean = who may attend, float = added to the scaled scores. Rank 2 ``(T,
            S)``, rank 3 ``(batch, T, S)`` or rank 4 ``(batch, heads, T, S)``; axes of size 1 broadcast.
        p_bias: ``"rotary"`` (table ``(1 or batch, T, key_size)``), ``"t5_relative"`` (``(T, S, heads)``) or
            ``"typical_relative"`` (``(T, S, key_size)``); the last two may have a batch axis in front.
        segments: segment ids ``(batch, T)`` for ``mask_mode``.
        scores: scores ``(batch, heads, T, S)`` of the layers below, added to those of this layer and included in the returned
            ones (RealFormer, arXiv 2012.11747).

    Returns:
        ``(batch, T, out_dim)``. A query without any visible key gets the output bias only. Padded queries are computed like
        others.

    Weights in order: query, key, value and output kernel, each followed by its bias.

    >>> import numpy as np
    >>> x = np.random.rand(2, 5, 32).astype("float32")
    >>> tuple(MultiHeadAttention(heads=4, head_size=8, mask_mode="causal")(x).shape)
    (2, 5, 32)
    """

    def __init__(
        self,
        heads,
        head_size,
        out_dim=None,
        key_size=None,
        use_bias=True,
        normalization="softmax",
        attention_scale=True,
        attention_dropout=None,
        return_attention_scores=False,
        kernel_initializer="glorot_uniform",
        mask_mode=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        for name, value in (("heads", heads), ("head_size", head_size)):
            if not isinstance(value, int) or value < 1:
                raise bad_value(f"MultiHeadAttention: {name}", value, "a positive integer")
        if normalization not in NORMALIZATIONS:
            raise unknown_name("attention normalization", normalization, NORMALIZATIONS)
        if mask_mode is not None:
            masks.get_rule(mask_mode)
        self.heads = heads
        self.head_size = head_size
        self.out_dim = out_dim or heads * head_size
        self.key_size = key_size or head_size
        self.use_bias = use_bias
        self.normalization = normalization
        self.attention_scale = attention_scale
        self.attention_dropout = attention_dropout
        self.return_attention_scores = return_attention_scores
        self.kernel_initializer = kernel_initializer
        self.mask_mode = mask_mode

    def build(self, input_shape):
        shapes = input_shape if isinstance(input_shape[0], (list, tuple)) else [input_shape] * 3
        query, key, value = self.several(shapes[:3], "q", "k", "v")
        self.q_dense = self._dense("query", self.heads * self.key_size, query)
        self.k_dense = self._dense("key", self.heads * self.key_size, key)
        self.v_dense = self._dense("value", self.heads * self.head_size, value)
        self.o_dense = self._dense("output", self.out_dim, (*query[:-1], self.heads * self.head_size))
        self.dropout = None
        if self.attention_dropout:
            self.dropout = self.sub(keras.layers.Dropout, "dropout", rate=self.attention_dropout)
        self.built = True

    def _dense(self, name, units, input_shape):
        initializer = initializers.get(self.kernel_initializer)
        dense = self.sub(keras.layers.Dense, name, units=units, use_bias=self.use_bias, kernel_initializer=initializer)
        dense.build(input_shape)
        return dense

    def call(self, inputs, mask=None, a_bias=None, p_bias=None, segments=None, scores=None, inputs_mask=None, training=None):
        query, key, value, attention_bias, position = self._take_apart(inputs, a_bias, p_bias)
        key_mask = self._key_mask(mask if mask is not None else inputs_mask)
        allowed, bias = self._allowed(query, key, key_mask, attention_bias, segments)

        if scores is not None:
            bias = scores if bias is None else bias + ops.cast(scores, bias.dtype)

        query = self._split(self.q_dense(query), self.key_size)
        key = self._split(self.k_dense(key), self.key_size)
        value = self._split(self.v_dense(value), self.head_size)
        position_bias = relative = None
        if p_bias == "rotary":
            query, key = apply_rotary_position_embeddings(position, query, key)
        elif p_bias == "t5_relative":
            position_bias = ops.moveaxis(position, -1, -3)  # (..., heads, T, S)
            if len(position.shape) == 3:
                position_bias = ops.expand_dims(position_bias, 0)
        elif p_bias == "typical_relative":
            relative = position

        result = attend(
            query,
            key,
            value,
            mask=allowed,
            bias=bias,
            position_bias=position_bias,
            relative=relative,
            scale=None if self.attention_scale else 1.0,
            normalization=self.normalization,
            dropout=self.dropout,
            training=training,
            return_scores=self.return_attention_scores,
        )
        output, own_scores = result if self.return_attention_scores else (result, None)
        output = self.o_dense(ops.reshape(output, (*ops.shape(output)[:2], self.heads * self.head_size)))
        if not self.return_attention_scores:
            return output
        return [output, own_scores if scores is None else own_scores + ops.cast(scores, own_scores.dtype)]

    def _take_apart(self, inputs, a_bias, p_bias):
        """The five tensors behind the calling convention, ``None`` for those that are absent."""
        if not isinstance(inputs, (list, tuple)):
            inputs = [inputs] * 3
        if p_bias is not None and p_bias not in POSITION_TERMS:
            raise unknown_name("position term p_bias", p_bias, POSITION_TERMS)
        expected = ["q", "k", "v"] + ["attention bias"] * bool(a_bias) + ["position term"] * bool(p_bias)
        if len(inputs) != len(expected):
            raise KerasSuError(
                f"{self.name}: got {len(inputs)} inputs, expected {len(expected)} [{', '.join(expected)}] "
                f"for a_bias={a_bias}, p_bias={p_bias!r}."
            )
        extras = list(inputs[3:])
        attention_bias = extras.pop(0) if a_bias else None
        if p_bias:
            self._check_position_term(p_bias, extras[0].shape[-1])
        return *inputs[:3], attention_bias, extras[0] if p_bias else None

    def _check_position_term(self, p_bias, width):
        expected, what = (self.heads, "number of heads") if p_bias == "t5_relative" else (self.key_size, "key size")
        if width != expected:
            raise bad_value(f"{self.name}: width of the {p_bias} term", width, f"{expected}, the {what}")
        if p_bias == "typical_relative" and self.key_size != self.head_size:
            raise bad_value(
                f"{self.name}: key_size with p_bias={p_bias!r}",
                self.key_size,
                f"{self.head_size} like head_size, because the same vectors are added to keys and values",
            )

    @staticmethod
    def _key_mask(mask):
        if isinstance(mask, (list, tuple)):
            mask = mask[2] if len(mask) > 2 else None
        return None if mask is None else ops.cast(mask, "bool")[:, None, None, :]

    def _allowed(self, query, key, key_mask, attention_bias, segments):
        """Boolean mask and float bias that broadcast to ``(batch, heads, T, S)``, each ``None`` when absent."""
        bias, conditions = None, []
        if key_mask is not None:
            conditions.append(key_mask)
        if attention_bias is not None:
            rank = len(attention_bias.shape)
            if rank not in (2, 3, 4):
                raise bad_value(
                    f"{self.name}: rank of the attention bias", rank, "2 (T, S), 3 (batch, T, S) or 4 (batch, heads, T, S)"
                )
            if rank == 2:
                attention_bias = attention_bias[None, None]
            elif rank == 3:
                attention_bias = ops.expand_dims(attention_bias, 1)
            if keras.backend.standardize_dtype(attention_bias.dtype) == "bool":
                conditions.append(attention_bias)
            else:
                bias = attention_bias
        if self.mask_mode is not None:
            rule = self._own_mask(query, key, segments)
            if rule is not None:
                conditions.append(ops.expand_dims(rule, 1))
        allowed = None
        for condition in conditions:
            allowed = condition if allowed is None else ops.logical_and(allowed, condition)
        return allowed, bias

    def _own_mask(self, query, key, segments):
        if query.shape[1] != key.shape[1]:
            raise KerasSuError(
                f"{self.name}: mask_mode={self.mask_mode!r} is for self-attention, where queries and keys have one length."
            )
        index = ops.expand_dims(ops.arange(ops.shape(query)[1], dtype="int32"), 0)
        return masks.combine([self.mask_mode], *masks.views(index, segments))

    def _split(self, x, size):
        return ops.reshape(x, (*ops.shape(x)[:2], self.heads, size))

    def compute_mask(self, inputs, mask=None):
        mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        return [mask, None] if self.return_attention_scores else mask

    def compute_output_spec(
        self, inputs, mask=None, a_bias=None, p_bias=None, segments=None, scores=None, inputs_mask=None, training=None
    ):
        query, key, _, _, _ = self._take_apart(inputs, a_bias, p_bias)
        output = keras.KerasTensor((*query.shape[:2], self.out_dim), self.compute_dtype)
        if not self.return_attention_scores:
            return output
        shape = (query.shape[0], self.heads, query.shape[1], key.shape[1])
        return [output, keras.KerasTensor(shape, keras.backend.result_type(self.compute_dtype, "float32"))]
