"""The compiler of whichever backend is selected."""

import warnings

import keras


def compiled(function):
    """``function`` of tensors under the backend's compiler, traced at the first call; other values must not trace it again."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(_traced_once(function))
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(_traced_once(function), jit_compile=True)
    return _TorchTrace(function)


def _traced_once(function):
    calls = []

    def traced(*tensors):
        assert not calls, "traced again for other values"
        calls.append(True)
        return function(*tensors)

    return traced


class _TorchTrace:
    def __init__(self, function):
        self.function, self.traced = function, None

    def __call__(self, *tensors):
        import torch

        if self.traced is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", torch.jit.TracerWarning)  # shapes become constants, as they should
                self.traced = torch.jit.trace(self.function, tensors, check_trace=False)
        return self.traced(*tensors)
