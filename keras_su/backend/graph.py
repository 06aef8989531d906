"""Looking at models, and other things around calls."""

import functools

import keras

from keras_su.errors import bad_value, require
from keras_su.layers.base import of_floats

do_recompute = False
"""bert4keras read this from the environment. Here ``build_transformer_model(..., remat=True)`` says so, model by model."""


def search_layer(inputs, name, exclude_from=None):
    """The layer ``name`` on the way to a tensor or a layer, also inside of models on that way; ``None`` if there is none.

    Args:
        inputs: a Keras tensor, or a layer that was called.
        name: of the layer.
        exclude_from: a set for the layers that were looked at, or are not to be.

    >>> x = keras.Input((4,), name="here")
    >>> search_layer(keras.layers.Dense(2, name="first")(x), "first").units
    2
    """
    if not isinstance(inputs, keras.Operation) and not hasattr(inputs, "_keras_history"):
        raise bad_value("search_layer: inputs", type(inputs).__name__, "a Keras tensor, or a layer that was called")
    seen = set() if exclude_from is None else exclude_from
    waiting = [inputs if isinstance(inputs, keras.Operation) else inputs._keras_history.operation]
    while waiting:
        layer = waiting.pop()
        if layer.name == name:
            return layer
        if layer in seen:
            continue
        seen.add(layer)
        waiting.extend(getattr(layer, "layers", ()))
        for node in layer._inbound_nodes:
            waiting.extend(tensor._keras_history.operation for tensor in node.input_tensors)
    return None


def recompute_grad(call):
    """Decorator of a layer's ``call``: compute its activations again in the backward pass instead of keeping them.

    bert4keras' name. For whole models ``build_transformer_model(..., remat=True)`` or ``keras.RematScope`` are simpler.
    """

    @functools.wraps(call)
    def recomputing(self, inputs, *args, **kwargs):
        if any(isinstance(leaf, keras.KerasTensor) for leaf in keras.tree.flatten(inputs)):
            return call(self, inputs, *args, **kwargs)
        run, floats = of_floats(lambda x: call(self, x, *args, **kwargs), (inputs,))
        return keras.remat(run)(*floats)

    return recomputing


def get_available_gpus():
    """Names of the GPUs that the backend sees.

    >>> isinstance(get_available_gpus(), list)
    True
    """
    if keras.config.backend() == "torch":  # of whose devices Keras has no list
        torch = require("torch", "torch", "keras_su.backend.get_available_gpus")
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [name for name in keras.distribution.list_devices() if name.startswith(("gpu", "cuda"))]


def symbolic(function):
    """The function itself; Keras 3 does not tell graph and eager functions apart."""
    return function


graph_mode_decorator = symbolic
