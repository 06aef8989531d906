"""Small things that many tests need and that Keras has no backend-free form of."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
from keras import ops

import keras_su

ROOT = Path(keras_su.__file__).parents[1]


def backend():
    """``"tensorflow"``, ``"jax"`` or ``"torch"``."""
    return keras.backend.backend()


def to_numpy(tensor):
    """A tensor as a numpy array; the 16-bit formats become float32, which numpy compares and prints better."""
    if keras.backend.standardize_dtype(tensor.dtype) in ("float16", "bfloat16"):
        tensor = ops.cast(tensor, "float32")
    return np.array(ops.convert_to_numpy(tensor))


def assert_close(found, expected, tolerance=1e-5):
    """Both, tensors or arrays, agree to ``tolerance`` relative and absolute."""
    found, expected = (x if isinstance(x, np.ndarray) else to_numpy(x) for x in (found, expected))
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def randomized(layer, *input_shapes):
    """``layer``, built for its inputs, with random numbers in all of its weights: zeros and ones would hide mistakes."""
    layer.build(list(input_shapes) if len(input_shapes) > 1 else input_shapes[0])
    dice = np.random.default_rng(5)
    layer.set_weights([dice.normal(size=w.shape, scale=0.4) for w in layer.get_weights()])
    return layer


def gradient(function, array, dtype=None):
    """d sum(function(x)) / dx at ``array``, computed by the active backend.

    Args:
        function: takes a tensor and returns a floating tensor.
        array: where to differentiate.
        dtype: dtype of the tensor that ``function`` gets, e.g. ``"bfloat16"``; default is that of ``array``.

    Returns:
        A numpy array of the shape of ``array`` (float32 for the 16-bit formats); zeros when the result does not depend on it.
    """
    dtype = dtype or keras.backend.standardize_dtype(array.dtype)

    def total(x):
        return ops.sum(ops.cast(function(x), "float32"))

    x = ops.convert_to_tensor(array, dtype=dtype)
    if backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            result = total(x)
        result = tape.gradient(result, x, unconnected_gradients="zero")
    elif backend() == "jax":
        import jax

        result = jax.grad(total)(x)
    else:
        import torch

        with torch.enable_grad():
            x = x.detach().clone().requires_grad_(True)
            (result,) = torch.autograd.grad(total(x) + 0 * ops.sum(ops.cast(x, "float32")), x)
    return to_numpy(result)


def run_in_fresh_process(code, *arguments, **environment):
    """Run Python ``code`` in a new interpreter and return what it printed.

    Args:
        code: the program; ``import keras_su`` works in it, and the backend is that of this process.
        *arguments: become ``sys.argv[1:]``.
        **environment: further environment variables.
    """
    env = {**os.environ, "KERAS_BACKEND": backend(), **environment}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"the program ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout
