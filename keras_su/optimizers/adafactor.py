"""AdaFactor: second moments kept as one row and one column."""

import numpy as np
from keras import ops

from keras_su.ops.sequence import root_mean_square
from keras_su.optimizers.base import Optimizer, dense, matches, path_of, patterns, slots
from keras_su.registration import register


@register
class AdaFactor(Optimizer):
    """AdaFactor (arXiv 1804.04235): Adam's adaptivity with almost no memory for matrices.

    Args:
        learning_rate: number, schedule or function. ``None`` means ``min(1 / sqrt(t), 0.01)``, a twentieth of it when the step is
            not multiplied by the scale of the parameter.
        beta1: momentum of the steps; 0 keeps none and needs no memory.
        beta2: momentum of the mean of the squares; ``None`` means ``1 - t ** -0.8``.
        epsilon1: added to squared gradients and to the second moment.
        epsilon2: least scale of a parameter.
        multiply_by_parameter_scale: multiply steps by the root mean square of the parameter, so that rates are relative.
        clipping_threshold: largest root mean square of a step before rate and scale; ``None`` does not clip.
        min_dim_size_to_factor: factor the two largest axes if both have at least this size.
        exclude_from_parameter_scale: regular expressions for paths of variables whose steps are not scaled.
        **kwargs: those of ``keras.optimizers.Optimizer``.

    A factored ``(n, m)`` matrix has ``n + m`` numbers of state; Adam has ``2 * n * m``.

    >>> import keras
    >>> optimizer = AdaFactor(min_dim_size_to_factor=2)
    >>> optimizer.build([keras.Variable(np.ones((30, 40)))])
    >>> sum(v.numpy().size for v in optimizer.variables if "square" in v.name)
    70
    """

    def __init__(
        self,
        learning_rate=1e-3,
        beta1=0.0,
        beta2=None,
        epsilon1=1e-30,
        epsilon2=1e-3,
        multiply_by_parameter_scale=True,
        clipping_threshold=1.0,
        min_dim_size_to_factor=128,
        exclude_from_parameter_scale=None,
        **kwargs,
    ):
        learning_rate = kwargs.pop("lr", learning_rate)
        super().__init__(self._own_rate if learning_rate is None else learning_rate, **kwargs)
        self._has_own_rate = learning_rate is None
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon1 = epsilon1
        self.epsilon2 = epsilon2
        self.multiply_by_parameter_scale = multiply_by_parameter_scale
        self.clipping_threshold = clipping_threshold
        self.min_dim_size_to_factor = min_dim_size_to_factor
        self.exclude_from_parameter_scale = patterns("AdaFactor: exclude_from_parameter_scale", exclude_from_parameter_scale)

    def _own_rate(self):
        rate = ops.minimum(ops.rsqrt(ops.cast(self.iterations + 1, "float32")), 0.01)
        return rate if self.multiply_by_parameter_scale else 0.05 * rate

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._square = slots(self, variables, "square", lambda shape: None if self._factored_axes(shape) else shape)
        self._rows, self._columns = (
            slots(self, variables, f"square_{i}", lambda shape, i=i: self._without(shape, i)) for i in (0, 1)
        )
        self._momentum = slots(self, variables, "momentum") if self.beta1 else [None] * len(variables)

    def _factored_axes(self, shape):
        """The largest axis and the second largest, or ``None`` if a variable is kept whole."""
        if len(shape) < 2:
            return None
        second, first = (int(axis) for axis in np.argsort(shape, kind="stable")[-2:])
        return (first, second) if shape[second] >= self.min_dim_size_to_factor else None

    def _without(self, shape, which):
        """The shape after the mean over one of the factored axes."""
        axes = self._factored_axes(shape)
        return axes and tuple(1 if axis == axes[which] else size for axis, size in enumerate(shape))

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        step = self._normalised(gradient, variable, index)
        if self.clipping_threshold is not None:
            step = step / ops.maximum(1.0, root_mean_square(step) / self.clipping_threshold)
        if self.beta1:
            step = self.beta1 * self._momentum[index] + (1 - self.beta1) * step
            self.assign(self._momentum[index], step)
        path = path_of(self._trainable_variables[index])
        if self.multiply_by_parameter_scale and not matches(self.exclude_from_parameter_scale, path):
            step = step * ops.maximum(root_mean_square(ops.cast(variable, step.dtype)), self.epsilon2)
        self.assign_sub(variable, ops.cast(learning_rate, step.dtype) * step)

    def _normalised(self, gradient, variable, index):
        """The gradient divided by the root of its second moment, which is updated."""
        kept = self._rows[index] if self._square[index] is None else self._square[index]
        gradient = ops.cast(dense(gradient, variable.shape), kept.dtype)
        square = ops.square(gradient) + self.epsilon1
        t = ops.cast(self.iterations + 1, kept.dtype)
        beta2 = 1 - ops.power(t, -0.8) if self.beta2 is None else self.beta2
        axes = self._factored_axes(tuple(variable.shape))
        if axes is None:
            square = beta2 * kept + (1 - beta2) * square
            self.assign(kept, square)
        else:
            rows, columns = self._rows[index], self._columns[index]
            row_means = beta2 * rows + (1 - beta2) * ops.mean(square, axis=axes[0], keepdims=True)
            column_means = beta2 * columns + (1 - beta2) * ops.mean(square, axis=axes[1], keepdims=True)
            self.assign(rows, row_means)
            self.assign(columns, column_means)
            # In this order: the product of two tiny means would be zero.
            square = row_means / ops.mean(row_means, axis=axes[1], keepdims=True) * column_means
        return gradient / ops.sqrt(square + self.epsilon1)

    def get_config(self):
        names = "beta1 beta2 epsilon1 epsilon2 multiply_by_parameter_scale clipping_threshold min_dim_size_to_factor".split()
        config = {**super().get_config(), **{name: getattr(self, name) for name in names}}
        config["exclude_from_parameter_scale"] = list(self.exclude_from_parameter_scale)
        if self._has_own_rate:
            config["learning_rate"] = None
        return config
