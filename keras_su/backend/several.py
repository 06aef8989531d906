"""Functions of ``K`` on several tensors: joining, choosing, looking up, products."""

import keras
import numpy as np
from keras import ops

from keras_su.backend.shapes import as_tensor, dtype, ndim
from keras_su.errors import bad_value


def _alike(tensors):
    """Tensors, with those made of Python lists and arrays in the dtype of the first that was a tensor before."""
    kind = next((dtype(t) for t in tensors if hasattr(t, "dtype") and not isinstance(t, np.ndarray)), None)
    return [_as_kind(t, kind) if isinstance(t, (list, tuple, int, float, np.ndarray)) else t for t in tensors]


def _as_kind(x, kind):
    x = np.asarray(x)
    loses = x.dtype.kind == "f" and kind is not None and not keras.backend.is_float_dtype(kind)
    return (
        ops.convert_to_tensor(x.astype("float32") if x.dtype == "float64" else x) if kind is None or loses else ops.cast(x, kind)
    )


def concatenate(tensors, axis=-1):
    """Join tensors along an axis. Python lists and arrays among them are taken, too, in the dtype of the tensors.

    >>> concatenate([[0], ops.array([1, 2])], 0).shape == (3,)
    True
    """
    return ops.concatenate(_alike(tensors), axis=axis)


def stack(x, axis=0):
    """Join tensors along a new axis; lists and arrays among them get the dtype of the tensors."""
    return ops.stack(_alike(x), axis=axis)


def where(condition, x, y):
    """``x`` where the condition holds, ``y`` elsewhere, with broadcasting.

    A number beside a tensor takes the tensor's dtype, two numbers the default float dtype. The condition may be of any dtype.
    """
    kind = dtype(x) or dtype(y) or keras.config.floatx()
    x, y = (as_tensor(value) if dtype(value) else ops.cast(as_tensor(value), kind) for value in (x, y))
    return ops.where(ops.cast(as_tensor(condition), "bool"), x, y)


def switch(condition, then_expression, else_expression):
    """One of two tensors, or of two functions without arguments that return tensors.

    A condition with fewer axes than the tensors decides about whole rows. For a condition of one value only one function is
    computed.
    """
    condition = ops.cast(as_tensor(condition), "bool")
    if ndim(condition) == 0 and callable(then_expression):
        return ops.cond(condition, then_expression, else_expression)
    choices = [as_tensor(e() if callable(e) else e) for e in (then_expression, else_expression)]
    rank = max(ndim(choice) for choice in choices)
    if ndim(condition) > rank:
        raise bad_value("K.switch: axes of the condition", ndim(condition), f"at most {rank}, those of the tensors")
    for _ in range(rank - ndim(condition)):
        condition = ops.expand_dims(condition, -1)
    return ops.where(condition, *choices)


def gather(reference, indices):
    """Rows of ``reference``."""
    return ops.take(reference, ops.cast(as_tensor(indices), "int32"), axis=0)


def one_hot(indices, num_classes):
    """Vectors with a one at the index."""
    return ops.one_hot(ops.cast(as_tensor(indices), "int32"), num_classes, dtype=keras.config.floatx())


def dot(x, y):
    """Product over the last axis of ``x`` and the last but one of ``y``."""
    return ops.tensordot(x, y, axes=[[ndim(x) - 1], [max(ndim(y) - 2, 0)]])


def batch_dot(x, y, axes=None):
    """Product within each sample over one axis of each tensor.

    Args:
        x: ``(batch, ...)``.
        y: ``(batch, ...)``.
        axes: axis of ``x`` and axis of ``y``, or one number for both; default: the last of ``x`` and the last but one of ``y``
            (the last if it has two).

    Returns:
        the other axes of ``x``, then those of ``y``; ``(batch, 1)`` when nothing is left.

    >>> tuple(batch_dot(ops.ones((2, 3, 4)), ops.ones((2, 5, 4)), axes=2).shape)
    (2, 3, 5)
    """
    ranks = ndim(x), ndim(y)
    if axes is None:
        axes = (ranks[0] - 1, max(ranks[1] - 2, 1))
    given, axes = axes, (axes, axes) if isinstance(axes, int) else axes
    places = [axis + rank if axis < 0 else axis for axis, rank in zip(axes, ranks)]
    if len(axes) != 2 or not all(0 < place < rank for place, rank in zip(places, ranks)):
        ranks = f"tensors with {ranks[0]} and {ranks[1]} axes"
        raise bad_value("K.batch_dot: axes", given, f"one axis of each, behind that of the batch, for {ranks}")
    letters = [["a", *"bcdefg"[: ranks[0] - 1]], ["a", *"hijklm"[: ranks[1] - 1]]]
    for side in (0, 1):
        letters[side][places[side]] = "z"
    rest = [letter for side in letters for letter in side[1:] if letter != "z"]
    result = ops.einsum(f"{''.join(letters[0])},{''.join(letters[1])}->{''.join(['a', *rest])}", x, y)
    return result if rest else ops.expand_dims(result, -1)


def bias_add(x, bias, data_format=None):
    """``x`` plus a vector along its last axis (along axis 1 for ``data_format="channels_first"``)."""
    bias = ops.convert_to_tensor(bias)
    if (data_format or keras.config.image_data_format()) == "channels_first":
        bias = ops.reshape(bias, (-1, *[1] * (ndim(x) - 2)))
    return x + bias


def map_fn(fn, elems, name=None, dtype=None):
    """``fn`` of each entry along the first axis, stacked."""
    return ops.map(fn, elems)
