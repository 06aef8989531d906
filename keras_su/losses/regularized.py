"""Losses around a loss: R-Drop, which asks two passes with dropout to agree, and flooding, which stops above zero."""

import keras
from keras import ops

from keras_su.errors import unknown_name
from keras_su.losses.crossentropy import token_crossentropy
from keras_su.losses.numerics import LOWEST, log_probabilities, wide
from keras_su.losses.pairs import check_layout, split_pairs, spread_over_pairs
from keras_su.registration import register

BASES = ("sparse_categorical_crossentropy", "categorical_crossentropy")


def symmetric_divergence(y_pred, layout="interleaved", from_logits=True):
    """``KL(p || q) + KL(q || p)`` of the two rows of each pair: ``sum (p - q) * (log p - log q)``.

    Args:
        y_pred: ``(2n, ..., classes)``. A class whose logit is minus infinity in one of the rows is left out.
        layout: where the two rows of a pair stand, see `split_pairs`.
        from_logits: ``y_pred`` are logits; otherwise probabilities.

    Returns:
        ``(n, ...)`` in float32, never negative.

    >>> [round(float(x), 6) for x in symmetric_divergence([[0.7, 0.3], [0.6, 0.4]], from_logits=False)]
    [0.044183]
    """
    p, q = split_pairs(log_probabilities(y_pred, from_logits), layout)
    both = ops.logical_and(p > LOWEST / 2, q > LOWEST / 2)
    return ops.sum((ops.exp(p) - ops.exp(q)) * ops.where(both, p - q, 0.0), axis=-1)


def r_drop(y_true, y_pred, base=BASES[0], alpha=4.0, layout="interleaved", from_logits=True, mask=None):
    """A loss, plus the disagreement of two passes with dropout of the same texts: ``base + alpha / 4 * (KL + KL)`` in each row.

    Its mean over all rows is half of the paper's loss.

    Args:
        y_true: labels of all rows, ``(2n, ...)``, as ``base`` wants them.
        y_pred: ``(2n, ..., classes)``: texts ``(2n, classes)``, or tokens ``(2n, length, classes)``.
        base: ``"sparse_categorical_crossentropy"``, ``"categorical_crossentropy"``, a function ``(y_true, y_pred)`` that returns
            ``(2n, ...)``, or ``None`` for the disagreement alone, which needs no labels.
        alpha: weight of the disagreement, 1 to 5 in the paper.
        layout: where the two rows of a text stand, see `split_pairs`.
        from_logits: ``y_pred`` are logits; otherwise probabilities.
        mask: booleans or weights ``(2n, ...)``: the tokens that count.

    Returns:
        ``(2n, ...)`` in float32, multiplied with the mask. `masked_mean` makes a number of it.

    Reference: X. Liang et al., "R-Drop: regularized dropout for neural networks", arXiv 2106.14448;
    https://kexue.fm/archives/8496.
    """
    agreement = spread_over_pairs(symmetric_divergence(y_pred, layout, from_logits), layout) * (alpha / 4)
    loss = agreement if base is None else agreement + _base_loss(base, y_true, y_pred, from_logits, mask)
    if mask is None:
        return loss
    mask = ops.cast(mask, loss.dtype)
    return ops.where(ops.equal(mask, 0), 0.0, loss) * mask


def _base_loss(base, y_true, y_pred, from_logits, mask):
    if base == "sparse_categorical_crossentropy":
        if len(y_true.shape) == len(y_pred.shape):
            y_true = ops.squeeze(y_true, -1)
        used = None if mask is None else ops.not_equal(mask, 0)
        return token_crossentropy(y_true, y_pred, used, from_logits=from_logits)
    if base == "categorical_crossentropy":
        logs = log_probabilities(y_pred, from_logits)
        return -ops.sum(ops.cast(y_true, logs.dtype) * logs, axis=-1)
    return ops.cast(_check_base(base)(y_true, y_pred), wide(y_pred).dtype)


def _check_base(base):
    if base is not None and base not in BASES and not callable(base):
        raise unknown_name("base loss", base, BASES, "A function or None will do, too.")
    return base


def flooding(loss, level):
    """``|loss - level| + level``: the gradient turns round where the loss, a mean over the batch, falls below ``level``.

    >>> round(float(flooding(0.25, 0.5)), 2)
    0.75

    Reference: T. Ishida et al., "Do we need zero training loss after achieving zero training error?", arXiv 2002.08709.
    """
    return ops.abs(loss - level) + level


@register
class RDrop(keras.losses.Loss):
    """`r_drop` for ``compile``. Every text stands twice in the batch, and dropout treats the two rows differently.

    Tokens are masked with ``sample_weight`` ``(2n, length)``; ``reduction="mean_with_sample_weight"`` then is the mean over those
    that count.

    Args:
        base: the loss of each row, see `r_drop`.
        alpha: weight of the disagreement.
        layout: where the two rows of a text stand, see `split_pairs`.
        from_logits: predictions are logits; otherwise probabilities.
        **kwargs: those of ``keras.losses.Loss``.
    """

    def __init__(self, base=BASES[0], alpha=4.0, layout="interleaved", from_logits=True, **kwargs):
        super().__init__(**kwargs)
        self.base = _check_base(keras.saving.deserialize_keras_object(base) if isinstance(base, dict) else base)
        self.alpha = alpha
        self.layout = check_layout(layout)
        self.from_logits = from_logits

    def call(self, y_true, y_pred):
        return r_drop(y_true, y_pred, self.base, self.alpha, self.layout, self.from_logits)

    def get_config(self):
        base = keras.saving.serialize_keras_object(self.base) if callable(self.base) else self.base
        own = {"base": base, "alpha": self.alpha, "layout": self.layout, "from_logits": self.from_logits}
        return {**super().get_config(), **own}
