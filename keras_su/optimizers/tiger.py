"""Tiger: a sign optimizer with the least memory, also while it accumulates gradients."""

from keras import ops

from keras_su.ops.sequence import root_mean_square
from keras_su.optimizers.accumulation import positive
from keras_su.optimizers.base import Optimizer, dense, matches, path_of, run_when, slots, wide
from keras_su.optimizers.schedules import piecewise_linear, read_schedule
from keras_su.registration import register


@register
class Tiger(Optimizer):
    """Tiger (Su, kexue.fm/archives/9512): the sign of the momentum, with rates relative to the size of each variable.

    Args:
        learning_rate: number, schedule or function; relative, 1e-3 suits most models.
        beta: momentum of the mean of the gradients.
        weight_decay: strength of the decoupled decay.
        grad_accum_steps: batches for each update. The momentum itself collects them, so this costs no memory.
        lr_schedule: ``{update: factor}`` as for ``piecewise_linear``.
        shrink_ratio: a variable whose gradient is not finite takes no step but moves toward its start by ``1 - shrink_ratio``.
        **kwargs: those of ``keras.optimizers.Optimizer``. Clipping is applied to each batch.

    The rate is multiplied by the root mean square of the variable, for embeddings row by row. Paths with bias, beta or gamma get
    half the rate as it is, and no decay; the start of a gamma is one, that of everything else zero. Schedules and ``iterations``
    count updates.

    >>> import keras
    >>> weight = keras.Variable([4.0, 4.0])
    >>> Tiger(0.25, weight_decay=0).apply([ops.convert_to_tensor([3.0, -3.0])], [weight])
    >>> weight.numpy().tolist()
    [3.0, 5.0]
    """

    def __init__(
        self,
        learning_rate=1e-3,
        beta=0.965,
        weight_decay=0.01,
        grad_accum_steps=1,
        lr_schedule=None,
        shrink_ratio=0.99,
        **kwargs,
    ):
        # Not Keras' decay, which knows no exceptions.
        super().__init__(learning_rate, weight_decay=None, **kwargs)
        self.beta = beta
        self.decay_rate = weight_decay
        self.grad_accum_steps = positive("Tiger: grad_accum_steps", grad_accum_steps)
        self._schedule = sorted(read_schedule({0: 1} if lr_schedule is None else lr_schedule).items())
        self.shrink_ratio = shrink_ratio

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._momentum = slots(self, variables, "momentum")
        self._batches = self.add_variable((), dtype="int", name="batches_in_momentum")

    def apply(self, grads, trainable_variables=None):
        if self.grad_accum_steps == 1 or len(grads) == 0:
            super().apply(grads, trainable_variables)
            return
        if not self.built:
            self.build(list(trainable_variables))
        variables = list(self._trainable_variables if trainable_variables is None else trainable_variables)
        self._check_variables_are_known(variables)
        grads = [None if gradient is None else dense(gradient, variable.shape) for gradient, variable in zip(grads, variables)]
        scale = self.loss_scale_factor or 1
        unscaled = [None if gradient is None else gradient / scale for gradient in grads]
        full, update = ops.equal(self._batches, self.grad_accum_steps - 1), super().apply
        for gradient, variable in zip(self._clip_gradients(unscaled), variables):
            if gradient is not None and self._momentum[self._get_variable_index(variable)] is not None:
                self._collect(gradient, variable)
                stays = ops.logical_or(full, _finite(gradient))
                weights = ops.cast(variable, wide(variable.dtype))
                shrunk = weights + self._shrinking(weights, variable)
                variable.assign(ops.cast(ops.where(stays, weights, shrunk), variable.dtype))
        run_when(full, [*self.variables, *self._trainable_variables], lambda: update(grads, variables))
        self._batches.assign((self._batches + 1) % self.grad_accum_steps)

    def _collect(self, gradient, variable):
        """Add the gradient of a batch to the momentum, which decays once for each update."""
        momentum = self._momentum[self._get_variable_index(variable)]
        gradient = ops.cast(gradient, momentum.dtype)
        finite = _finite(gradient)
        begins = ops.logical_and(finite, ops.equal(self._batches, 0))
        added = (1 - self.beta) / self.grad_accum_steps * ops.where(finite, gradient, 0.0)
        self.assign(momentum, ops.where(begins, self.beta, 1.0) * momentum + added)

    def _shrinking(self, weights, variable):
        """The step toward the start."""
        start = 1.0 if "gamma" in self._path(variable) else 0.0
        return (self.shrink_ratio - 1) * (weights - start)

    def _path(self, variable):
        return path_of(self._trainable_variables[self._get_variable_index(variable)])

    def update_step(self, gradient, variable, learning_rate):
        gradient = dense(gradient, variable.shape)
        if self.grad_accum_steps == 1:
            self._collect(gradient, variable)
        momentum = self._momentum[self._get_variable_index(variable)]
        weights = ops.cast(variable, wide(variable.dtype))
        factor = piecewise_linear(self.iterations, dict(tuple(point) for point in self._schedule))
        rate, decay = ops.cast(learning_rate, weights.dtype) * ops.cast(factor, weights.dtype), self.decay_rate
        path = self._path(variable)
        if matches(["bias|beta|gamma"], path):
            rate, decay = 0.5 * rate, 0.0
        elif "embeddings" in path:
            rate = rate * root_mean_square(weights, axis=-1, keepdims=True)
        else:
            rate = rate * root_mean_square(weights)
        step = -rate * (ops.sign(momentum) + decay * weights)
        finite = _finite(gradient)
        self.assign_add(variable, ops.where(finite, step, self._shrinking(weights, variable)))

    def get_config(self):
        own = {name: getattr(self, name) for name in ("beta", "grad_accum_steps", "shrink_ratio")}
        schedule = {str(step): factor for step, factor in self._schedule}
        return {**super().get_config(), **own, "weight_decay": self.decay_rate, "lr_schedule": schedule}


def _finite(x):
    return ops.all(ops.isfinite(x))
