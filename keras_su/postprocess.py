"""After the model: CAN, which corrects uncertain predictions with the frequencies of the classes.

A classifier that is sure of most texts says with them how often each class occurs. If that differs from what is known (the
frequencies in the training set), the texts of which it is not sure are the ones to move. Nothing is trained.
"""

import warnings

import numpy as np
from keras import ops

from keras_su.errors import KerasSuError, bad_value, listing

MOST_NUMBERS = 4_000_000
"""How many numbers an iteration after the first may hold at a time; uncertain rows are taken in portions."""


def uncertainty(probabilities, k=3):
    """Entropy of the ``k`` largest probabilities of each row, made to sum to one, in units of ``log k``.

    Args:
        probabilities: ``(rows, classes)``.
        k: how many; all classes where there are fewer.

    Returns:
        Numpy array ``(rows,)``, from 0 (sure) to 1 (undecided between ``k`` classes).

    Raises:
        KerasSuError: these are no probabilities; ``k`` is not 2 or more.

    >>> uncertainty([[0.5, 0.5], [1.0, 0.0]], k=2).tolist()
    [1.0, 0.0]
    """
    return _uncertainty(_check_probabilities(probabilities)[1], _check_count("k", k, 2))


def can(probabilities, prior, k=3, threshold=0.9, alpha=1.0, iters=1):
    """Classification with alternating normalisation: uncertain rows are corrected, confident rows come back untouched.

    Each uncertain row is put below the confident ones, alone. Then the columns of this matrix are scaled to the frequencies of
    the classes and its rows to a sum of one, ``iters`` times; the last row is the result. So what comes out depends on the other
    rows of the call: give all texts at once, not one batch after the other. It helps where probabilities mean what they say:
    compare the accuracy with and without it on a validation set first.

    Args:
        probabilities: ``(rows, classes)``, an array or tensor; after softmax.
        prior: frequency of each class, ``(classes,)``: counts or parts, as in the training set.
        k: how many of the largest probabilities `uncertainty` looks at.
        threshold: rows below this uncertainty are confident.
        alpha: power to which the matrix is raised before each iteration.
        iters: number of iterations.

    Returns:
        Numpy array like ``probabilities``. Unchanged are: confident rows; all rows where none is confident; rows whose classes
        all have the frequency zero.

    Raises:
        KerasSuError: these are no probabilities, the prior does not fit, or a number is out of range.

    Warns:
        UserWarning: a class has the frequency zero, and so will never be the answer for an uncertain row.

    >>> can([[0.05, 0.95], [0.5, 0.5]], prior=[1, 1]).round(3).tolist()
    [[0.05, 0.95], [0.725, 0.275]]

    References: M. Jia et al., "When in doubt: improving classification performance with alternating normalization",
    arXiv 2109.13449; https://kexue.fm/archives/8728.
    """
    return CAN(prior, k, threshold, alpha, iters)(probabilities)


class CAN:
    """`can` with its settings, which can be called for the predictions of several data sets.

    Args:
        prior, k, threshold, alpha, iters: see `can`.

    Attributes:
        uncertain: boolean ``(rows,)``: which rows of the last call were not confident.
        changed: how many of its rows have other probabilities now.

    >>> correct = CAN(prior=[1, 1])
    >>> correct([[0.05, 0.95], [0.5, 0.5]])[1].round(3).tolist()
    [0.725, 0.275]
    >>> correct.changed, correct.uncertain.tolist()
    (1, [False, True])
    """

    def __init__(self, prior, k=3, threshold=0.9, alpha=1.0, iters=1):
        self.prior = _check_prior(prior)
        self.k = _check_count("k", k, 2)
        self.threshold = _check_number("threshold", threshold)
        self.alpha = _check_number("alpha", alpha)
        if self.alpha <= 0:
            raise bad_value("CAN: alpha", alpha, "a positive number")
        self.iters = _check_count("iters", iters, 1)
        self.uncertain, self.changed = None, 0

    def __call__(self, probabilities):
        """The corrected probabilities; see `can`."""
        given, rows = _check_probabilities(probabilities)
        if rows.shape[1] != len(self.prior):
            raise bad_value("CAN: classes of the probabilities", rows.shape[1], f"{len(self.prior)}, as the prior has")
        uncertain = self.uncertain = _uncertainty(rows, self.k) >= self.threshold
        result = rows.copy()
        if uncertain.any() and not uncertain.all():
            result[uncertain] = self._correct(rows[~uncertain], rows[uncertain])
        result = result.astype(given.dtype)
        self.changed = int((result != given).any(axis=1).sum())
        return result

    def _correct(self, confident, rows):
        with np.errstate(divide="ignore"):  # the logarithm of zero is minus infinity, and stays so
            confident, logs, prior = np.log(confident), np.log(rows), np.log(self.prior)
        portion = len(rows) if self.iters == 1 else max(MOST_NUMBERS // confident.size, 1)
        parts = [logs[start : start + portion] for start in range(0, len(rows), portion)]
        result = np.exp(np.concatenate([self._alternate(confident, part, prior) for part in parts]))
        return np.where(result.sum(axis=1, keepdims=True) > 0, result, rows)

    def _alternate(self, confident, rows, prior):
        """Logarithms of the results for ``rows``, each of which meets the confident ones alone."""
        confident = confident[None]  # after the first iteration they differ from row to row
        for iteration in range(1, self.iters + 1):
            confident, rows = self.alpha * confident, self.alpha * rows
            columns = np.logaddexp(_logsumexp(confident, axis=1), rows)
            # Number of rows and sum of the prior are factors of all columns: normalising the rows takes them out.
            scale = np.where(np.isneginf(columns), 0.0, prior - np.where(np.isneginf(columns), 0.0, columns))
            rows = _normalized(rows + scale)
            if iteration < self.iters:
                confident = _normalized(confident + scale[:, None])
        return rows


class CANPredictor:
    """A Keras classifier whose predictions are corrected with `CAN`.

    Args:
        model: a ``keras.Model`` with one output ``(batch, classes)``.
        can: the `CAN` to apply.
        from_logits: the model returns scores, and softmax is applied first.

    >>> import keras
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Identity()])
    >>> predictor = CANPredictor(model, CAN(prior=[1, 1]))
    >>> print(predictor.predict(np.array([[0.05, 0.95], [0.5, 0.5]]), verbose=0)[1].round(3))
    [0.725 0.275]
    """

    def __init__(self, model, can, from_logits=False):
        self.model = model
        self.can = can
        self.from_logits = from_logits

    def predict(self, x, **options):
        """Corrected probabilities for a whole data set; arguments are those of the model's ``predict``."""
        outputs = self.model.predict(x, **options)
        if not hasattr(outputs, "shape"):
            raise KerasSuError(f"CANPredictor: the model has {len(outputs)} outputs, expected one of (batch, classes).")
        return self.can(ops.softmax(outputs, axis=-1) if self.from_logits else outputs)


def _uncertainty(rows, k):
    k = min(k, rows.shape[1])
    largest = -np.sort(-rows, axis=1)[:, :k]
    largest = largest / largest.sum(axis=1, keepdims=True)
    logs = np.log(np.where(largest > 0, largest, 1.0))  # 0 log 0 is 0
    return (0.0 - np.sum(largest * logs, axis=1)) / np.log(k)  # not -0.0


def _logsumexp(x, axis):
    highest = np.max(x, axis=axis, keepdims=True)
    highest = np.where(np.isneginf(highest), 0.0, highest)
    with np.errstate(divide="ignore"):
        return np.log(np.sum(np.exp(x - highest), axis=axis)) + np.squeeze(highest, axis=axis)


def _normalized(logs):
    total = _logsumexp(logs, axis=-1)[..., None]
    return logs - np.where(np.isneginf(total), 0.0, total)


def _check_probabilities(probabilities):
    """What was given as an array of floats, and the same in float64."""
    given = ops.convert_to_numpy(probabilities)
    given = given.astype("float64") if given.dtype.kind in "biu" else given
    rows = given.astype("float64")
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise bad_value("probabilities: shape", given.shape, "(rows, classes) with two classes or more")
    wrong = ~(np.isfinite(rows) & (rows >= 0)).all(axis=1)
    wrong |= ~(np.abs(rows.sum(axis=1) - 1) < 0.02)  # float16 does not sum to exactly one
    if wrong.any():
        row = int(np.argmax(wrong))
        raise KerasSuError(
            f"probabilities: row {row} is [{listing(rows[row].round(4), 5)}], expected numbers from 0 that sum to 1. "
            "For logits, apply softmax first."
        )
    return given, rows


def _check_prior(prior):
    prior = ops.convert_to_numpy(prior).astype("float64")
    if prior.ndim != 1 or len(prior) < 2:
        raise bad_value("CAN: shape of the prior", prior.shape, "(classes,) with two classes or more")
    if not np.isfinite(prior).all() or (prior < 0).any() or not prior.any():
        raise bad_value("CAN: prior", listing(prior.tolist(), 5), "frequencies from 0, not all of them 0")
    if not prior.all():
        absent = listing(np.flatnonzero(prior == 0).tolist())
        warnings.warn(f"CAN: these classes have the prior 0, and no uncertain row will get them: {absent}.", stacklevel=3)
    return prior / prior.sum()


def _check_count(name, value, least):
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        raise bad_value(f"CAN: {name}", value, f"an integer, {least} or more")
    return int(value)


def _check_number(name, value):
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)) or not np.isfinite(value):
        raise bad_value(f"CAN: {name}", value, "a finite number")
    return float(value)
