"""Optimizers of the bert4keras tradition, and functions that extend any Keras optimizer class."""

import keras

from keras_su.optimizers.accumulation import AccumOptimizer, GradientAccumulation
from keras_su.optimizers.adafactor import AdaFactor
from keras_su.optimizers.adam import Adam, Lion
from keras_su.optimizers.extended import extend
from keras_su.optimizers.schedules import PiecewiseLinear, layerwise_lr_schedule, piecewise_linear
from keras_su.optimizers.step_extensions import LayerAdaptation, LazyOptimization, ParameterWiseLR, WeightDecay
from keras_su.optimizers.tiger import Tiger
from keras_su.optimizers.update_extensions import ExponentialMovingAverage, Lookahead, PiecewiseLinearLR


def extend_with_weight_decay(BaseOptimizer, name=None):
    """A class with ``weight_decay_rate=0.01, exclude_from_weight_decay=()``; see :class:`WeightDecay`.

    Args:
        BaseOptimizer: any class of optimizers that computes steps itself, of Keras or yours.
        name: name of the class that is returned.

    >>> optimizer = extend_with_weight_decay(keras.optimizers.SGD)(0.1, weight_decay_rate=0.5)
    >>> weight = keras.Variable([2.0])
    >>> optimizer.apply([keras.ops.zeros(1)], [weight])
    >>> round(float(weight.numpy()[0]), 3)
    1.9
    """
    return extend(BaseOptimizer, WeightDecay, name)


def extend_with_layer_adaptation(BaseOptimizer, name=None):
    """A class with ``exclude_from_layer_adaptation=()``; see :class:`LayerAdaptation`."""
    return extend(BaseOptimizer, LayerAdaptation, name)


def extend_with_piecewise_linear_lr(BaseOptimizer, name=None):
    """A class with ``lr_schedule={0: 1}``; see :class:`PiecewiseLinearLR`."""
    return extend(BaseOptimizer, PiecewiseLinearLR, name)


def extend_with_gradient_accumulation(BaseOptimizer, name=None):
    """A class with ``grad_accum_steps=2``; see :class:`GradientAccumulation`."""
    return extend(BaseOptimizer, GradientAccumulation, name)


def extend_with_lookahead(BaseOptimizer, name=None):
    """A class with ``steps_per_slow_update=5, slow_step_size=0.5``; see :class:`Lookahead`."""
    return extend(BaseOptimizer, Lookahead, name)


def extend_with_lazy_optimization(BaseOptimizer, name=None):
    """A class with ``include_in_lazy_optimization=()``; see :class:`LazyOptimization`."""
    return extend(BaseOptimizer, LazyOptimization, name)


def extend_with_exponential_moving_average(BaseOptimizer, name=None):
    """A class with ``ema_momentum=0.999``, ``apply_ema_weights()`` and more; see :class:`ExponentialMovingAverage`."""
    return extend(BaseOptimizer, ExponentialMovingAverage, name)


def extend_with_parameter_wise_lr(BaseOptimizer, name=None):
    """A class with ``paramwise_lr_schedule={}``; see :class:`ParameterWiseLR`."""
    return extend(BaseOptimizer, ParameterWiseLR, name)


def export_to_custom_objects(base_extend_with):
    """Decorator of bert4keras for own functions ``extend_with_...(BaseOptimizer)``.

    They get the argument ``name``, and Keras finds the class they return under that name when it loads a file.
    """

    def extend_with(BaseOptimizer, name=None):
        made = base_extend_with(BaseOptimizer)
        made.__name__ = name or made.__name__
        keras.saving.get_custom_objects()[made.__name__] = made
        return made

    return extend_with


AdamW = extend_with_weight_decay(Adam, name="AdamW")
LAMB = extend_with_layer_adaptation(AdamW, name="LAMB")

# Other names that bert4keras has for the same.
AdaFactorBase = AdaFactorV1 = AdaFactorV2 = AdaFactor
LionV2 = Lion
custom_objects = keras.saving.get_custom_objects()
extend_with_weight_decay_v2 = extend_with_weight_decay
extend_with_layer_adaptation_v2 = extend_with_layer_adaptation
extend_with_piecewise_linear_lr_v2 = extend_with_piecewise_linear_lr
extend_with_gradient_accumulation_v2 = extend_with_gradient_accumulation
extend_with_lookahead_v2 = extend_with_lookahead
extend_with_lazy_optimization_v2 = extend_with_lazy_optimization
extend_with_exponential_moving_average_v2 = extend_with_exponential_moving_average
extend_with_parameter_wise_lr_v2 = extend_with_parameter_wise_lr

__all__ = [
    "LAMB",
    "AccumOptimizer",
    "AdaFactor",
    "AdaFactorBase",
    "AdaFactorV1",
    "AdaFactorV2",
    "Adam",
    "AdamW",
    "Lion",
    "LionV2",
    "PiecewiseLinear",
    "Tiger",
    "custom_objects",
    "export_to_custom_objects",
    "extend_with_exponential_moving_average",
    "extend_with_exponential_moving_average_v2",
    "extend_with_gradient_accumulation",
    "extend_with_gradient_accumulation_v2",
    "extend_with_layer_adaptation",
    "extend_with_layer_adaptation_v2",
    "extend_with_lazy_optimization",
    "extend_with_lazy_optimization_v2",
    "extend_with_lookahead",
    "extend_with_lookahead_v2",
    "extend_with_parameter_wise_lr",
    "extend_with_parameter_wise_lr_v2",
    "extend_with_piecewise_linear_lr",
    "extend_with_piecewise_linear_lr_v2",
    "extend_with_weight_decay",
    "extend_with_weight_decay_v2",
    "layerwise_lr_schedule",
    "piecewise_linear",
]
