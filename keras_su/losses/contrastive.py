"""Losses that tell one right answer from many others: InfoNCE, FlatNCE, and pairs within a batch (SimBERT, SimCSE)."""

import keras
from keras import ops

from keras_su.errors import bad_value, unknown_name
from keras_su.losses.numerics import existing, log_sum_exp, unit, wide
from keras_su.losses.pairs import check_layout, partners
from keras_su.registration import register

MONITORS = ("log", "infonce")


def info_nce(scores, positive_index=None, mask=None):
    """``log(1 + sum_negatives exp(s - s_positive))``, the cross entropy of the right answer.

    Args:
        scores: ``(rows, candidates)``, divided by the temperature. A candidate of minus infinity does not exist.
        positive_index: integers ``(rows,)``; default is the diagonal.
        mask: booleans of the shape of ``scores``, ``True`` = counts.

    Returns:
        ``(rows,)`` in float32; 0 for a row without a positive or without a negative.

    Raises:
        KerasSuError: fewer than two candidates.

    >>> [round(float(x), 4) for x in info_nce([[2.0, 1.0], [0.0, 0.0]])]
    [0.3133, 0.6931]

    Reference: A. van den Oord et al., arXiv 1807.03748.
    """
    log_ratio, complete = _log_ratio(scores, positive_index, mask)
    return ops.where(complete, ops.softplus(log_ratio), 0.0)


def flatnce(scores, positive_index=None, mask=None, monitor="log"):
    """InfoNCE without its flat end: the gradient is divided by ``1 - p_positive``, and does not vanish in 16 bits.

    With ``xi = sum_negatives exp(s - s_positive)`` InfoNCE is ``log(1 + xi)``, and this is ``log(xi)``, whose gradient is that
    of the paper's ``xi / stop_gradient(xi)``.

    Args:
        scores: ``(rows, candidates)``, divided by the temperature. A candidate of minus infinity does not exist.
        positive_index: integers ``(rows,)``; default is the diagonal.
        mask: booleans of the shape of ``scores``, ``True`` = counts.
        monitor: the value that is shown, with the same gradient: ``"log"`` = ``log(xi)``, which may be negative, or
            ``"infonce"`` = that of `info_nce`.

    Returns:
        ``(rows,)`` in float32; 0 for a row without a positive or without a negative.

    Raises:
        KerasSuError: fewer than two candidates, or an unknown ``monitor``.

    >>> [round(float(x), 4) for x in flatnce([[2.0, 1.0], [0.0, 0.0]])]
    [-1.0, 0.0]

    Reference: J. Chen et al., "Simpler, faster, stronger: breaking the log-K curse on contrastive learners with FlatNCE", arXiv
    2107.01152; https://kexue.fm/archives/8586.
    """
    if monitor not in MONITORS:
        raise unknown_name("monitored value of FlatNCE", monitor, MONITORS)
    log_ratio, complete = _log_ratio(scores, positive_index, mask)
    if monitor == "infonce":
        log_ratio = log_ratio - ops.stop_gradient(log_ratio) + ops.stop_gradient(ops.softplus(log_ratio))
    return ops.where(complete, log_ratio, 0.0)


def _log_ratio(scores, positive_index, mask):
    """``log(sum_negatives exp(s - s_positive))``, and which rows have a positive and a negative."""
    scores = wide(scores)
    candidates = scores.shape[-1]
    if candidates is not None and candidates < 2:
        raise bad_value("contrastive loss: number of candidates", candidates, "at least 2, a positive and a negative")
    if positive_index is None:
        positive_index = ops.arange(ops.shape(scores)[0], dtype="int32")
    exists = existing(scores)
    scores = ops.where(exists, scores, 0.0)
    if mask is not None:
        exists = ops.logical_and(exists, ops.cast(mask, "bool"))
    index = ops.expand_dims(ops.cast(positive_index, "int32"), -1)
    right = ops.equal(ops.arange(ops.shape(scores)[-1], dtype="int32"), index)
    positive, negative = ops.logical_and(exists, right), ops.logical_and(exists, ops.logical_not(right))
    log_ratio = log_sum_exp(scores, negative) - ops.sum(ops.where(positive, scores, 0.0), axis=-1)
    return log_ratio, ops.logical_and(ops.any(positive, axis=-1), ops.any(negative, axis=-1))


