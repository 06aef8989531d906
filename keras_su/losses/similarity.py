"""Losses of graded similarity: CoSENT, and a student that learns the cosines of a teacher."""

import keras
from keras import ops

from keras_su.losses.numerics import log_one_plus_sum_exp, unit, wide
from keras_su.losses.pairs import check_layout, split_pairs
from keras_su.registration import register


def cosent(y_true, cosines, scale=20.0, mask=None):
    """``log(1 + sum exp(scale * (cos_j - cos_i)))`` over all i, j of which i is labelled more similar than j.

    Only the order of the labels counts.

    Args:
        y_true: how similar the two texts of a pair are, ``(n,)``, in any unit.
        cosines: of the two vectors of each pair, ``(n,)``.
        scale: factor of the cosines.
        mask: booleans ``(n,)``, ``True`` = the pair counts.

    Returns:
        A scalar in float32 for the whole batch; 0 where no two labels differ.

    >>> round(float(cosent([1, 0], [0.5, 0.4])), 4)
    0.1269

    Reference: https://kexue.fm/archives/8847.
    """
    y_true, cosines = wide(y_true), wide(cosines) * scale
    closer = ops.expand_dims(y_true, 1) > y_true
    if mask is not None:
        mask = ops.cast(mask, "bool")
        closer = ops.logical_and(closer, ops.logical_and(ops.expand_dims(mask, 1), mask))
    difference = cosines - ops.expand_dims(cosines, 1)
    return log_one_plus_sum_exp(ops.reshape(difference, (-1,)), ops.reshape(closer, (-1,)))


def similarity_distillation(teacher, student, scale=100.0):
    """``scale * mean_j (cos(teacher_i, teacher_j) - cos(student_i, student_j))^2`` for each row i of a batch.

    The student may turn all vectors, and have another size. Its mean over the rows is stage 2 of RoFormer-Sim.

    Args:
        teacher: vectors ``(n, size)``. No gradient goes there.
        student: vectors ``(n, another size)``.
        scale: weight beside other losses.

    Returns:
        ``(n,)`` in float32.

    Reference: https://kexue.fm/archives/8454.
    """
    target, found = (ops.matmul(x, ops.transpose(x)) for x in (unit(teacher), unit(student)))
    target = ops.stop_gradient(ops.cast(target, found.dtype))
    return scale * ops.mean(ops.square(found - target), axis=-1)


@register
class CoSENT(keras.losses.Loss):
    """`cosent` for ``compile``.

    Args:
        scale: factor of the cosines.
        layout: what the predictions are: vectors ``(2n, size)`` in pairs, ``"interleaved"`` or ``"concat"`` (see `split_pairs`),
            or ``"cosines"`` ``(n,)``. Labels have the same number of rows; of the two rows of a pair the first one is read.
        **kwargs: those of ``keras.losses.Loss``. The loss belongs to the batch, so weights of samples only scale it.
    """

    def __init__(self, scale=20.0, layout="interleaved", **kwargs):
        super().__init__(**kwargs)
        self.scale = scale
        self.layout = check_layout(layout, more=("cosines",))

    def call(self, y_true, y_pred):
        labels = ops.reshape(y_true, (-1,))
        if self.layout == "cosines":
            return cosent(labels, ops.reshape(y_pred, (-1,)), self.scale)
        first, second = split_pairs(unit(y_pred), self.layout)
        return cosent(split_pairs(labels, self.layout)[0], ops.sum(first * second, axis=-1), self.scale)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale, "layout": self.layout}


@register
class SimilarityDistillation(keras.losses.Loss):
    """`similarity_distillation` for ``compile``: labels are the teacher's vectors, predictions the student's.

    Args:
        scale: weight beside other losses.
        **kwargs: those of ``keras.losses.Loss``.
    """

    def __init__(self, scale=100.0, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, y_true, y_pred):
        return similarity_distillation(y_true, y_pred, self.scale)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}
