"""Gated attention in linear time: exact within chunks, summed up across them."""

from keras import ops

from keras_su.errors import bad_value
from keras_su.layers.gated_attention import GatedAttentionUnit
from keras_su.ops.attention import attend
from keras_su.ops.rotary import apply_rotary_position_embeddings
from keras_su.ops.sequence import divisible_temporal_padding
from keras_su.registration import register


@register
class MixedChunkAttention(GatedAttentionUnit):
    """A gated attention unit for long texts (FLASH, arXiv 2202.10447): time and memory grow with the length, not with its square.

    The text is cut into chunks. A token attends to its own chunk as in :class:`GatedAttentionUnit` with ``squared_relu``, and in
    addition reads a summary of all chunks (of those before it, if causal): the mean of ``key value^T`` over their tokens,
    multiplied by its query. Both have queries and keys of their own, four affine images of one projection.

    Means are taken over the tokens that are visible, so padding on the right, and a length that is no multiple of ``chunk_size``,
    change nothing. Padding on the left moves the borders of the chunks.

    Args:
        units: width inside, usually twice the width of the input.
        key_size: width of queries and keys.
        chunk_size: number of tokens in a chunk.
        causal: a token sees the tokens before it only, and itself.
        activation: of the input projection.
        use_bias: biases of the dense layers, and offsets of queries and keys.
        kernel_initializer: of the dense layers.

    Call arguments:
        inputs: ``x`` ``(batch, T, width)``, or a list ``[x, rotary table]`` with ``p_bias="rotary"``.
        mask: mask of ``x``, or a list parallel to ``inputs``.
        p_bias: ``"rotary"``: the list holds a rotary table ``(1 or batch, T, key_size)``.

    Returns:
        tensor like ``x``.

    Weights in order: input projection; scale-offsets of query and key within chunks, and of query and key across chunks; output
    projection.

    >>> import numpy as np
    >>> tuple(MixedChunkAttention(units=16, key_size=4, chunk_size=2)(np.ones((2, 5, 8), "float32")).shape)
    (2, 5, 8)
    """

    cache_aware = attends = False

    def __init__(
        self,
        units,
        key_size,
        chunk_size=256,
        causal=False,
        activation="swish",
        use_bias=True,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(units, key_size, activation, use_bias, kernel_initializer=kernel_initializer, **kwargs)
        if not isinstance(chunk_size, int) or chunk_size < 1:
            raise bad_value("MixedChunkAttention: chunk_size", chunk_size, "a positive number of tokens")
        self.chunk_size = chunk_size
        self.causal = causal

    def build(self, input_shape):
        shape = input_shape[0] if isinstance(input_shape[0], (list, tuple)) else input_shape
        self.i_dense = self._dense("input", 2 * self.units + self.key_size, shape)
        names = ("chunk_query", "chunk_key", "linear_query", "linear_key")
        self.images = [self._scale_offset(name, shape) for name in names]
        self.o_dense = self._dense("output", shape[-1], (*shape[:-1], self.units), activation=None)
        self.built = True

    def call(self, inputs, mask=None, p_bias=None):
        (x,), _, position = self._take_apart(inputs, None, p_bias)
        length = ops.shape(x)[1]
        chunk = min(self.chunk_size, length) if isinstance(length, int) else self.chunk_size
        gate, value, shared = ops.split(self.i_dense(x), [self.units, 2 * self.units], axis=-1)
        images = [image(shared) for image in self.images]
        if position is not None:
            images = apply_rotary_position_embeddings(position, *images)
        mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        valid = ops.ones(ops.shape(x)[:2], "bool") if mask is None else ops.cast(mask, "bool")

        def in_chunks(tensor):
            tensor = divisible_temporal_padding(tensor, chunk)
            return ops.reshape(tensor, (ops.shape(x)[0], -1, chunk, *tensor.shape[2:]))

        chunk_query, chunk_key, linear_query, linear_key, value, valid = map(in_chunks, (*images, value, valid))
        output = _within_chunks(chunk_query, chunk_key, value, valid, self.causal)
        output = output + _across_chunks(linear_query, linear_key, value, valid, self.causal)
        output = ops.reshape(output, (ops.shape(x)[0], -1, self.units))[:, :length]
        return self.o_dense(gate * output)


def _within_chunks(query, key, value, valid, causal):
    """Attention inside of each chunk; tensors are ``(batch, chunks, chunk, width)``."""
    rows = [ops.reshape(x, (-1, x.shape[2], 1, x.shape[3])) for x in (query, key, value)]
    chunk = query.shape[2]
    mask = ops.reshape(valid, (-1, 1, 1, chunk))
    if causal:
        mask = ops.logical_and(mask, ops.tril(ops.ones((chunk, chunk), "bool")))
    return ops.reshape(attend(*rows, mask=mask, normalization="squared_relu"), ops.shape(value))


def _across_chunks(query, key, value, valid, causal):
    """Linear attention to the summaries of chunks, in float32; in causal form to those before the own one."""
    key = ops.where(ops.expand_dims(valid, -1), ops.cast(key, "float32"), 0.0)
    summary = ops.einsum("bgcs,bgce->bgse", key, ops.cast(value, "float32"))
    count = ops.sum(ops.cast(valid, "float32"), axis=2)[:, :, None, None]
    if causal:
        summary, count = (ops.cumsum(x, axis=1) - x for x in (summary, count))
    else:
        summary, count = (ops.sum(x, axis=1, keepdims=True) for x in (summary, count))
    return ops.cast(ops.matmul(ops.cast(query, "float32"), summary / ops.maximum(count, 1.0)), value.dtype)
