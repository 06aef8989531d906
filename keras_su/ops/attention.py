"""All attention arithmetic: :func:`attend` is the only place in the package that multiplies queries with keys."""

import math

import keras
from keras import ops

from keras_su.errors import unknown_name

NORMALIZATIONS = ("softmax", "squared_relu", "softmax_plus")


def attend(
    query,
    key,
    value,
    *,
    mask=None,
    bias=None,
    position_bias=None,
    relative=None,
    scale=None,
    soft_cap=None,
    normalization="softmax",
    length_floor=16,
    dropout=None,
    training=None,
    return_scores=False,
):
    """Scaled dot-product attention with every variation of the bert4keras family.

    Args:
        query: ``(batch, T, heads, key_size)``.
        key: ``(batch, S, heads or fewer, key_size)``; fewer heads are repeated (grouped queries).
        value: ``(batch, S, heads or fewer, head_size)``.
        mask: boolean, broadcasts to ``(batch, heads, T, S)``; ``True`` = may attend. A query that sees nothing yields zeros.
        bias: float, broadcasts to ``(batch, heads, T, S)``, added after scaling.
        position_bias: float of the same shape, added before scaling (T5).
        relative: float ``(T, S, key_size)`` or with a batch axis, mixed into scores and output (Shaw et al., NEZHA).
        scale: factor of the scores; ``None`` = ``1 / sqrt(key_size)``.
        soft_cap: bound of the scores, ``cap * tanh(score / cap)`` (Gemma 2).
        normalization: ``"softmax"``; ``"squared_relu"`` = relu(a)^2 / n (FLASH); ``"softmax_plus"`` = softmax(a log(n) /
            log(512)), where n is the number of visible keys.
        length_floor: smallest n of ``softmax_plus``, as in the released GAU-alpha weights.
        dropout: a ``Dropout`` layer for the attention probabilities, or ``None``.
        training: whether dropout acts.
        return_scores: also return the scaled scores ``(batch, heads, T, S)`` before ``bias``, mask and normalisation.

    Returns:
        ``(batch, T, heads, head_size)``, or the pair with the scores.
    """
    if normalization not in NORMALIZATIONS:
        raise unknown_name("attention normalization", normalization, NORMALIZATIONS)
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1])
    drops = dropout is not None and bool(training)
    fused = normalization == "softmax" and relative is None and soft_cap is None and not drops and not return_scores
    # The fused operator wants equal widths on JAX, and copies the query's width into its symbolic shape.
    fused = fused and query.shape[-1] == value.shape[-1]
    if keras.backend.backend() == "jax" and keras.backend.standardize_dtype(query.dtype) == "float16":
        fused = False  # JAX asks for a mixed-precision product that XLA does not have on the CPU
    if fused:
        output = _fused(query, key, value, mask, bias, position_bias, scale)
        return output if mask is None else _zero_blind_rows(output, mask)
    key, value = _repeat_heads(query, key), _repeat_heads(query, value)
    scores = _scores(query, key, relative, position_bias) * scale
    if soft_cap is not None:
        scores = ops.tanh(scores / soft_cap) * soft_cap
    logits = scores if bias is None else scores + _bounded(bias, scores.dtype)
    probabilities = ops.cast(normalize(logits, mask, normalization, length_floor), value.dtype)
    if drops:
        probabilities = dropout(probabilities, training=training)
    output = _mix(probabilities, value, relative)
    return (output, scores) if return_scores else output


def _fused(query, key, value, mask, bias, position_bias, scale):
    if keras.backend.backend() != "jax":
        # Keras 3.15 repeats shared heads itself, but not a single one on TensorFlow, and none on a GPU of PyTorch.
        key, value = _repeat_heads(query, key), _repeat_heads(query, value)
    if position_bias is not None:
        position_bias = position_bias * ops.cast(scale, position_bias.dtype)
        bias = position_bias if bias is None else bias + ops.cast(position_bias, bias.dtype)
    if bias is not None:
        bias = _bounded(bias, query.dtype)
        if mask is not None:  # torch takes one of the two
            bias, mask = ops.where(mask, bias, ops.cast(lowest(bias.dtype), bias.dtype)), None
    return ops.dot_product_attention(query, key, value, bias=bias, mask=mask, scale=scale)


def _zero_blind_rows(output, mask):
    """Set queries that see no key to zero: softmax over an empty set is 0, not the mean that the operator returns."""
    sees = ops.any(mask, axis=-1, keepdims=True)
    return output * ops.cast(ops.transpose(sees, (0, 2, 1, 3)), output.dtype)


def _repeat_heads(query, x):
    """Keys or values with as many heads as the queries."""
    groups = query.shape[2] // x.shape[2]
    return ops.repeat(x, groups, axis=2) if groups > 1 else x


def _scores(query, key, relative, position_bias):
    """Unscaled scores ``(batch, heads, T, S)``, in float32 at least."""
    scores = ops.einsum("btnh,bsnh->bnts", query, key)
    scores = ops.cast(scores, keras.backend.result_type(scores.dtype, "float32"))
    if relative is not None:
        equation = "btnh,tsh->bnts" if len(relative.shape) == 3 else "btnh,btsh->bnts"
        scores = scores + ops.cast(ops.einsum(equation, query, ops.cast(relative, query.dtype)), scores.dtype)
    if position_bias is not None:
        scores = scores + ops.cast(position_bias, scores.dtype)
    return scores


def _mix(probabilities, value, relative):
    """The weighted mean of the values, and of the relative vectors where there are some."""
    output = ops.einsum("bnts,bsnh->btnh", probabilities, value)
    if relative is not None:
        equation = "bnts,tsh->btnh" if len(relative.shape) == 3 else "bnts,btsh->btnh"
        output = output + ops.einsum(equation, probabilities, ops.cast(relative, probabilities.dtype))
    return output


def normalize(logits, mask=None, method="softmax", length_floor=16):
    """Turn logits into attention weights over the last axis; masked entries and rows without a visible entry become zero."""
    if method == "softmax":
        return _masked_softmax(logits, mask)
    visible = ops.ones_like(logits) if mask is None else ops.broadcast_to(ops.cast(mask, logits.dtype), ops.shape(logits))
    count = ops.sum(visible, axis=-1, keepdims=True)
    if method == "squared_relu":
        return ops.square(ops.relu(logits)) * visible / ops.maximum(count, 1)
    stretch = ops.log(ops.maximum(count, length_floor)) / math.log(512)
    return _masked_softmax(logits * stretch, mask)


def _masked_softmax(logits, mask):
    if mask is None:
        return ops.softmax(logits, axis=-1)
    weights = ops.softmax(ops.where(mask, logits, ops.cast(lowest(logits.dtype), logits.dtype)), axis=-1)
    return weights * ops.cast(mask, weights.dtype)


def _bounded(bias, dtype):
    """A bias in ``dtype`` without infinities: a mask of -1e12 is minus infinity in float16, and a row of those gives NaN."""
    return ops.maximum(ops.cast(bias, dtype), ops.cast(lowest(dtype), dtype))


def lowest(dtype):
    """A number that acts as minus infinity in ``dtype`` and whose sum with a score does not overflow."""
    return -3e4 if keras.backend.standardize_dtype(dtype) == "float16" else -1e30