def pair_scores(vectors, scale=30.0, layout="interleaved"):
    """What pairs in a batch are for `info_nce` and `flatnce`: every other row is a candidate, the partner is right.

    Args:
        vectors: ``(2n, size)``.
        scale: factor of the cosines, one over the temperature.
        layout: where the partner of a row stands, see `split_pairs`.

    Returns:
        Scores ``(2n, 2n)`` with minus infinity on the diagonal, and the index of each partner ``(2n,)``.

    >>> import numpy as np
    >>> flatnce(*pair_scores(np.eye(4)[[0, 0, 1, 1]])).shape[0]
    4
    """
    vectors = unit(vectors)
    scores = ops.matmul(vectors, ops.transpose(vectors)) * scale
    index = ops.arange(ops.shape(scores)[0])
    itself = ops.equal(ops.expand_dims(index, 1), index)
    return ops.where(itself, -float("inf"), scores), partners(vectors, layout)


def in_batch_pair_contrastive(vectors, scale=30.0, layout="interleaved", mask=None):
    """Every vector has to find its partner among all others of the batch.

    Args:
        vectors: ``(2n, size)``, any lengths; cosines are compared.
        scale: factor of the cosines: 30 in SimBERT, 20 in RoFormer-Sim and SimCSE.
        layout: where the partner of a row stands, see `split_pairs`.
        mask: booleans ``(2n, 2n)``; ``False`` takes a text out of the candidates of another, for instance its duplicate.

    Returns:
        ``(2n,)`` in float32.

    Raises:
        KerasSuError: an odd number of rows.

    Reference: https://github.com/ZhuiyiTechnology/simbert, https://kexue.fm/archives/7427; RoFormer-Sim:
    https://kexue.fm/archives/8454.
    """
    return info_nce(*pair_scores(vectors, scale, layout), mask=mask)


@register
class InfoNCE(keras.losses.Loss):
    """`info_nce` for ``compile``: predictions are scores ``(rows, candidates)``, labels the index of the right one ``(rows,)``.

    Args:
        temperature: divides the scores.
        **kwargs: those of ``keras.losses.Loss``.
    """

    def __init__(self, temperature=0.1, **kwargs):
        super().__init__(**kwargs)
        if temperature <= 0:
            raise bad_value(f"{type(self).__name__}: temperature", temperature, "a positive number")
        self.temperature = temperature

    def call(self, y_true, y_pred):
        return info_nce(y_pred / self.temperature, ops.reshape(y_true, (-1,)))

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}


@register
class FlatNCE(InfoNCE):
    """`flatnce` for ``compile``: predictions are scores ``(rows, candidates)``, labels the index of the right one ``(rows,)``.

    Args:
        temperature: divides the scores.
        monitor: the value that is shown, ``"log"`` or ``"infonce"``.
        **kwargs: those of ``keras.losses.Loss``.
    """

    def __init__(self, temperature=0.1, monitor="log", **kwargs):
        super().__init__(temperature, **kwargs)
        if monitor not in MONITORS:
            raise unknown_name("monitored value of FlatNCE", monitor, MONITORS)
        self.monitor = monitor

    def call(self, y_true, y_pred):
        return flatnce(y_pred / self.temperature, ops.reshape(y_true, (-1,)), monitor=self.monitor)

    def get_config(self):
        return {**super().get_config(), "monitor": self.monitor}


@register
class InBatchPairContrastive(keras.losses.Loss):
    """`in_batch_pair_contrastive` for ``compile``: predictions are vectors ``(2n, size)``, labels are not looked at.

    Args:
        scale: factor of the cosines.
        layout: where the partner of a row stands, see `split_pairs`.
        **kwargs: those of ``keras.losses.Loss``.
    """

    def __init__(self, scale=30.0, layout="interleaved", **kwargs):
        super().__init__(**kwargs)
        self.scale = scale
        self.layout = check_layout(layout)

    def call(self, y_true, y_pred):
        return in_batch_pair_contrastive(y_pred, self.scale, self.layout)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale, "layout": self.layout}
