"""Gradient accumulation: several small batches, one update."""

import keras
from keras import ops

from keras_su.errors import KerasSuError, bad_value
from keras_su.optimizers.base import dense, run_when, slots
from keras_su.optimizers.extended import Extension, extend


class GradientAccumulation(Extension, extension="gradient_accumulation"):
    """Gradients are averaged over several batches; then, once, everything else happens that an optimizer does.

    Args:
        grad_accum_steps: batches for each update.

    Clipping, decay, schedules, moving averages and ``iterations`` see updates, not batches. A group that is not full when an
    epoch or a program ends goes on in the next; it is part of the saved state.
    """

    def __init__(self, *args, grad_accum_steps=2, **kwargs):
        super().__init__(*args, **kwargs)
        self._steps_per_update = positive("grad_accum_steps", grad_accum_steps)
        if self.gradient_accumulation_steps:
            both = "grad_accum_steps and gradient_accumulation_steps"
            raise KerasSuError(f"{type(self).__name__}: {both} are two names for the same thing; give one of them.")

    def build_state(self, variables):
        super().build_state(variables)
        self._sums = slots(self, variables, "gradient_sum")
        self._batches_summed = self.add_variable((), dtype="int", name="batches_in_sum")

    def apply(self, grads, trainable_variables=None):
        if len(grads) == 0:
            return
        if not self.built:
            self.build(list(trainable_variables))
        variables = list(self._trainable_variables if trainable_variables is None else trainable_variables)
        self._check_variables_are_known(variables)
        steps = self._steps_per_update
        summed = []
        for gradient, variable in zip(grads, variables):
            total = self._sums[self._get_variable_index(variable)]
            # No sum for what has no gradient, or for what is replaced by its gradient.
            summed.append(None if gradient is None else total)
            if summed[-1] is not None:
                total.assign_add(ops.cast(dense(gradient, variable.shape), total.dtype))

        update_with = super().apply

        def update():
            means = [
                gradient if total is None else ops.cast(total / steps, variable.dtype)
                for gradient, total, variable in zip(grads, summed, variables)
            ]
            update_with(means, variables)
            for total in summed:
                if total is not None:
                    total.assign(ops.zeros(total.shape, total.dtype))

        full = True if steps == 1 else ops.equal(self._batches_summed, steps - 1)
        run_when(full, [*self.variables, *self._trainable_variables], update)
        self._batches_summed.assign((self._batches_summed + 1) % steps)

    def get_config(self):
        return {**super().get_config(), "grad_accum_steps": self._steps_per_update}


def positive(what, count):
    """``count`` if it is a positive integer."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise bad_value(what, count, "a positive integer")
    return count


def AccumOptimizer(optimizer, steps_per_update=1):
    """A new optimizer like ``optimizer`` that makes one update for every ``steps_per_update`` batches.

    Args:
        optimizer: an optimizer that was not used yet, or the name of one.
        steps_per_update: batches for each update.

    Returns:
        An optimizer with all the settings and methods of the one given. See :class:`GradientAccumulation`.

    >>> optimizer = AccumOptimizer(keras.optimizers.SGD(1.0), 2)
    >>> weight = keras.Variable([0.0])
    >>> for gradient in ([1.0], [3.0]):
    ...     optimizer.apply([ops.convert_to_tensor(gradient)], [weight])
    ...     print(weight.numpy(), int(optimizer.iterations))
    [0.] 0
    [-2.] 1
    """
    optimizer = keras.optimizers.get(optimizer)
    if optimizer.built:
        raise KerasSuError(f"{optimizer.name} is in use already, and its state would be lost. Wrap it before the first batch.")
    made = extend(type(optimizer), GradientAccumulation)
    config = {**optimizer.get_config(), "grad_accum_steps": positive("steps_per_update", steps_per_update)}
    config.pop("extended", None)
    wrapped = made.from_config(config)
    # Keras does not write into the configuration what `exclude_from_weight_decay` was told.
    for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
        if hasattr(optimizer, name):
            setattr(wrapped, name, getattr(optimizer, name))
    return wrapped
