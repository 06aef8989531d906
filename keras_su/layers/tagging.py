"""What layers that label sequences share: which steps count, and in which order."""

import keras
from keras import ops


def effective_glorot(lr_multiplier):
    """An initializer for a stored weight that is used ``lr_multiplier`` times as large: the used value is Glorot uniform."""
    glorot = keras.initializers.GlorotUniform()
    return lambda shape, dtype=None: glorot(shape, dtype) / lr_multiplier


def visible_scores(y_pred):
    """Finite float32 scores ``(batch, length, tags)``, and which steps exist: those that have a score above minus infinity."""
    scores = ops.cast(y_pred, "float32")
    visible = ops.any(ops.not_equal(scores, float("-inf")), axis=-1)
    return ops.where(visible[..., None], ops.maximum(scores, -1e9), 0.0), visible


def sparse_labels(y_true, y_pred):
    """Labels of any dtype, with or without a last axis of size 1, as int32 ``(batch, length)``, and which of them are tags."""
    labels = ops.cast(ops.reshape(y_true, ops.shape(y_pred)[:-1]), "int32")
    known = ops.logical_and(ops.greater_equal(labels, 0), ops.less(labels, y_pred.shape[-1]))
    return ops.where(known, labels, 0), known


def to_front(counts, *tensors):
    """Move the steps that count to the front, in order: padding then stands at the end only.

    Args:
        counts: boolean ``(batch, length)``.
        *tensors: ``(batch, length)`` or ``(batch, length, width)``.

    Returns:
        ``counts`` and the tensors, rearranged.
    """
    length = ops.shape(counts)[1]
    place = ops.arange(length, dtype="int32")
    order = ops.argsort(ops.where(counts, place, place + length), axis=1)

    def moved(x):
        taken = ops.take_along_axis(x, order if len(x.shape) == 2 else order[..., None], axis=1)
        return ops.reshape(taken, ops.shape(x))  # TensorFlow forgets the number of axes where a length is not known

    return ops.less(place, ops.sum(ops.cast(counts, "int32"), axis=1, keepdims=True)), *[moved(x) for x in tensors]


def accuracy(predicted, labels, counts):
    """Share of the steps that count with ``predicted == labels``; 0 if there is none."""
    counts = ops.cast(counts, "float32")
    hits = ops.cast(ops.equal(ops.cast(predicted, "int32"), labels), "float32")
    return ops.sum(hits * counts) / ops.maximum(ops.sum(counts), 1.0)
