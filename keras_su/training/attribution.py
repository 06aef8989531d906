"""Which token made the model say that: gradients at a layer, and integrated along a path (arXiv 1703.01365)."""

import inspect

import keras
import numpy as np
from keras import ops

from keras_su.errors import KerasSuError, bad_value
from keras_su.training.gradients import value_and_grad, without_gradients
from keras_su.training.places import Activations, find_layer


def gradients_of_layer(model, name, inputs, output=None):
    """Gradients of an output with respect to what a layer returns.

    Args:
        model: a ``keras.Model``; it runs without dropout.
        name: of the layer, at any depth.
        inputs: of the model, arrays.
        output: which number of each row is differentiated: the index of a class, one index per row, or a function of the outputs;
            ``None`` is the largest output of each row.

    Returns:
        Numpy array of the layer's output shape, e.g. ``(batch, length, width)``.

    Raises:
        KerasSuError: no such layer; the model calls it several times, or not at all.

    >>> layers = [keras.layers.Identity(name="x"), keras.layers.Dense(1, kernel_initializer="ones")]
    >>> model = keras.Sequential([keras.Input((2,)), *layers])
    >>> gradients_of_layer(model, "x", np.array([[1.0, 2.0]])).tolist()
    [[1.0, 1.0]]
    """
    probe = _Probe(model, name, inputs, output)
    return ops.convert_to_numpy(probe.gradient(ops.zeros_like(probe.activations)))


def integrated_gradients(model, inputs, output=None, layer="Embedding-Token", steps=20, baseline=None, return_outputs=False):
    """How much each token contributed to an output.

    The gradients at a layer are integrated along the straight line from ``baseline`` to what the layer returns, and multiplied by
    that difference. The scores of a text add up to ``output(text) - output(baseline)``, as exactly as the integral is computed.
    Points and weights are those of Gauss and Legendre: for smooth models 20 are as good as hundreds in equal distances.

    Args:
        model, inputs, output: as in :func:`gradients_of_layer`. With ``output=None`` it is the class of the unchanged text that
            is followed.
        layer: name of the embedding layer.
        steps: number of points on the line, one forward and backward pass each.
        baseline: where the line begins: an array that broadcasts to what the layer returns; ``None`` is zero.
        return_outputs: also return what the model says at both ends.

    Returns:
        Numpy array ``(batch, length)``; or three arrays, the last two ``(batch,)``: the output for the texts, and at the
        baseline.

    Raises:
        KerasSuError: as in :func:`gradients_of_layer`; ``steps`` is not a positive integer.

    >>> embedding = keras.layers.Embedding(9, 4, name="Embedding-Token")
    >>> model = keras.Sequential([keras.Input((1,)), embedding, keras.layers.Flatten()])
    >>> scores, there, start = integrated_gradients(model, np.array([[3]]), 0, return_outputs=True)
    >>> scores.shape, bool(np.allclose(scores.sum(axis=1), there - start))
    ((1, 1), True)
    """
    if not isinstance(steps, int) or steps < 1:
        raise bad_value("steps", steps, "a positive integer")
    probe = _Probe(model, layer, inputs, output)
    difference = probe.activations if baseline is None else probe.activations - ops.cast(baseline, "float32")
    points, weights = np.polynomial.legendre.leggauss(steps)  # on the line from -1 to 1
    mean = ops.zeros_like(difference)
    for point, weight in zip(points, weights):
        mean = mean + float(weight / 2) * probe.gradient(float((point - 1) / 2) * difference)
    scores = ops.convert_to_numpy(ops.sum(mean * difference, axis=-1))
    if not return_outputs:
        return scores
    with without_gradients():
        ends = [ops.convert_to_numpy(probe.outputs(offset)) for offset in (ops.zeros_like(difference), -difference)]
    return scores, *ends


class _Probe:
    """A model and its inputs, run again and again with something added to what one layer returns.

    Attributes:
        activations: float32, what the layer returns for the inputs.
    """

    def __init__(self, model, name, inputs, output):
        self._place = Activations(find_layer(model, name))
        self._inputs = keras.tree.map_structure(ops.convert_to_tensor, inputs)
        self._model = model
        self._mode = {"training": False} if "training" in inspect.signature(model.call).parameters else {}
        with without_gradients():
            seen, outputs = self._place.seen(self._run)
        if len(seen) > 1:
            raise KerasSuError(
                f"{model.name!r} calls its layer {name!r} {len(seen)} times; attributions are for layers called once."
            )
        self.activations = ops.cast(seen[0], "float32")
        self._select = output if callable(output) else _selection(outputs, output)

    def _run(self):
        return self._model(self._inputs, **self._mode)

    def outputs(self, offset):
        """The selected outputs ``(batch,)`` with ``offset`` added."""
        with self._place.shifted(None, [offset]):
            return ops.cast(self._select(self._run()), "float32")

    def gradient(self, offset):
        """Their gradient with respect to the offset, which is that with respect to what the layer returns."""
        return value_and_grad(lambda x: ops.sum(self.outputs(x)), offset, differentiable=False)[1]


def _selection(outputs, index):
    """A function that picks one number of each row of the outputs."""
    if isinstance(outputs, (list, tuple, dict)) or len(outputs.shape) != 2:
        shapes = [tuple(x.shape) for x in keras.tree.flatten(outputs)]
        raise KerasSuError(f"The model's outputs have the shapes {shapes}, not (batch, classes): give output=function of them.")
    index = ops.argmax(outputs, axis=-1) if index is None else index
    chosen = ops.broadcast_to(ops.cast(index, "int32"), (outputs.shape[0],))
    if int(ops.max(chosen)) >= outputs.shape[1] or int(ops.min(chosen)) < 0:
        raise bad_value("output", ops.convert_to_numpy(index).tolist(), f"an index from 0 to {outputs.shape[1] - 1}")
    return lambda outputs: ops.take_along_axis(outputs, chosen[:, None], axis=-1)[:, 0]
