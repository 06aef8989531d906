"""Masking, alignment, gathering and shapes of sequences."""

import keras
import numpy as np
from keras import ops

from keras_su.errors import bad_value, unknown_name


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


def batch_gather(params, indices):
    """Gather with one set of indices for each row: ``result[b, i] = params[b, indices[b, i]]``.

    Args:
        params: tensor ``(*batch, n, ...)``.
        indices: integers (or whole floats) ``(*batch, k)``; all axes but the last are batch axes.

    Returns:
        ``(*batch, k, ...)``.

    >>> ops.convert_to_numpy(batch_gather(ops.array([[1, 2, 3], [4, 5, 6]]), ops.array([[2, 0], [1, 1]]))).tolist()
    [[3, 1], [5, 5]]
    """
    indices = ops.cast(indices, "int32")
    axis = len(indices.shape) - 1
    for _ in range(len(params.shape) - len(indices.shape)):
        indices = ops.expand_dims(indices, -1)
    return ops.take_along_axis(params, indices, axis=axis)


def pool1d(x, pool_size, strides=1, padding="valid", data_format=None, pool_mode="max"):
    """Pooling over windows of a sequence.

    Args:
        x: ``(batch, length, width)``, or ``(batch, width, length)`` for ``data_format="channels_first"``.
        pool_size: length of a window.
        strides: steps between windows.
        padding: ``"valid"``, or ``"same"``: the length is divided by ``strides`` only.
        data_format: ``"channels_last"`` or ``"channels_first"``; default is that of Keras.
        pool_mode: ``"max"`` or ``"avg"``.
    """
    if pool_mode not in ("max", "avg"):
        raise unknown_name("pool_mode", pool_mode, ("max", "avg"))
    pool = ops.max_pool if pool_mode == "max" else ops.average_pool
    return pool(x, pool_size, strides=strides, padding=padding, data_format=data_format)


def divisible_temporal_padding(x, n):
    """Append zeros to ``x`` ``(batch, length, ...)`` until ``n`` divides the length.

    >>> tuple(divisible_temporal_padding(ops.ones((2, 5, 3)), 4).shape)
    (2, 8, 3)
    """
    batch, length, *rest = ops.shape(x)
    return ops.concatenate([x, ops.zeros((batch, -length % n, *rest), dtype=x.dtype)], axis=1)


def flatten(tensor, start=None, end=None):
    """Join the axes ``start, ..., end - 1`` of a tensor into one; by default all of them.

    >>> tuple(flatten(ops.ones((2, 3, 4, 5)), 1, 3).shape)
    (2, 12, 5)
    """
    sizes = list(ops.shape(tensor))
    start, end, _ = slice(start, end).indices(len(sizes))
    return ops.reshape(tensor, _with_one_unknown([*sizes[:start], _product(sizes[start:end]), *sizes[end:]]))


def reshape(tensor, *args):
    """Reshape a tensor, all of it or axis by axis.

    Args:
        tensor: any tensor.
        *args: the new shape; or ``sizes, axis, sizes, axis, ...``: each named axis becomes those sizes, of which one may be -1.

    >>> tuple(reshape(ops.ones((2, 3, 8)), [-1, 4], 2).shape)
    (2, 3, 2, 4)
    """
    if len(args) == 1:
        return ops.reshape(tensor, args[0])
    if len(args) % 2:
        raise bad_value("reshape: arguments", args, "one shape, or pairs of sizes and an axis")
    old = list(ops.shape(tensor))
    new = [[size] for size in old]
    for sizes, axis in zip(args[::2], args[1::2]):
        sizes = list(sizes)
        if sizes.count(-1) > 1:
            raise bad_value("reshape: sizes", sizes, "at most one -1")
        if -1 in sizes and old[axis] is not None:
            place = sizes.index(-1)
            sizes[place] = old[axis] // _product(sizes[:place] + sizes[place + 1 :])
        new[axis] = sizes
    return ops.reshape(tensor, _with_one_unknown([size for sizes in new for size in sizes]))


def _product(sizes):
    """Product of sizes: numbers, scalar tensors, or ``None`` for what a graph does not know yet."""
    total = 1
    for size in sizes:
        total = None if total is None or size is None else total * size
    return total


def _with_one_unknown(sizes):
    return tuple(-1 if size is None else size for size in sizes)


def root_mean_square(x, axis=None, keepdims=False):
    """``sqrt(mean(x^2))``, in float32; the gradient at zero is zero.

    >>> float(root_mean_square(ops.array([3.0, 4.0, 0.0, 0.0])))
    2.5
    """
    square = ops.mean(ops.square(ops.cast(x, keras.backend.result_type(x.dtype, "float32"))), axis=axis, keepdims=keepdims)
    positive = ops.greater(square, 0)
    root = ops.where(positive, ops.sqrt(ops.where(positive, square, 1.0)), 0.0)
    return ops.cast(root, x.dtype)
