"""Rotary position embedding (RoPE, arXiv 2104.09864), in float32 whatever the precision policy."""

import math

import keras
import numpy as np
from keras import ops

from keras_su.errors import KerasSuError, bad_value, unknown_name

LAYOUTS = ("interleaved", "half")
SCALINGS = ("linear", "dynamic", "llama3", "yarn")


def sinusoidal_embeddings(positions, size, base=10000.0, scaling=None, length=None):
    """Interleaved sines and cosines of positions.

    Args:
        positions: integers or floats of any shape.
        size: even number of columns; columns ``2i`` and ``2i + 1`` are sine and cosine of ``position / base^(2i/size)``.
        base: wavelength base.
        scaling: how a model was stretched beyond the length it was trained on, see :func:`rotary_frequencies`.
        length: of the text, which a dynamic scaling depends on; default: the size of the last axis.

    Returns:
        float32 tensor ``positions.shape + (size,)``.
    """
    if length is None:
        length = ops.shape(positions)[-1] if len(positions.shape) else 1
    frequencies, factor = rotary_frequencies(size, base, scaling, length)
    angles = ops.expand_dims(ops.cast(positions, "float32"), -1) * frequencies
    table = ops.stack([ops.sin(angles), ops.cos(angles)], axis=-1)
    table = ops.reshape(table, (*ops.shape(angles)[:-1], size))
    return table if factor == 1 else table * factor


def rotary_frequencies(size, base=10000.0, scaling=None, length=None):
    """Angular frequencies ``base^(-2i/size)``, changed by a scaling rule, and the factor of sines and cosines.

    Args:
        size: even number of rotated columns.
        base: wavelength base.
        scaling: ``None`` or a dictionary with ``type`` and its numbers, named as in Hugging Face configurations:

            - ``linear``: positions divided by ``factor``;
            - ``dynamic``: the base grows with the text once it is longer than ``original_max_position_embeddings``;
            - ``llama3``: long waves divided by ``factor``, short ones kept, a blend between (``low_freq_factor``,
              ``high_freq_factor``);
            - ``yarn``: the same idea with a ramp (arXiv 2309.00071; ``beta_fast``, ``beta_slow``, ``attention_factor``).
        length: number of positions, for ``dynamic``.

    Returns:
        ``(frequencies, factor)``: float32 ``(size // 2,)``, and a number.
    """
    if size % 2:
        raise bad_value("sinusoidal embedding: size", size, "an even number (a sine and a cosine for each frequency)")
    plain = np.power(float(base), -np.arange(0, size, 2) / size)
    if not scaling:
        return ops.convert_to_tensor(plain.astype("float32")), 1
    kind = scaling.get("type")
    if kind not in SCALINGS:
        raise unknown_name("rotary scaling type", kind, SCALINGS)
    read = lambda name, default=None: _scaling_number(scaling, name, default)  # noqa: E731
    factor = read("factor")
    if kind == "linear":
        return ops.convert_to_tensor((plain / factor).astype("float32")), 1
    trained = read("original_max_position_embeddings")
    if kind == "dynamic":
        longest = ops.maximum(ops.cast(length, "float32"), float(trained))
        stretched = float(base) * ops.power(factor * longest / trained - (factor - 1), size / (size - 2))
        return ops.power(stretched, -ops.arange(0, size, 2, dtype="float32") / size), 1
    if kind == "llama3":
        turns = trained * plain / (2 * math.pi)
        low, high = read("low_freq_factor"), read("high_freq_factor")
        kept = np.clip((turns - low) / (high - low), 0, 1)
        return ops.convert_to_tensor((plain * (kept + (1 - kept) / factor)).astype("float32")), 1
    dimension = lambda turns: size * math.log(trained / (turns * 2 * math.pi)) / (2 * math.log(base))  # noqa: E731
    low, high = dimension(read("beta_fast", 32)), dimension(read("beta_slow", 1))
    if read("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, size - 1)
    kept = 1 - np.clip((np.arange(size // 2) - low) / (high - low or 0.001), 0, 1)
    frequencies = ops.convert_to_tensor((plain * (kept + (1 - kept) / factor)).astype("float32"))
    return frequencies, read("attention_factor", 0.1 * math.log(factor) + 1 if factor > 1 else 1.0)


def _scaling_number(scaling, name, default):
    value = scaling.get(name)
    value = default if value is None else value
    if value is None:
        raise KerasSuError(f"Rotary scaling {scaling['type']!r} needs {name!r}; given: {', '.join(sorted(scaling))}.")
    return value


def apply_rotary_position_embeddings(sinusoidal, *tensors, layout="interleaved"):
    """Rotate pairs of the last axis by the angles of a table from :func:`sinusoidal_embeddings`.

    Args:
        sinusoidal: ``(batch or 1, length, size)``.
        *tensors: each ``(batch, length, size)`` or ``(batch, length, heads, size)``; lengths may not differ from the table's. Of
            a wider tensor the first ``size`` columns are rotated.
        layout: which columns form a pair: ``"interleaved"`` = ``2i`` and ``2i + 1`` (RoFormer, GLM), ``"half"`` = ``i`` and
            ``i + size/2`` (Llama). Weights for one are useless with the other.

    Returns:
        The rotated tensor, or a list of them when several were given. The arithmetic is float32, the result has the tensor's
        dtype.
    """
    if not tensors:
        raise bad_value("apply_rotary_position_embeddings: number of tensors", 0, "at least one tensor to rotate")
    if layout not in LAYOUTS:
        raise unknown_name("rotary layout", layout, LAYOUTS)
    rotated = [_rotate(tensor, sinusoidal, layout) for tensor in tensors]
    return rotated[0] if len(rotated) == 1 else rotated


def _rotate(tensor, sinusoidal, layout):
    size, width = sinusoidal.shape[-1], tensor.shape[-1]
    if size > width:
        raise bad_value("rotary table width", size, f"at most {width}, the width of the tensor it rotates")
    for _ in range(len(tensor.shape) - len(sinusoidal.shape)):
        sinusoidal = ops.expand_dims(sinusoidal, 2)
    dtype = keras.backend.result_type(tensor.dtype, "float32")
    sine, cosine = ops.cast(sinusoidal[..., ::2], dtype), ops.cast(sinusoidal[..., 1::2], dtype)
    wide = ops.cast(tensor[..., :size] if size < width else tensor, dtype)
    if layout == "half":
        first, second = wide[..., : size // 2], wide[..., size // 2 :]
        rotated = ops.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
    else:
        even, odd = wide[..., ::2], wide[..., 1::2]
        rotated = ops.stack([even * cosine - odd * sine, odd * cosine + even * sine], axis=-1)
        rotated = ops.reshape(rotated, ops.shape(wide))
    rotated = ops.cast(rotated, tensor.dtype)
    return ops.concatenate([rotated, tensor[..., size:]], axis=-1) if size < width else rotated
