"""Multi-label classification as one softmax with a threshold at zero, densely or sparsely labelled, and for span tables."""

import keras
from keras import ops

from keras_su.errors import unknown_name
from keras_su.losses.numerics import existing, log_one_plus_sum_exp, wide
from keras_su.registration import register


def multilabel_categorical_crossentropy(y_true, y_pred):
    """``log(1 + sum_neg exp(s)) + log(1 + sum_pos exp(-s))``; predicted are the classes with ``s > 0``.

    A soft label t counts with weight ``1 - t`` in the first sum and t in the second.

    Args:
        y_true: ``(..., classes)`` in 0 to 1.
        y_pred: scores ``(..., classes)`` without an activation. Classes with a score of minus infinity are left out.

    Returns:
        ``(...)`` in float32.

    >>> [round(float(x), 4) for x in multilabel_categorical_crossentropy([[1.0, 0.0]], [[2.0, -2.0]])]
    [0.2539]

    Reference: J. Su et al., "ZLPR: A novel loss for multi-label classification", arXiv 2208.02955; https://kexue.fm/archives/7359
    and, for soft labels, https://kexue.fm/archives/9064.
    """
    y_pred = wide(y_pred)
    y_true = ops.cast(y_true, y_pred.dtype)
    exists = existing(y_pred)
    # Unused branches get harmless numbers first: the gradient of a logarithm of zero is not hidden by `where`.
    scores = ops.where(exists, y_pred, 0.0)
    can_be_false, can_be_true = y_true < 1, y_true > 0
    negative = scores + ops.log(ops.where(can_be_false, 1 - y_true, 1.0))
    positive = ops.log(ops.where(can_be_true, y_true, 1.0)) - scores
    return log_one_plus_sum_exp(negative, ops.logical_and(exists, can_be_false)) + log_one_plus_sum_exp(
        positive, ops.logical_and(exists, can_be_true)
    )


def sparse_multilabel_categorical_crossentropy(y_true, y_pred, mask_zero=False):
    """`multilabel_categorical_crossentropy` for labels that name the positive classes, each once.

    Args:
        y_true: integers ``(..., positives)``.
        y_pred: scores ``(..., classes)`` without an activation. Classes with a score of minus infinity are left out.
        mask_zero: label 0 is padding, and class 0 takes no part.

    Returns:
        ``(...)`` in float32.

    >>> [round(float(x), 4) for x in sparse_multilabel_categorical_crossentropy([[0]], [[2.0, -2.0]])]
    [0.2539]

    Reference: https://kexue.fm/archives/7359.
    """
    y_pred = wide(y_pred)
    labels = ops.cast(y_true, "int32")
    exists = existing(y_pred)
    scores = ops.where(exists, y_pred, 0.0)
    is_label = ops.not_equal(labels, 0) if mask_zero else ops.ones_like(labels, dtype="bool")
    if mask_zero:
        exists = ops.logical_and(exists, ops.arange(ops.shape(y_pred)[-1]) > 0)
    negative = ops.logical_and(exists, ops.logical_not(_contains(labels, scores)))
    # One label more that is none: there may be no labels at all.
    nothing = ops.zeros_like(scores[..., :1], dtype="int32")
    labels = ops.concatenate([labels, nothing], axis=-1)
    is_label = ops.concatenate([is_label, ops.cast(nothing, "bool")], axis=-1)
    positive = ops.logical_and(is_label, ops.take_along_axis(exists, labels, axis=-1))
    return log_one_plus_sum_exp(scores, negative) + log_one_plus_sum_exp(-ops.take_along_axis(scores, labels, axis=-1), positive)


def _contains(labels, scores):
    """Boolean ``(..., classes)``: is the class one of the labels? Marked one by one, without a table of labels by classes."""
    marks = ops.zeros_like(ops.reshape(scores, (-1, ops.shape(scores)[-1])), dtype="bool")
    rows = ops.zeros_like(labels) + ops.reshape(ops.arange(ops.shape(marks)[0], dtype="int32"), (*ops.shape(labels)[:-1], 1))
    places = ops.reshape(ops.stack([rows, labels], axis=-1), (-1, 2))
    marks = ops.scatter_update(marks, places, ops.ones_like(places[:, 0], dtype="bool"))
    return ops.reshape(marks, ops.shape(scores))


def global_pointer_crossentropy(y_true, y_pred):
    """`multilabel_categorical_crossentropy` over all spans of a head, for GlobalPointer.

    Args:
        y_true: 0 or 1, ``(batch, heads, length, length)``: row is the start, column the end.
        y_pred: scores of that shape, minus infinity where no span can be.

    Returns:
        ``(batch, heads)`` in float32.

    Reference: https://kexue.fm/archives/8373.
    """
    return multilabel_categorical_crossentropy(_flat(y_true), _flat(y_pred))


def sparse_global_pointer_crossentropy(y_true, y_pred):
    """`global_pointer_crossentropy` for labels that are pairs, as GPLinker uses it.

    Args:
        y_true: integers ``(batch, heads, spans, 2)``, start and end; ``(0, 0)`` is padding.
        y_pred: scores ``(batch, heads, length, length)``, minus infinity where no span can be.

    Returns:
        ``(batch, heads)`` in float32.

    Reference: https://kexue.fm/archives/8888.
    """
    pairs = ops.cast(y_true, "int32")
    labels = pairs[..., 0] * ops.shape(y_pred)[-1] + pairs[..., 1]
    return sparse_multilabel_categorical_crossentropy(labels, _flat(y_pred), mask_zero=True)


def _flat(table):
    table = ops.convert_to_tensor(table)
    batch, heads, rows, columns = ops.shape(table)
    return ops.reshape(table, (batch, heads, rows * columns))


@register
class MultilabelCategoricalCrossentropy(keras.losses.Loss):
    """`multilabel_categorical_crossentropy` for ``compile``."""

    def call(self, y_true, y_pred):
        return multilabel_categorical_crossentropy(y_true, y_pred)


@register
class SparseMultilabelCategoricalCrossentropy(keras.losses.Loss):
    """`sparse_multilabel_categorical_crossentropy` for ``compile``.

    Args:
        mask_zero: label 0 is padding, and class 0 takes no part.
        **kwargs: those of ``keras.losses.Loss``.
    """

    def __init__(self, mask_zero=False, **kwargs):
        super().__init__(**kwargs)
        self.mask_zero = mask_zero

    def call(self, y_true, y_pred):
        return sparse_multilabel_categorical_crossentropy(y_true, y_pred, self.mask_zero)

    def get_config(self):
        return {**super().get_config(), "mask_zero": self.mask_zero}


@register
class GlobalPointerCrossentropy(keras.losses.Loss):
    """`global_pointer_crossentropy` for ``compile``: one value for each text.

    Args:
        sparse: labels are pairs of start and end, see `sparse_global_pointer_crossentropy`.
        heads: ``"mean"`` over the heads (entities), or their ``"sum"`` (GPLinker).
        **kwargs: those of ``keras.losses.Loss``.
    """

    def __init__(self, sparse=False, heads="mean", **kwargs):
        super().__init__(**kwargs)
        if heads not in ("mean", "sum"):
            raise unknown_name("reduction of heads", heads, ("mean", "sum"))
        self.sparse = sparse
        self.heads = heads

    def call(self, y_true, y_pred):
        values = (sparse_global_pointer_crossentropy if self.sparse else global_pointer_crossentropy)(y_true, y_pred)
        return ops.mean(values, axis=-1) if self.heads == "mean" else ops.sum(values, axis=-1)

    def get_config(self):
        return {**super().get_config(), "sparse": self.sparse, "heads": self.heads}
