"""How one compiled model comes to train in another way: its loss is replaced, the rest of its training step stays Keras'."""

import inspect
from contextlib import nullcontext
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_su.errors import KerasSuError
from keras_su.training.gradients import rewinder, value_and_grad, without_gradients


class Pass(NamedTuple):
    """What came out of a model, once.

    Attributes:
        loss: scalar, that of ``compile`` and of ``add_loss``, regularizers included.
        outputs: the model's outputs.
        state: values of ``Batch.variables`` afterwards (statistics, seeds, metrics).
    """

    loss: Any
    outputs: Any
    state: Any


class Batch:
    """A batch that can be sent through a model as often as needed.

    Passes leave no trace: weights, statistics and random numbers are for each what they were for the first, so that dropout is
    the same in all of them. Offsets can be added at one place of the model.

    Args:
        model: compiled model.
        place: from :mod:`keras_su.training.places`.
        x, y, sample_weight: as ``train_step`` gets them.
        weights: tensors of the trainable variables.
    """

    def __init__(self, model, place, x, y, sample_weight, weights):
        self.model = model
        self.place = place
        self._data = {"x": x, "y": y, "sample_weight": sample_weight}
        self.variables = list({id(v): v for v in [*model.variables, *model.metrics_variables]}.values())
        given = dict(zip(map(id, model.trainable_variables), weights))
        self._values = {id(v): given.get(id(v), v.value) for v in self.variables}
        self._constants = {key: ops.stop_gradient(value) for key, value in self._values.items()}
        self._rewind = rewinder()
        self._training = {"training": True} if "training" in inspect.signature(model.call).parameters else {}
        self._scale = model.optimizer.scale_loss(ops.ones((), dtype="float32"))

    def forward(self, offsets=(), learn=True):
        """One :class:`Pass` in training mode.

        Args:
            offsets: what is added at the place.
            learn: ``False`` where the weights shall not learn from this pass: it can be differentiated by the offsets only.
        """
        self._rewind()
        values = self._values if learn else self._constants
        with self.place.shifted(values, offsets) if offsets else nullcontext(values) as values:
            mapping = [(v, values[id(v)]) for v in self.variables]
            with keras.StatelessScope(mapping, collect_losses=True, initialize_variables=False) as scope:
                outputs = self.model(self._data["x"], **self._training)
                loss = self.model.compute_loss(**self._data, y_pred=outputs, training=True)
        return Pass(loss, outputs, [scope.get_current_value(v) for v in self.variables])

    def no_offsets(self):
        """Offsets that change nothing."""
        with without_gradients():
            return self.place.zeros(lambda: self.forward(learn=False))

    def gradients(self, function, offsets, differentiable=False):
        """Value, aux and gradients of a function of offsets.

        Args:
            function: of a list of offsets; returns a scalar and anything made of tensors.
            offsets: where.
            differentiable: whether the gradients are differentiated once more.

        The scalar is scaled meanwhile, as the optimizer wants it, so that small gradients survive 16 bits.
        """

        def scaled(offsets):
            value, aux = function(offsets)
            return value * ops.cast(self._scale, value.dtype), (value, aux)

        (_, (value, aux)), found = value_and_grad(scaled, offsets, has_aux=True, differentiable=differentiable)
        return value, aux, [x / ops.cast(self._scale, x.dtype) for x in found]

    def step(self):
        """Number of the optimizer's step, an integer tensor."""
        return ops.convert_to_tensor(self.model.optimizer.iterations)


class ChangedTraining:
    """A training step that differs from Keras' in the loss.

    Args:
        model: compiled model.
        place: where ``objective`` adds offsets.
        objective: function of a :class:`Batch` that returns a :class:`Pass`, whose loss is minimised and whose outputs the
            metrics see.
    """

    def __init__(self, model, place, objective):
        self.model = model
        self.place = place
        self.objective = objective

    def train_step(self, *arguments):
        """Keras calls it with the data, on JAX with the state and the data."""
        if keras.backend.backend() == "jax":
            return self._stateless_step(*arguments)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(*arguments)
        gradients, result = self._learn(x, y, sample_weight)
        with without_gradients():
            self.model.optimizer.apply(gradients, self.model.trainable_variables)
            return self._logs(result, x, y, sample_weight)

    def _stateless_step(self, state, data):
        model = self.model
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        groups = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables, model.metrics_variables)
        mapping = [pair for group, values in zip(groups, state) for pair in zip(group, values)]
        with keras.StatelessScope(mapping, initialize_variables=False) as scope:
            gradients, result = self._learn(x, y, sample_weight)
            logs = self._logs(result, x, y, sample_weight)
        _, statistics, _, metrics = ([scope.get_current_value(v) for v in group] for group in groups)
        weights, slots = model.optimizer.stateless_apply(state[2], gradients, state[0])
        return logs, (weights, statistics, slots, metrics)

    def _learn(self, x, y, sample_weight):
        """Gradients of the objective, scaled as the optimizer wants them; afterwards statistics and seeds are up to date."""
        model = self.model
        # TensorFlow's trainer makes the variables of losses and metrics when it needs them: here, inside of a scope, too late.
        model._symbolic_build(data_batch=(x, y, sample_weight))
        batches = []

        def scaled_loss(weights):
            batch = Batch(model, self.place, x, y, sample_weight, weights)
            batches.append(batch)
            result = self.objective(batch)
            return model.optimizer.scale_loss(result.loss), result

        (_, result), gradients = value_and_grad(
            scaled_loss, [v.value for v in model.trainable_variables], has_aux=True, differentiable=False
        )
        trainable = set(map(id, model.trainable_variables))
        for variable, value in zip(batches[-1].variables, result.state):
            if id(variable) not in trainable:
                variable.assign(value)
        return gradients, result

    def _logs(self, result, x, y, sample_weight):
        rows = ops.shape(next(leaf for leaf in keras.tree.flatten(x) if leaf is not None))[0]
        self.model.metrics[0].update_state(result.loss, sample_weight=rows)  # the mean loss of the epoch comes first
        return self.model.compute_metrics(x, y, result.outputs, sample_weight)


def change_training(model, place, objective):
    """Let ``model`` train on ``objective`` from now on; returns the model."""
    model.train_step = ChangedTraining(model, place, objective).train_step
    model.train_function = None  # an earlier `fit` may have compiled the ordinary step
    return model


def check_trainable(model):
    """Raise unless the training of ``model`` can be changed."""
    if not getattr(model, "compiled", False) or model.optimizer is None:
        raise KerasSuError(f"{model.name!r} is not compiled: call model.compile(...) first.")
    if is_changed(model):
        raise KerasSuError(f"The training of {model.name!r} was changed before: call plain_training(model) first.")
    if type(model).train_step is not keras.Model.train_step:
        raise KerasSuError(f"{type(model).__name__} has a train_step of its own, which would no longer be called.")
    strategy = getattr(model, "distribute_strategy", None)  # of TensorFlow
    if strategy is not None and strategy.num_replicas_in_sync > 1:
        raise KerasSuError("tf.distribute is not supported here: gradients are needed before replicas are joined.")


def is_changed(model):
    """Whether the training of ``model`` was changed by this package."""
    return isinstance(getattr(model.train_step, "__self__", None), ChangedTraining)


def plain_training(model):
    """Undo :func:`adversarial_training` and its relatives: the model trains as Keras does. Returns the model."""
    if not is_changed(model):
        raise KerasSuError(f"The training of {model.name!r} is Keras' own: there is nothing to undo.")
    del model.train_step
    model.train_function = None
    return model
