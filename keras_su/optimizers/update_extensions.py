"""Extensions that look at a whole update: schedule, lookahead, moving average."""

import keras
from keras import ops

from keras_su.errors import bad_value
from keras_su.optimizers.base import slots
from keras_su.optimizers.extended import Extension
from keras_su.optimizers.schedules import piecewise_linear, read_schedule


class PiecewiseLinearLR(Extension, extension="piecewise_linear_lr"):
    """The learning rate times :func:`~keras_su.optimizers.schedules.piecewise_linear` of the number of updates.

    Args:
        lr_schedule: ``{step: factor}``; begins at (0, 0) if step 0 is not in it.

    ``optimizer.learning_rate`` stays the rate without the schedule, so that callbacks can read and set it.
    """

    def __init__(self, *args, lr_schedule=None, **kwargs):
        super().__init__(*args, **kwargs)
        # As pairs: TensorFlow refuses to keep dictionaries whose keys are numbers.
        self._points = sorted(read_schedule({0: 1} if lr_schedule is None else lr_schedule).items())

    @property
    def lr_schedule(self):
        """``{step: factor}``."""
        return dict(tuple(point) for point in self._points)

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        factor = piecewise_linear(self.iterations, self.lr_schedule)
        super()._backend_update_step(grads, trainable_variables, ops.cast(learning_rate, "float32") * factor)

    def get_config(self):
        return {**super().get_config(), "lr_schedule": {str(step): factor for step, factor in self._points}}


class Lookahead(Extension, extension="lookahead"):
    """Lookahead (arXiv 1907.08610): every few updates, the weights go back to a point on their way from where they last were so.

    Args:
        steps_per_slow_update: updates from one such point to the next, k in the paper.
        slow_step_size: how far along the way that point is, alpha in the paper.

    The slow weights start as the weights are before the first update.
    """

    def __init__(self, *args, steps_per_slow_update=5, slow_step_size=0.5, **kwargs):
        super().__init__(*args, **kwargs)
        if steps_per_slow_update < 1:
            raise bad_value("steps_per_slow_update", steps_per_slow_update, "a positive integer")
        self.steps_per_slow_update = steps_per_slow_update
        self.slow_step_size = slow_step_size

    def build_state(self, variables):
        super().build_state(variables)
        self._slow = slots(self, variables, "slow")

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        pairs = _with_state(self._trainable_variables, self._slow)
        first = ops.equal(self.iterations, 0)
        for variable, slow in pairs:
            slow.assign(ops.where(first, ops.cast(variable, slow.dtype), slow.value))
        super()._backend_update_step(grads, trainable_variables, learning_rate)
        now = ops.equal((self.iterations + 1) % self.steps_per_slow_update, 0)
        for variable, slow in pairs:
            fast = ops.cast(variable, slow.dtype)
            point = slow + self.slow_step_size * (fast - slow)
            slow.assign(ops.where(now, point, slow.value))
            variable.assign(ops.cast(ops.where(now, point, fast), variable.dtype))

    def get_config(self):
        own = {"steps_per_slow_update": self.steps_per_slow_update, "slow_step_size": self.slow_step_size}
        return {**super().get_config(), **own}


class ExponentialMovingAverage(Extension, extension="exponential_moving_average"):
    """A moving average of the weights over updates, to be put into the model and taken out again.

    Args:
        ema_momentum: share of the average that stays at each update.

    The average starts at zero, and :meth:`apply_ema_weights` divides by ``1 - ema_momentum ** updates``, so that early values
    are not favoured.
    """

    def __init__(self, *args, ema_momentum=0.999, **kwargs):
        super().__init__(*args, ema_momentum=ema_momentum, **kwargs)
        self._before = _Backup()

    def build_state(self, variables):
        super().build_state(variables)
        self._average = slots(self, variables, "ema")

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        super()._backend_update_step(grads, trainable_variables, learning_rate)
        # All variables, also those without a gradient: an average that stayed at zero would erase them.
        for variable, average in _with_state(self._trainable_variables, self._average):
            now = ops.cast(variable, average.dtype)
            average.assign(self.ema_momentum * average + (1 - self.ema_momentum) * now)

    def apply_ema_weights(self, bias_correction=True):
        """Put the averages into the model's variables, and remember what was there.

        Args:
            bias_correction: divide by ``1 - ema_momentum ** updates``.

        Before the first update there is no average, and nothing changes.
        """
        updates = int(keras.ops.convert_to_numpy(self.iterations))
        if not self.built or not updates:
            return
        pairs = _with_state(self._trainable_variables, self._average)
        if self._before.values is None:
            self._before.values = [ops.convert_to_numpy(variable) + 0 for variable, _ in pairs]
        scale = 1 - self.ema_momentum**updates if bias_correction else 1.0
        for variable, average in pairs:
            variable.assign(ops.cast(average / scale, variable.dtype))

    def reset_old_weights(self):
        """Put back what :meth:`apply_ema_weights` replaced; nothing happens if it did not."""
        if self._before.values is not None:
            for (variable, _), value in zip(_with_state(self._trainable_variables, self._average), self._before.values):
                variable.assign(value)
            self._before.values = None


class _Backup:
    """Arrays that Keras should neither track nor save."""

    values = None


def _with_state(variables, states):
    """The pairs of variables and their state, without those that need none."""
    return [(variable, state) for variable, state in zip(variables, states) if state is not None]
