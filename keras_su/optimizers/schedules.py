"""Learning rates: piecewise linear in time, geometric in depth."""

import keras
from keras import ops

from keras_su.errors import bad_value
from keras_su.registration import register


def piecewise_linear(t, schedule, from_zero=True):
    """The value at ``t`` of the line through the points of a schedule, flat after the last.

    Args:
        t: number or tensor of steps.
        schedule: ``{step: value}``. ``{1000: 1, 2000: 0.1}`` rises from 0 to 1 in 1000 steps, falls to 0.1 in the next 1000, and
            stays there.
        from_zero: begin at (0, 0) if the schedule does not say otherwise; ``False`` is flat before the first point.

    Returns:
        A float32 tensor of the shape of ``t``.

    >>> [round(float(piecewise_linear(t, {10: 1.0, 20: 0.1})), 2) for t in (0, 5, 10, 15, 20, 99)]
    [0.0, 0.5, 1.0, 0.55, 0.1, 0.1]
    """
    points = sorted(read_schedule(schedule).items())
    if from_zero and points[0][0] != 0:
        points.insert(0, (0, 0.0))
    t = ops.cast(t, "float32")
    value = ops.full(ops.shape(t), float(points[0][1]), dtype="float32")
    for (start, low), (end, high) in zip(points, points[1:]):
        part = ops.minimum((t - start) / (end - start), 1.0)
        value = ops.where(t > start, (1 - part) * low + part * high, value)
    return value


def read_schedule(schedule):
    """``{step: value}`` with whole numbers as steps, which JSON turns into text."""
    try:
        read = {int(step): float(value) for step, value in schedule.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise bad_value("schedule", schedule, "a dictionary {step: value}") from error
    if not read or min(read) < 0:
        raise bad_value("schedule", schedule, "a dictionary {step: value} with at least one step, none negative")
    return read


@register
class PiecewiseLinear(keras.optimizers.schedules.LearningRateSchedule):
    """:func:`piecewise_linear` as a schedule for any Keras optimizer.

    Args:
        learning_rate: multiplied with the values of the schedule.
        schedule: ``{step: factor}``.
        from_zero: begin at (0, 0) if the schedule does not say otherwise.

    >>> round(float(PiecewiseLinear(2e-5, {10: 1, 20: 0})(5)) * 1e5, 3)
    1.0
    """

    def __init__(self, learning_rate, schedule, from_zero=True):
        super().__init__()
        self.learning_rate = learning_rate
        self.schedule = read_schedule(schedule)
        self.from_zero = from_zero

    def __call__(self, step):
        return self.learning_rate * piecewise_linear(step, self.schedule, self.from_zero)

    def get_config(self):
        schedule = {str(step): value for step, value in self.schedule.items()}
        return {"learning_rate": self.learning_rate, "schedule": schedule, "from_zero": self.from_zero}


def layerwise_lr_schedule(num_hidden_layers, decay=0.9):
    """Factors for ``extend_with_parameter_wise_lr`` that shrink from the head of a model down to its embeddings.

    Args:
        num_hidden_layers: number of blocks, ``Transformer-0-...`` first.
        decay: factor from each layer to the one below it. What stands above the blocks keeps its rate.

    Returns:
        ``{pattern: factor}``; a path matches at most one pattern.

    >>> layerwise_lr_schedule(2, 0.5)
    {'(^|/|-)Embedding-': 0.125, '(^|/|-)Transformer-0-': 0.25, '(^|/|-)Transformer-1-': 0.5}
    """
    if not decay > 0:
        raise bad_value("layerwise_lr_schedule: decay", decay, "a positive number")
    names = ["Embedding-", *(f"Transformer-{i}-" for i in range(num_hidden_layers))]
    return {f"(^|/|-){name}": decay ** (len(names) - i) for i, name in enumerate(names)}
