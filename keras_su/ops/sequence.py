"""Masking and alignment of sequences."""

import keras
import numpy as np
from keras import ops

from keras_su.errors import bad_value


def align(tensor, axes, ndim=None):
    """Spread the axes of ``tensor`` over more dimensions, with ones in between.

    Args:
        tensor: a tensor of rank ``len(axes)``.
        axes: the place of each of its axes in the result, ascending; negative counts from the end.
        ndim: rank of the result; default is the highest place plus one.

    >>> from keras import ops
    >>> tuple(align(ops.ones((2, 3)), [0, -1], 4).shape)
    (2, 1, 1, 3)
    """
    if len(axes) != len(tensor.shape):
        raise bad_value("align: axes", list(axes), f"{len(tensor.shape)} of them, one for each axis of the tensor")
    ndim = ndim or max(axes) + 1
    if any(not -ndim <= a < ndim for a in axes):
        raise bad_value("align: axes", list(axes), f"places in a tensor of rank {ndim}")
    places = [a + ndim if a < 0 else a for a in axes]
    if sorted(set(places)) != places:
        raise bad_value("align: axes", list(axes), "different places in ascending order")
    for place in range(ndim):
        if place not in places:
            tensor = ops.expand_dims(tensor, place)
    return tensor


def sequence_masking(x, mask=None, value=0, axis=None, bias=None, return_mask=False):
    """Replace padded entries of ``x``, along one or several axes.

    Args:
        x: tensor with the batch first.
        mask: boolean or 0/1 tensor ``(batch, length)``, ``True`` = keep; ``None`` keeps everything.
        value: what replaces the masked entries: a number, ``"inf"``, ``"-inf"`` or an infinity.
        axis: the sequence axis, or a list of axes to which the same mask applies; default 1.
        bias: optional second condition with the rank of ``x`` (broadcast): a boolean tensor is joined with *and*, a float
            tensor is added to ``x`` before masking.
        return_mask: also return the joined boolean mask, aligned with ``x`` (``None`` when nothing was masked).
    """
    if isinstance(value, str):
        value = float(value)
    joined = None
    if mask is not None:
        mask = ops.cast(mask, "bool")
        axes = [1] if axis is None else list(axis) if isinstance(axis, (list, tuple)) else [axis]
        if 0 in axes:
            raise bad_value("sequence_masking: axis", 0, "a sequence axis; axis 0 is the batch")
        for one in axes:
            aligned = align(mask, [0, one], len(x.shape))
            joined = aligned if joined is None else ops.logical_and(joined, aligned)
    if bias is not None:
        if keras.backend.standardize_dtype(bias.dtype) == "bool":
            joined = bias if joined is None else ops.logical_and(joined, bias)
        else:
            x = x + ops.cast(bias, x.dtype)
    if joined is not None:
        limits = np.finfo("float16") if keras.backend.standardize_dtype(x.dtype) == "float16" else np.finfo("float32")
        fill = value if np.isinf(value) else float(np.clip(value, limits.min, limits.max))
        x = ops.where(joined, x, ops.cast(fill, x.dtype))
    return (x, joined) if return_mask else x
