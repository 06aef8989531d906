"""Where in a model something is added: to weights, or to what a layer returns."""

import contextlib

import keras
from keras import ops

from keras_su.errors import KerasSuError, listing, unknown_name

PARAMETERS = "parameters"
TARGETS = ("matrix", "activations")


def place_in(model, name, target):
    """The place that a user means.

    Args:
        model: a built ``keras.Model``.
        name: of a layer, at any depth; or ``"parameters"``, all trainable weights.
        target: ``"matrix"``, the layer's table, or ``"activations"``, what it returns.
    """
    if target not in TARGETS:
        raise unknown_name("target", target, TARGETS)
    if name == PARAMETERS:
        if not model.trainable_variables:
            raise KerasSuError(f"{model.name!r} has no trainable weights. If it is not built yet, call it on a batch first.")
        return Weights(model.trainable_variables)
    layer = find_layer(model, name)
    return Weights([_matrix(layer)]) if target == "matrix" else Activations(layer)


def find_layer(model, name):
    """The layer of that name in a model or in the models inside it."""
    known = dict(_named_layers(model))
    if name not in known:
        raise unknown_name(f"layer of {model.name!r}", name, known)
    return known[name]


def _named_layers(model):
    for layer in model.layers:
        yield layer.name, layer
        if isinstance(layer, keras.Model):
            yield from _named_layers(layer)


def _matrix(layer):
    weights = [v for v in layer.weights if v.name == "embeddings"] or layer.weights
    if len(weights) != 1:
        names = listing([v.name for v in weights]) or "none"
        raise KerasSuError(
            f"target='matrix' needs a layer with one matrix, such as an embedding; the weights of {layer.name!r}: {names}. "
            "target='activations' takes every layer."
        )
    return weights[0]


class Weights:
    """Variables. Their offsets have one norm together."""

    def __init__(self, variables):
        self.variables = variables

    def zeros(self, run):
        """Offsets that change nothing."""
        return [ops.zeros(v.shape, dtype=_wide(v.dtype)) for v in self.variables]

    @contextlib.contextmanager
    def shifted(self, values, offsets):
        """Add offsets to ``values``, the dictionary from the ids of variables to their tensors."""
        moved = {id(v): values[id(v)] + ops.cast(offset, v.dtype) for v, offset in zip(self.variables, offsets)}
        yield {**values, **moved}

    def norm(self, offsets):
        """Euclidean norm, in a form that can multiply each of the offsets."""
        squares = [ops.sum(ops.square(ops.cast(x, "float32"))) for x in offsets]
        return [ops.sqrt(sum(squares[1:], squares[0]))] * len(offsets)


class Activations:
    """What a layer returns. The offsets of each row of the batch have a norm of their own."""

    def __init__(self, layer):
        self.layer = layer

    def zeros(self, run):
        """Offsets that change nothing. ``run()`` shows the shapes; compiled, nothing of it is left but the layer itself."""
        seen, _ = self.seen(run)
        return [ops.zeros(ops.shape(x), dtype=_wide(x.dtype)) for x in seen]

    def seen(self, run):
        """What the layer returned, call by call, while ``run()`` ran, and what that returned."""
        outputs = []

        def record(output):
            outputs.append(output)
            return output

        with changed_outputs(self.layer, record):
            result = run()
        if not outputs:
            raise KerasSuError(f"The model was run, but its layer {self.layer.name!r} was not called.")
        return outputs, result

    @contextlib.contextmanager
    def shifted(self, values, offsets):
        """Add offsets to what the layer returns: the first to that of its first call, and so on."""
        offsets = iter(offsets)
        with changed_outputs(self.layer, lambda output: output + ops.cast(next(offsets), output.dtype)):
            yield values

    def norm(self, offsets):
        norms = []
        for x in offsets:
            axes = tuple(range(1, len(x.shape)))
            norms.append(ops.sqrt(ops.sum(ops.square(ops.cast(x, "float32")), axis=axes, keepdims=True)))
        return norms


@contextlib.contextmanager
def changed_outputs(layer, change):
    """A scope in which a layer returns ``change(output)``. An embedding that is called as an output layer stays as it is."""
    call, before = layer.call, vars(layer).get("call")

    def changed_call(*args, **kwargs):
        output = call(*args, **kwargs)
        return output if kwargs.get("mode") == "dense" or kwargs.get("reverse") else change(output)

    # In the object's own dictionary: Keras, which runs `layer.call`, keeps track of masks, dtypes and the training flag as ever.
    vars(layer)["call"] = changed_call
    try:
        yield
    finally:
        del vars(layer)["call"]
        if before is not None:
            vars(layer)["call"] = before


def _wide(dtype):
    return keras.backend.result_type(dtype, "float32")
