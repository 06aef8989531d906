"""Rotary position embedding (RoPE, arXiv 2104.09864), in float32 whatever the precision policy."""

import keras
from keras import ops

from keras_su.errors import bad_value


def sinusoidal_embeddings(positions, size, base=10000.0):
    """Interleaved sines and cosines of positions.

    Args:
        positions: integers or floats of any shape.
        size: even number of columns; columns ``2i`` and ``2i + 1`` are sine and cosine of ``position / base^(2i/size)``.
        base: wavelength base.

    Returns:
        float32 tensor ``positions.shape + (size,)``.
    """
    if size % 2:
        raise bad_value("sinusoidal embedding: size", size, "an even number (a sine and a cosine for each frequency)")
    frequencies = ops.power(ops.cast(base, "float32"), -ops.arange(0, size, 2, dtype="float32") / size)
    angles = ops.expand_dims(ops.cast(positions, "float32"), -1) * frequencies
    table = ops.stack([ops.sin(angles), ops.cos(angles)], axis=-1)
    return ops.reshape(table, (*ops.shape(angles)[:-1], size))


def apply_rotary_position_embeddings(sinusoidal, *tensors):
    """Rotate the pairs ``(2i, 2i + 1)`` of the last axis by the angles of a table from :func:`sinusoidal_embeddings`.

    Args:
        sinusoidal: ``(batch or 1, length, size)``.
        *tensors: each ``(batch, length, size)`` or ``(batch, length, heads, size)``; lengths may not differ from the table's.

    Returns:
        The rotated tensor, or a list of them when several were given. The arithmetic is float32, the result has the tensor's
        dtype.
    """
    if not tensors:
        raise bad_value("apply_rotary_position_embeddings: number of tensors", 0, "at least one tensor to rotate")
    rotated = [_rotate(tensor, sinusoidal) for tensor in tensors]
    return rotated[0] if len(rotated) == 1 else rotated


def _rotate(tensor, sinusoidal):
    if tensor.shape[-1] != sinusoidal.shape[-1]:
        raise bad_value("rotary table width", sinusoidal.shape[-1], f"{tensor.shape[-1]}, the width of the tensor it rotates")
    for _ in range(len(tensor.shape) - len(sinusoidal.shape)):
        sinusoidal = ops.expand_dims(sinusoidal, 2)
    dtype = keras.backend.result_type(tensor.dtype, "float32")
    sine, cosine = ops.cast(sinusoidal[..., ::2], dtype), ops.cast(sinusoidal[..., 1::2], dtype)
    wide = ops.cast(tensor, dtype)
    even, odd = wide[..., ::2], wide[..., 1::2]
    pairs = ops.stack([even * cosine - odd * sine, odd * cosine + even * sine], axis=-1)
    return ops.cast(ops.reshape(pairs, ops.shape(tensor)), tensor.dtype)
