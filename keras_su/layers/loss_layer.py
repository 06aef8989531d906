"""A loss inside of a model, for what a function of labels and predictions cannot express."""

from types import SimpleNamespace

import keras
from keras import ops

from keras_su.errors import KerasSuError, bad_value
from keras_su.layers.base import Layer
from keras_su.layers.step_values import StepValues, is_shown


class Loss(Layer):
    """A layer that adds a loss to the model and returns (some of) its inputs.

    Subclass it, override :meth:`compute_loss`, give it all that the loss needs, labels included, and compile without a loss::

        class CrossEntropy(Loss):
            def compute_loss(self, inputs, mask=None):
                labels, predictions = inputs
                loss = keras.losses.sparse_categorical_crossentropy(labels, predictions)
                self.add_metric(keras.metrics.sparse_categorical_accuracy(labels, predictions), name="accuracy")
                return ops.mean(loss)

        outputs = CrossEntropy(output_axis=1)([labels, model.output])
        trained = keras.Model([*model.inputs, labels], outputs)
        trained.compile("adam")

    All inputs, ids included, come to :meth:`compute_loss` in float32, as in bert4keras, so that ``loss * segment_ids`` needs no
    cast; they leave the layer as they came. To load a saved model, hand over the subclass in ``custom_objects``.

    Args:
        output_axis: which of the inputs to return: a number, a list of numbers, or ``None`` for all of them.
    """

    def __init__(self, output_axis=None, **kwargs):
        super().__init__(autocast=False, **kwargs)
        if not isinstance(output_axis, (int, list, tuple, type(None))):
            raise bad_value(f"{self.name}: output_axis", output_axis, "a number, a list of numbers, or None")
        self.output_axis = output_axis if output_axis is None or isinstance(output_axis, int) else list(output_axis)
        # Metrics are met while the layer is called, when Keras takes no more of them as attributes.
        self._reported = SimpleNamespace(metrics={})

    def compute_loss(self, inputs, mask=None):
        """The loss: a scalar, or a tensor whose mean is taken.

        Args:
            inputs: what the layer was called with, in float32.
            mask: for a list of inputs, the list of their masks, ``None`` where an input has none; otherwise its mask or ``None``.
        """
        raise NotImplementedError(f"{type(self).__name__}: override compute_loss(self, inputs, mask=None).")

    def add_metric(self, value, name=None, aggregation=None):
        """Show a number in the progress and the history of ``fit`` and ``evaluate``; call it in :meth:`compute_loss`.

        Args:
            value: a tensor; its mean is taken. What is shown is the mean over the batches of the epoch.
            name: of the metric; default is that of the layer.
            aggregation: ``"mean"`` or ``None``, which mean the same here.
        """
        if aggregation not in (None, "mean"):
            raise bad_value(f"{self.name}: aggregation", aggregation, "'mean' or None")
        name = name or self.name
        metrics = self._reported.metrics
        if name not in metrics:
            metrics[name] = _BatchMean(name=name, dtype="float32")
        metrics[name].note(ops.stop_gradient(ops.mean(ops.cast(value, "float32"))))

    @property
    def metrics(self):
        return [*super().metrics, *self._reported.metrics.values()]

    def call(self, inputs, mask=None):
        loss = self.compute_loss(keras.tree.map_structure(lambda x: ops.cast(x, "float32"), inputs), mask)
        if loss is None:
            raise KerasSuError(f"{self.name}: compute_loss returned None, expected the loss.")
        self.add_loss(ops.mean(loss))
        return self._chosen(inputs)

    def _chosen(self, items):
        if self.output_axis is None or items is None:
            return items
        return [items[i] for i in self.output_axis] if isinstance(self.output_axis, list) else items[self.output_axis]

    def compute_mask(self, inputs, mask=None):
        return self._chosen(mask)

    def compute_output_spec(self, inputs, mask=None):
        # The trial tells which metrics there are. Losses may compare every second row with the next: so an even number of rows.
        def few_rows(x):
            return (
                x if x is None else keras.KerasTensor([2 if n == 0 and d is None else d for n, d in enumerate(x.shape)], x.dtype)
            )

        super().compute_output_spec(*keras.tree.map_structure(few_rows, (inputs, mask), none_is_leaf=True))
        return keras.tree.map_structure(lambda x: keras.KerasTensor(x.shape, x.dtype), self._chosen(inputs))

    def rematerialized_call(self, layer_call, *args, **kwargs):
        # A loss leaves the layer beside its outputs, which is not possible for what is to be computed again later.
        return layer_call


class _BatchMean(keras.metrics.Mean):
    """The mean of what is noted, also where a layer cannot reach the state of a metric."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._later = StepValues()

    def note(self, value):
        if is_shown(self.total):
            self.update_state(value)
        else:
            self._later.add(value)

    def result(self):
        if is_shown(self.total):
            for value in self._later.get():
                self.update_state(value)
            self._later.clear()
        return super().result()

    def reset_state(self):
        self._later.clear()
        super().reset_state()
