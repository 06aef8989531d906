"""Extensions that change the step of a variable: decay, layer adaptation, lazy rows, rates for each parameter."""

import re

from keras import ops

from keras_su.errors import bad_value
from keras_su.optimizers.base import matches, patterns
from keras_su.optimizers.extended import Extension


class WeightDecay(Extension, extension="weight_decay"):
    """Decoupled weight decay (arXiv 1711.05101): the step is diminished by ``learning_rate * weight_decay_rate * weight``.

    Args:
        weight_decay_rate: strength.
        exclude_from_weight_decay: regular expressions for paths of variables that do not decay, such as ``["Norm", "bias"]``.
    """

    def __init__(self, *args, weight_decay_rate=0.01, exclude_from_weight_decay=(), **kwargs):
        super().__init__(*args, **kwargs)
        self.weight_decay_rate = weight_decay_rate
        self._no_decay = patterns("exclude_from_weight_decay", exclude_from_weight_decay)

    def transform(self, step, weights, gradient, learning_rate, path):
        step = super().transform(step, weights, gradient, learning_rate, path)
        if matches(self._no_decay, path):
            return step
        return step - learning_rate * self.weight_decay_rate * weights

    def get_config(self):
        own = {"weight_decay_rate": self.weight_decay_rate, "exclude_from_weight_decay": list(self._no_decay)}
        return {**super().get_config(), **own}


class LayerAdaptation(Extension, extension="layer_adaptation"):
    """The trust ratio of LAMB (arXiv 1904.00962): a step as long as ``learning_rate`` times the length of the variable.

    Args:
        exclude_from_layer_adaptation: regular expressions for paths of variables that keep their step.
    """

    def __init__(self, *args, exclude_from_layer_adaptation=(), **kwargs):
        super().__init__(*args, **kwargs)
        self._not_adapted = patterns("exclude_from_layer_adaptation", exclude_from_layer_adaptation)

    def transform(self, step, weights, gradient, learning_rate, path):
        step = super().transform(step, weights, gradient, learning_rate, path)
        if matches(self._not_adapted, path):
            return step
        size = _norm(weights)
        wanted = _norm(step / ops.maximum(learning_rate, 1e-7))
        usable = ops.logical_and(size > 0, wanted > 0)
        return step * ops.where(usable, size / ops.where(usable, wanted, 1.0), 1.0)

    def get_config(self):
        return {**super().get_config(), "exclude_from_layer_adaptation": list(self._not_adapted)}


def _norm(x):
    return ops.sqrt(ops.sum(ops.square(x)))


class LazyOptimization(Extension, extension="lazy_optimization"):
    """Rows whose gradient is zero stay as they are, though their moments move on; meant for embeddings.

    Args:
        include_in_lazy_optimization: regular expressions for paths of variables that this is applied to.
    """

    def __init__(self, *args, include_in_lazy_optimization=(), **kwargs):
        super().__init__(*args, **kwargs)
        self._lazy = patterns("include_in_lazy_optimization", include_in_lazy_optimization)

    def transform(self, step, weights, gradient, learning_rate, path):
        step = super().transform(step, weights, gradient, learning_rate, path)
        if not matches(self._lazy, path):
            return step
        touched = ops.not_equal(gradient, 0)
        if len(step.shape):
            touched = ops.any(touched, axis=-1, keepdims=True)
        return ops.where(touched, step, 0.0)

    def get_config(self):
        return {**super().get_config(), "include_in_lazy_optimization": list(self._lazy)}


class ParameterWiseLR(Extension, extension="parameter_wise_lr"):
    """A factor for the step of each variable; factors of all patterns that match are multiplied.

    Args:
        paramwise_lr_schedule: ``{pattern: factor}``, the patterns are regular expressions for paths.
    """

    def __init__(self, *args, paramwise_lr_schedule=None, **kwargs):
        super().__init__(*args, **kwargs)
        given = {} if paramwise_lr_schedule is None else paramwise_lr_schedule
        if not isinstance(given, dict):
            raise bad_value("paramwise_lr_schedule", given, "a dictionary {pattern: factor}")
        self._factors = dict(zip(patterns("paramwise_lr_schedule", list(given)), map(float, given.values())))

    def transform(self, step, weights, gradient, learning_rate, path):
        step = super().transform(step, weights, gradient, learning_rate, path)
        for pattern, factor in self._factors.items():
            if re.search(pattern, path):
                step = step * factor
        return step

    def get_config(self):
        return {**super().get_config(), "paramwise_lr_schedule": dict(self._factors)}
