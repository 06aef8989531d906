"""Comparing what was written with what was read: the tensors one by one, and what the models compute."""

import zlib

import keras
import numpy as np

from keras_su.errors import CheckpointError, listing
from keras_su.weights import open_checkpoint

TOLERANCES = {"float32": 1e-5, "float64": 1e-5, "float16": 1e-2, "bfloat16": 8e-2}
"""Allowed difference of outputs, relative to the largest one where that is above 1, by the dtype of the target."""


def random_batch(handle, batch=3, length=12, seed=7):
    """Inputs for a model: random tokens, the last rows padded behind.

    Args:
        handle: the model.
        batch, length: its shape; models of a fixed or shorter length get theirs.
        seed: of the numbers.

    Returns:
        list of arrays in the order of the model's inputs.
    """
    rng = np.random.default_rng(seed)
    lengths = [side.embeddings.position.length for side in handle.spec.sides if _has_table(side)]
    length = min([length, *lengths])
    arrays = []
    for tensor in handle.model.inputs:
        steps = tensor.shape[1] or length
        shape = (batch, steps, *tensor.shape[2:])
        side = next((side for side in handle.spec.sides if side.side and side.side in tensor.name), handle.spec.sides[-1])
        if not keras.backend.is_int_dtype(tensor.dtype):
            arrays.append(rng.normal(size=shape).astype("float32"))
        elif tensor.name.endswith("Input-Token"):
            arrays.append(_tokens(rng, shape, side))
        elif tensor.name.endswith("Input-Segment"):
            values = np.arange(steps) * min(2, side.embeddings.segments) // steps
            arrays.append(np.broadcast_to(values, shape).astype("int32"))
        elif tensor.name.endswith("Input-Position"):
            arrays.append(np.broadcast_to(np.arange(steps), shape).astype("int32"))
        else:
            arrays.append(np.zeros(shape, "int32"))
    return arrays


def run(model, inputs):
    """All outputs of a model: name -> float32 array."""
    outputs = model([keras.ops.convert_to_tensor(array) for array in inputs], training=False)
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    names = list(model.output_names)
    names = names if len(set(names)) == len(outputs) else [f"output {number}" for number in range(len(outputs))]
    return {name: keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")) for name, x in zip(names, outputs, strict=True)}


def compare_outputs(expected, found, tolerance):
    """The largest difference of each output, relative to its largest value where that is above 1.

    Raises:
        CheckpointError: an output differs by more than the tolerance, has another shape, or is no number.
    """
    if len(expected) != len(found):
        raise CheckpointError(f"Verification failed: the source has {len(expected)} outputs, the result {len(found)}.")
    differences, wrong = {}, []
    for (name, want), got in zip(expected.items(), found.values()):
        if want.shape != got.shape:
            raise CheckpointError(
                f"Verification failed: output {name} has shape {want.shape} in the source, {got.shape} in the result."
            )
        scale = max(1.0, float(np.abs(want[np.isfinite(want)]).max(initial=0.0)))
        same = (want == got) | (np.isnan(want) & np.isnan(got))
        with np.errstate(invalid="ignore"):
            difference = np.where(same, 0.0, np.abs(want.astype("float64") - got)) / scale
        differences[name] = float("inf") if np.isnan(difference).any() else float(difference.max(initial=0.0))
        if not differences[name] <= tolerance:
            wrong.append(f"{name}: {differences[name]:.3g}")
    if wrong:
        raise CheckpointError(
            f"Verification failed: outputs differ by more than {tolerance:g}: {listing(wrong)}. Nothing was written."
        )
    return differences


def checksum(array):
    """A number that tells arrays apart: of shape, dtype and bytes."""
    array = np.ascontiguousarray(array)
    return zlib.crc32(f"{array.shape} {array.dtype}".encode(), zlib.crc32(array.reshape(-1).view(np.uint8)))


def compare_tensors(path, checksums):
    """Read a checkpoint back and compare it with what was handed to the writer.

    Returns:
        the number of tensors.

    Raises:
        CheckpointError: with the names of tensors that differ.
    """
    with open_checkpoint(path) as reader:
        names = reader.names()
        wrong = sorted(set(names) ^ set(checksums))
        wrong += [name for name in names if name in checksums and checksum(reader.read(name)) != checksums[name]]
    if wrong:
        raise CheckpointError(
            f"Verification failed: tensors read back differ from those written: {listing(wrong)}. Nothing was written."
        )
    return len(names)


def _has_table(side):
    return getattr(side.embeddings.position, "length", None) is not None


def _tokens(rng, shape, side):
    pad = side.embeddings.pad_id
    tokens = rng.integers(0, side.vocab_size, shape)
    if pad is not None:
        tokens[tokens == pad] = pad + 1 if pad + 1 < side.vocab_size else 0
    for row in range(1, shape[0]):
        tokens[row, shape[1] - min(3 * row, shape[1] - 1) :] = pad or 0
    return tokens.astype("int32")
