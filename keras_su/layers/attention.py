"""Multi-head attention."""

import keras
from keras import ops

from keras_su import initializers, masks
from keras_su.cache import current_cache, positions_of
from keras_su.errors import KerasSuError, bad_value, unknown_name
from keras_su.layers.base import Layer
from keras_su.layers.normalization import LayerNormalization
from keras_su.ops.attention import NORMALIZATIONS, attend
from keras_su.ops.rotary import LAYOUTS, apply_rotary_position_embeddings
from keras_su.registration import register

POSITION_TERMS = ("rotary", "t5_relative", "typical_relative")


def mask_and_bias(attention_bias, key_mask, name):
    """The boolean and the additive part of what an attention layer was given, both of rank 4.

    Args:
        attention_bias: the ``a_bias`` tensor, boolean or float, of rank 2, 3 or 4, or ``None``.
        key_mask: boolean ``(batch, S)``, ``False`` for padding, or ``None``.
        name: of the layer, for the error.

    Returns:
        ``(mask, bias)`` that broadcast to ``(batch, heads, T, S)``, each ``None`` when absent.
    """
    mask = None if key_mask is None else ops.cast(key_mask, "bool")[:, None, None, :]
    if attention_bias is None:
        return mask, None
    rank = len(attention_bias.shape)
    if rank not in (2, 3, 4):
        raise bad_value(f"{name}: rank of the attention bias", rank, "2 (T, S), 3 (batch, T, S) or 4 (batch, heads, T, S)")
    if rank == 2:
        attention_bias = attention_bias[None, None]
    elif rank == 3:
        attention_bias = ops.expand_dims(attention_bias, 1)
    if keras.backend.standardize_dtype(attention_bias.dtype) != "bool":
        return mask, attention_bias
    return attention_bias if mask is None else ops.logical_and(mask, attention_bias), None


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
        attention_scale: divide the scores by ``sqrt(key_size)``; a number is the factor of the scores itself.
        attention_dropout: dropout rate of the attention weights.
        return_attention_scores: return ``[output, scores]``, scores ``(batch, heads, T, S)`` scaled, before bias and softmax.
        kernel_initializer: of the four dense layers.
        mask_mode: a rule of :mod:`keras_su.masks` (``"causal"``, ``"unilm"``, ``"prefix"``, ...) that this layer applies by
            itself; the rules that read segments need ``segments=`` in the call.
        kv_heads: number of key and value heads, a divisor of ``heads``; default ``heads``. Each serves a group of query heads
            (arXiv 2305.13245).
        output_bias: bias of the output layer alone; default as ``use_bias``.
        qk_norm: arguments of a :class:`LayerNormalization` over each query and key head, before the rotation (Qwen3).
        soft_cap: bound of the scores, see :func:`keras_su.ops.attention.attend`.
        rotary_layout: ``"interleaved"`` or ``"half"``, see :func:`keras_su.ops.rotary.apply_rotary_position_embeddings`.

    Call arguments:
        inputs: ``x`` for self-attention, or a list ``[q, k, v]``, followed by the attention bias if ``a_bias`` and by the
            position term if ``p_bias``. ``q``: ``(batch, T, width)``, ``k`` and ``v``: ``(batch, S, width)``.
        mask: list parallel to ``inputs``; entry 2 (of ``v``) hides padded keys. Filled by Keras from implicit masks.
        a_bias: the list holds an attention bias. Boolean = who may attend, float = added to the scaled scores. Rank 2 ``(T,
            S)``, rank 3 ``(batch, T, S)`` or rank 4 ``(batch, heads, T, S)``; axes of size 1 broadcast.
        p_bias: ``"rotary"`` (table ``(1 or batch, T, key_size)``; a narrower one rotates the first columns), ``"t5_relative"``
            (``(T, S, heads)``) or ``"typical_relative"`` (``(T, S, key_size)``); the last two may have a batch axis in front.
        segments: segment ids ``(batch, T)`` for ``mask_mode``.
        scores: scores ``(batch, heads, T, S)`` of the layers below, added to those of this layer and included in the returned
            ones (RealFormer, arXiv 2012.11747).

    Returns:
        ``(batch, T, out_dim)``. A query without any visible key gets the output bias only. Padded queries are computed like
        others.

    Weights in order: query, key, value and output kernel, each followed by its bias; then the norms of query and key.

    >>> import numpy as np
    >>> x = np.random.rand(2, 5, 32).astype("float32")
    >>> tuple(MultiHeadAttention(heads=4, head_size=8, mask_mode="causal")(x).shape)
    (2, 5, 32)
    """

    cache_aware = attends = True

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
        kv_heads=None,
        output_bias=None,
        qk_norm=None,
        soft_cap=None,
        rotary_layout="interleaved",
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
        if kv_heads is not None and (kv_heads < 1 or heads % kv_heads):
            raise bad_value("MultiHeadAttention: kv_heads", kv_heads, f"a divisor of heads={heads}")
        if rotary_layout not in LAYOUTS:
            raise unknown_name("rotary layout", rotary_layout, LAYOUTS)
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
        self.kv_heads = kv_heads or heads
        self.output_bias = use_bias if output_bias is None else output_bias
        self.qk_norm = qk_norm
        self.soft_cap = soft_cap
        self.rotary_layout = rotary_layout

    def build(self, input_shape):
        shapes = input_shape if isinstance(input_shape[0], (list, tuple)) else [input_shape] * 3
        query, key, value = self.several(shapes[:3], "q", "k", "v")
        self.q_dense = self._dense("query", self.heads * self.key_size, query)
        self.k_dense = self._dense("key", self.kv_heads * self.key_size, key)
        self.v_dense = self._dense("value", self.kv_heads * self.head_size, value)
        self.o_dense = self._dense("output", self.out_dim, (*query[:-1], self.heads * self.head_size), self.output_bias)
        self.q_norm = self.k_norm = None
        if self.qk_norm is not None:
            self.q_norm, self.k_norm = self._head_norm("query_norm"), self._head_norm("key_norm")
        self.dropout = None
        if self.attention_dropout:
            self.dropout = self.sub(keras.layers.Dropout, "dropout", rate=self.attention_dropout)
        self.built = True

    def _dense(self, name, units, input_shape, bias=None):
        initializer = initializers.get(self.kernel_initializer)
        bias = self.use_bias if bias is None else bias
        dense = self.sub(keras.layers.Dense, name, units=units, use_bias=bias, kernel_initializer=initializer)
        dense.build(input_shape)
        return dense

    def _head_norm(self, name):
        norm = self.sub(LayerNormalization, name, **self.qk_norm)
        norm.build((None, None, None, self.key_size))
        return norm

    def call(self, inputs, mask=None, a_bias=None, p_bias=None, segments=None, scores=None, inputs_mask=None, training=None):
        query, key, value, attention_bias, position = self._take_apart(inputs, a_bias, p_bias)
        key_mask = self._key_mask(mask if mask is not None else inputs_mask)
        cache = current_cache()
        decodes = cache is not None and not cache.is_context(self, 1)  # keys of earlier tokens come from the cache
        if decodes and key_mask is not None:
            key_mask = cache.extend_mask(key_mask)
        allowed, bias = self._allowed(query, key, key_mask, attention_bias, segments)

        if scores is not None:
            bias = scores if bias is None else bias + ops.cast(scores, bias.dtype)

        project = lambda: self._keys_and_values(key, value)  # noqa: E731
        query = self._split(self.q_dense(query), self.heads, self.key_size)
        if self.q_norm is not None:
            query = self.q_norm(query)
        key, value = project() if cache is None or decodes else cache.once(project)
        position_bias = relative = None
        if p_bias == "rotary":
            query, key = apply_rotary_position_embeddings(position, query, key, layout=self.rotary_layout)
        elif p_bias == "t5_relative":
            position_bias = ops.moveaxis(position, -1, -3)  # (..., heads, T, S)
            if len(position.shape) == 3:
                position_bias = ops.expand_dims(position_bias, 0)
        elif p_bias == "typical_relative":
            relative = position
        if decodes:
            key, value = cache.extend_heads(key), cache.extend_heads(value)

        result = attend(
            query,
            key,
            value,
            mask=allowed,
            bias=bias,
            position_bias=position_bias,
            relative=relative,
            scale=None if self.attention_scale is True else float(self.attention_scale or 1),
            soft_cap=self.soft_cap,
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

    def _keys_and_values(self, key, value):
        key = self._split(self.k_dense(key), self.kv_heads, self.key_size)
        value = self._split(self.v_dense(value), self.kv_heads, self.head_size)
        return key if self.k_norm is None else self.k_norm(key), value

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
        if width > expected if p_bias == "rotary" else width != expected:
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
        return mask

    def _allowed(self, query, key, key_mask, attention_bias, segments):
        """Boolean mask and float bias that broadcast to ``(batch, heads, T, S)``, each ``None`` when absent."""
        allowed, bias = mask_and_bias(attention_bias, key_mask, self.name)
        if self.mask_mode is not None:
            rule = self._own_mask(query, key, segments)
            if rule is not None:
                rule = ops.expand_dims(rule, 1)
                allowed = rule if allowed is None else ops.logical_and(allowed, rule)
        return allowed, bias

    def _own_mask(self, query, key, segments):
        if query.shape[1] != key.shape[1]:
            raise KerasSuError(
                f"{self.name}: mask_mode={self.mask_mode!r} is for self-attention, where queries and keys have one length."
            )
        return masks.combine([self.mask_mode], *masks.views(positions_of(query), segments))

    @staticmethod
    def _split(x, heads, size):
        return ops.reshape(x, (*ops.shape(x)[:2], heads, size))

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
