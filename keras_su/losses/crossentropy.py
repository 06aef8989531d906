"""Cross entropy of tokens with smoothed labels and a mask, and of language models, where a token predicts the next one."""

import keras
from keras import ops

from keras_su.errors import bad_value
from keras_su.losses.numerics import LOWEST, log_probabilities, masked_mean, wide
from keras_su.registration import register


def token_crossentropy(y_true, y_pred, mask=None, label_smoothing=0.0, from_logits=True):
    """Cross entropy of integer labels.

    Args:
        y_true: labels ``(...)``. What stands at masked places does not matter, -100 for instance.
        y_pred: ``(..., classes)``. A class whose logit is minus infinity does not exist.
        mask: booleans or weights ``(...)``.
        label_smoothing: this part of the probability is spread over all existing classes.
        from_logits: ``y_pred`` are logits; otherwise probabilities.

    Returns:
        ``(...)`` in float32, multiplied with the mask. `masked_mean` makes a number of it.

    >>> [round(float(x), 4) for x in token_crossentropy([1, -100], [[0.0, 0.0], [9.0, 9.0]], mask=[1, 0])]
    [0.6931, 0.0]
    """
    _check_smoothing(label_smoothing)
    logs = log_probabilities(y_pred, from_logits)
    labels = ops.cast(y_true, "int32")
    if mask is not None:
        mask = ops.cast(mask, logs.dtype)
        labels = ops.where(ops.equal(mask, 0), 0, labels)
    loss = -ops.squeeze(ops.take_along_axis(logs, ops.expand_dims(labels, -1), axis=-1), -1)
    if label_smoothing:
        exists = logs > LOWEST / 2
        count = ops.sum(ops.cast(exists, logs.dtype), axis=-1)
        even = -ops.sum(ops.where(exists, logs, 0.0), axis=-1) / ops.maximum(count, 1)
        loss = (1 - label_smoothing) * loss + label_smoothing * even
    return loss if mask is None else ops.where(ops.equal(mask, 0), 0.0, loss) * mask


def seq2seq_crossentropy(token_ids, y_pred, mask=None, label_smoothing=0.0, from_logits=True):
    """Cross entropy of a language model: the output at a token is compared with the next token.

    Args:
        token_ids: ``(batch, length)``, what the model read.
        y_pred: ``(batch, length, vocabulary)``.
        mask: booleans or weights ``(batch, length)``, not zero at the tokens that are to be predicted. For UniLM these are the
            segment ids; for a language model, the tokens that are not padding. The first token is never predicted. Default
            is all.
        label_smoothing: see `token_crossentropy`.
        from_logits: ``y_pred`` are logits; otherwise probabilities.

    Returns:
        A scalar in float32, the mean over the predicted tokens of the batch (not over texts); 0 if there are none.

    >>> import numpy as np
    >>> logits = np.zeros((1, 4, 8), "float32")
    >>> round(float(seq2seq_crossentropy([[1, 5, 6, 0]], logits, mask=[[0, 1, 1, 0]])), 4)
    2.0794

    Reference: https://kexue.fm/archives/6933.
    """
    mask = ops.ones(ops.shape(token_ids)) if mask is None else wide(mask)
    return masked_mean(next_token_crossentropy(token_ids, y_pred, mask, label_smoothing, from_logits), _but_first(mask))


def next_token_crossentropy(token_ids, y_pred, mask=None, label_smoothing=0.0, from_logits=True):
    """The same for every token: ``(batch, length)``, at each token the loss of predicting *it*, and 0 at the first."""
    token_ids = ops.convert_to_tensor(token_ids)
    first = ops.zeros_like(token_ids[:, :1])
    following = ops.concatenate([token_ids[:, 1:], first], axis=1)
    weights = None
    if mask is not None:
        mask = wide(mask)
        weights = ops.concatenate([mask[:, 1:], ops.zeros_like(mask[:, :1])], axis=1)
    loss = token_crossentropy(following, y_pred, weights, label_smoothing, from_logits)
    return ops.concatenate([ops.zeros_like(loss[:, :1]), loss[:, :-1]], axis=1)


def _but_first(mask):
    return ops.concatenate([ops.zeros_like(mask[:, :1]), mask[:, 1:]], axis=1)


def _check_smoothing(label_smoothing):
    if not 0 <= label_smoothing < 1:
        raise bad_value("label_smoothing", label_smoothing, "a number from 0 to 1, without 1")


@register
class Seq2SeqCrossentropy(keras.losses.Loss):
    """`seq2seq_crossentropy` for ``compile``: labels are the ids that the model reads, ``sample_weight`` is the mask.

    ``model.fit([token_ids, segment_ids], token_ids, sample_weight=segment_ids)`` trains UniLM. A mask that Keras carries along
    is respected, too.

    Args:
        label_smoothing: see `token_crossentropy`.
        from_logits: predictions are logits; otherwise probabilities.
        reduction: default is the mean over predicted tokens.
        **kwargs: those of ``keras.losses.Loss``.
    """

    def __init__(self, label_smoothing=0.0, from_logits=True, reduction="mean_with_sample_weight", **kwargs):
        super().__init__(reduction=reduction, **kwargs)
        _check_smoothing(label_smoothing)
        self.label_smoothing = label_smoothing
        self.from_logits = from_logits

    def __call__(self, y_true, y_pred, sample_weight=None):
        weights = ops.ones(ops.shape(y_true)) if sample_weight is None else ops.cast(sample_weight, self.dtype)
        if len(weights.shape) == 1:
            weights = ops.ones(ops.shape(y_true)) * ops.expand_dims(weights, 1)
        return super().__call__(y_true, y_pred, _but_first(weights))

    def call(self, y_true, y_pred):
        return next_token_crossentropy(y_true, y_pred, None, self.label_smoothing, self.from_logits)

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing, "from_logits": self.from_logits}
