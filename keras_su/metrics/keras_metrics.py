"""Measures on tensors, for ``compile`` and for layers that watch a number while they train."""

import keras
from keras import ops

from keras_su.registration import register


def masked_accuracy(y_true, y_pred, mask=None):
    """Part of the labels that is predicted.

    Args:
        y_true: integers ``(...)``, or ``(..., 1)`` beside scores.
        y_pred: scores ``(..., classes)``, or predicted integers ``(...)``.
        mask: booleans or weights ``(...)``, zero at what does not count.

    Returns:
        A scalar in float32; 0 if nothing counts.

    >>> float(masked_accuracy([[1, 2, 0]], [[1, 3, 0]], mask=[[1, 1, 0]]))
    0.5
    """
    correct, counted = _correct_and_counted(y_true, y_pred, mask)
    return ops.divide_no_nan(correct, counted)


def _correct_and_counted(y_true, y_pred, mask):
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    if len(y_pred.shape) == len(y_true.shape) and y_true.shape[-1:] == (1,) != y_pred.shape[-1:]:
        y_true = ops.squeeze(y_true, -1)  # Labels of texts come as a column, too.
    if len(y_pred.shape) > len(y_true.shape):
        y_pred = ops.argmax(y_pred, axis=-1)
    equal = ops.cast(ops.equal(ops.cast(y_true, "int32"), ops.cast(y_pred, "int32")), "float32")
    mask = ops.ones_like(equal) if mask is None else ops.reshape(ops.cast(mask, "float32"), ops.shape(equal))
    return ops.sum(equal * mask), ops.sum(mask)


class _Counts(keras.metrics.Metric):
    """A ratio of two numbers that grow from batch to batch, so that batches of any size count right."""

    def __init__(self, name, **kwargs):
        super().__init__(name=name, **kwargs)
        self.above = self.add_variable((), "zeros", name="above")
        self.below = self.add_variable((), "zeros", name="below")

    def count(self, above, below):
        self.above.assign_add(ops.cast(above, self.above.dtype))
        self.below.assign_add(ops.cast(below, self.below.dtype))

    def result(self):
        return ops.divide_no_nan(self.above, self.below)


@register
class MaskedAccuracy(_Counts):
    """`masked_accuracy` over many batches. The mask is ``sample_weight``, with ``weighted_metrics`` in ``compile``.

    Args:
        ignore_class: a label that does not count, such as 0 or -100.
        name: in the logs.
        **kwargs: those of ``keras.metrics.Metric``.
    """

    def __init__(self, ignore_class=None, name="accuracy", **kwargs):
        super().__init__(name, **kwargs)
        self.ignore_class = ignore_class

    def update_state(self, y_true, y_pred, sample_weight=None):
        if self.ignore_class is not None:
            used = ops.cast(ops.not_equal(y_true, self.ignore_class), "float32")
            sample_weight = used if sample_weight is None else used * ops.cast(sample_weight, "float32")
        self.count(*_correct_and_counted(y_true, y_pred, sample_weight))

    def get_config(self):
        return {**super().get_config(), "ignore_class": self.ignore_class}


@register
class GlobalPointerF1(_Counts):
    """F1 of the spans that score above a threshold, over all heads and texts. Minus infinity is simply not above it.

    Args:
        threshold: 0 for models trained with `keras_su.losses.global_pointer_crossentropy`.
        sparse: labels are pairs ``(batch, heads, spans, 2)`` of start and end, padded with ``(0, 0)``; otherwise zeros and ones
            in the shape of the scores, ``(batch, heads, length, length)``.
        name: in the logs.
        **kwargs: those of ``keras.metrics.Metric``.
    """

    def __init__(self, threshold=0.0, sparse=False, name="f1", **kwargs):
        super().__init__(name, **kwargs)
        self.threshold = threshold
        self.sparse = sparse

    def update_state(self, y_true, y_pred):
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        found = y_pred > self.threshold
        if self.sparse:
            pairs = ops.cast(y_true, "int32")
            width = ops.shape(y_pred)[-1]
            labels = pairs[..., 0] * width + pairs[..., 1]
            batch, heads, rows, _ = ops.shape(y_pred)
            found = ops.cast(ops.reshape(found, (batch, heads, rows * width)), "float32")
            actual = ops.cast(labels > 0, "float32")
            # The place that stands for padding in the labels is not a span in the predictions either.
            found = found * ops.cast(ops.arange(rows * width) > 0, "float32")
            correct = ops.take_along_axis(found, labels, axis=-1) * actual
        else:
            actual, found = ops.cast(y_true, "float32"), ops.cast(found, "float32")
            correct = actual * found
        self.count(2 * ops.sum(correct), ops.sum(actual) + ops.sum(found))

    def get_config(self):
        return {**super().get_config(), "threshold": self.threshold, "sparse": self.sparse}
