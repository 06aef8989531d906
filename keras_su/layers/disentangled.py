"""What DeBERTa adds to the family: attention to content and distance apart, and a convolution over the embeddings."""

import math

import keras
from keras import ops

from keras_su import activations, initializers
from keras_su.errors import bad_value
from keras_su.layers.attention import mask_and_bias
from keras_su.layers.base import Layer
from keras_su.ops.attention import attend
from keras_su.registration import register


@register
class DisentangledAttention(Layer):
    """Attention whose scores also compare content with distance (DeBERTa, arXiv 2006.03654).

    ``score(i, j) = (q_i k_j + q_i K[b] + k_j Q[b]) / sqrt(3 head_size)``, where b is the bucket of the distance ``i - j``, and K
    and Q are projections of a table of distances.

    Args:
        heads: number of heads.
        head_size: their width.
        span: number of buckets on each side; the table has ``2 * span`` rows.
        max_distance: from which distance on everything shares the last bucket; buckets grow logarithmically from ``span / 2``
            on. ``None`` gives each distance up to ``span`` a bucket of its own.
        terms: which of ``"c2p"`` (query with distance) and ``"p2c"`` (key with distance) there are.
        share_key: project the table with the query and key layers, not with layers of its own.
        attention_dropout: dropout rate of the attention weights.
        kernel_initializer: of the dense layers.

    Call arguments:
        inputs: ``[x, table, (attention bias)]``: ``(batch, T, width)``, ``(1, 2 * span, width)``, and the bias as in
            :class:`MultiHeadAttention`.
        a_bias: the list holds an attention bias.
    """

    def __init__(
        self,
        heads,
        head_size,
        span,
        max_distance=None,
        terms=("c2p", "p2c"),
        share_key=True,
        attention_dropout=None,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if set(terms) - {"c2p", "p2c"}:
            raise bad_value("DisentangledAttention: terms", terms, "'c2p' and 'p2c', or one of them")
        self.heads = heads
        self.head_size = head_size
        self.span = span
        self.max_distance = max_distance
        self.terms = sorted(terms)
        self.share_key = share_key
        self.attention_dropout = attention_dropout
        self.kernel_initializer = kernel_initializer

    def build(self, input_shape):
        shape, table = input_shape[:2]
        inner = self.heads * self.head_size
        self.q_dense = self._dense("query", inner, shape)
        self.k_dense = self._dense("key", inner, shape)
        self.v_dense = self._dense("value", inner, shape)
        self.o_dense = self._dense("output", shape[-1], (*shape[:-1], inner))
        self.distance_q_dense, self.distance_k_dense = self.q_dense, self.k_dense
        if not self.share_key:
            if "c2p" in self.terms:
                self.distance_k_dense = self._dense("distance_key", inner, table)
            if "p2c" in self.terms:
                self.distance_q_dense = self._dense("distance_query", inner, table)
        self.dropout = None
        if self.attention_dropout:
            self.dropout = self.sub(keras.layers.Dropout, "dropout", rate=self.attention_dropout)
        self.built = True

    def _dense(self, name, units, input_shape):
        initializer = initializers.get(self.kernel_initializer)
        dense = self.sub(keras.layers.Dense, name, units=units, kernel_initializer=initializer)
        dense.build(input_shape)
        return dense

    def call(self, inputs, mask=None, a_bias=None, inputs_mask=None, training=None):
        x, table, *rest = self.several(inputs, "x", "table", *["attention bias"] * bool(a_bias))
        mask = inputs_mask if mask is None else mask
        key_mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        allowed, bias = mask_and_bias(rest[0] if rest else None, key_mask, self.name)
        query, key, value = (self._split(dense(x)) for dense in (self.q_dense, self.k_dense, self.v_dense))
        scale = 1 / math.sqrt(self.head_size * (1 + len(self.terms)))
        distance = self._distance_scores(query, key, table) * scale
        output = attend(
            query,
            key,
            value,
            mask=allowed,
            bias=distance if bias is None else distance + ops.cast(bias, distance.dtype),
            scale=scale,
            dropout=self.dropout,
            training=training,
        )
        return self.o_dense(ops.reshape(output, (*ops.shape(x)[:2], self.heads * self.head_size)))

    def _distance_scores(self, query, key, table):
        """Scores between contents and distances, ``(batch, heads, T, T)``, not scaled yet."""
        length = ops.shape(query)[1]
        index = ops.arange(length, dtype="int32")
        buckets = self._buckets(ops.expand_dims(index, 1) - ops.expand_dims(index, 0))
        buckets = ops.broadcast_to(buckets, (ops.shape(query)[0], self.heads, length, length))
        total = 0
        if "c2p" in self.terms:
            against = ops.einsum("btnh,kmnh->bntm", query, self._split(self.distance_k_dense(table)))
            total = total + ops.take_along_axis(against, buckets, axis=-1)
        if "p2c" in self.terms:
            against = ops.einsum("bsnh,kmnh->bnsm", key, self._split(self.distance_q_dense(table)))
            found = ops.take_along_axis(against, ops.swapaxes(buckets, -1, -2), axis=-1)
            total = total + ops.swapaxes(found, -1, -2)
        return total

    def _buckets(self, distances):
        if self.max_distance is not None:
            middle = self.span // 2
            far = ops.cast(ops.maximum(ops.abs(distances), middle), "float32") / middle
            far = ops.ceil(ops.log(far) / math.log((self.max_distance - 1) / middle) * (middle - 1)) + middle
            far = ops.cast(far, "int32") * ops.sign(distances)
            distances = ops.where(ops.abs(distances) <= middle, distances, far)
        return ops.clip(distances + self.span, 0, 2 * self.span - 1)

    def _split(self, x):
        return ops.reshape(x, (*ops.shape(x)[:2], self.heads, self.head_size))

    def compute_mask(self, inputs, mask=None):
        return mask[0] if isinstance(mask, (list, tuple)) else mask

    def compute_output_spec(self, inputs, mask=None, a_bias=None, inputs_mask=None, training=None):
        return keras.KerasTensor(inputs[0].shape, self.compute_dtype)


@register
class MaskedConvolution(Layer):
    """``activation(convolution(x))`` over the sequence, where padding counts as zeros.

    Args:
        filters: output width.
        kernel_size: number of neighbouring tokens, odd.
        activation: of the result.
        pad_id: token id of padding, or ``None``.
        kernel_initializer: of the convolution.

    Inputs ``[x, tokens]``: ``(batch, length, width)`` and ids ``(batch, length)``.
    """

    def __init__(self, filters, kernel_size, activation="gelu", pad_id=0, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.activation = activations.resolve(activation)
        self.pad_id = pad_id
        self.kernel_initializer = kernel_initializer

    def build(self, input_shape):
        self.convolution = self.sub(
            keras.layers.Conv1D,
            "convolution",
            filters=self.filters,
            kernel_size=self.kernel_size,
            padding="same",
            activation=activations.get(self.activation),
            kernel_initializer=initializers.get(self.kernel_initializer),
        )
        self.convolution.build(input_shape[0])
        self.built = True

    def call(self, inputs):
        x, tokens = self.several(inputs, "x", "tokens")
        if self.pad_id is None:
            return self.convolution(x)
        valid = ops.expand_dims(ops.cast(ops.not_equal(tokens, self.pad_id), x.dtype), -1)
        return self.convolution(x * valid) * valid

    def compute_mask(self, inputs, mask=None):
        return mask[0] if isinstance(mask, (list, tuple)) else mask

    def compute_output_spec(self, inputs):
        return keras.KerasTensor((*inputs[0].shape[:2], self.filters), self.compute_dtype)
