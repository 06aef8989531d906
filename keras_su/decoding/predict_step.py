"""A method ``predict`` of a subclass as the step function of a search; see :class:`AutoRegressiveDecoder`."""

import keras
import numpy as np
from keras import ops

from keras_su.decoding.processors import positive_number
from keras_su.errors import bad_value

RTYPES = ("probas", "logits")


class PredictStep:
    """``predict`` as the step function of a search."""

    def __init__(self, predict, inputs, states, temperature, rtype):
        self._predict, self._states, self._arguments = predict, states, (temperature, rtype)
        self._inputs = [np.array([ops.convert_to_numpy(each) if ops.is_tensor(each) else each]) for each in inputs]
        self._rows = None

    def __call__(self, hypotheses):
        """Log-probabilities ``(rows, vocab_size)``."""
        inputs = [np.repeat(each, len(hypotheses), axis=0) for each in self._inputs]
        if self._rows is not None:
            self._states = _follow(self._states, self._rows, hypotheses.parents)
        result = self._predict(inputs, np.stack(list(hypotheses)), self._states, *self._arguments)
        expected = "a pair (result, states); is it below @AutoRegressiveDecoder.wraps(...)?"
        result, self._states = checked_pair(result, expected)
        self._rows = len(hypotheses)
        return logarithms(as_array(result), self._arguments[1])


def _follow(states, count, rows):
    """The states of ``rows``, where arrays have as many as ``count``."""

    def follow(state):
        if not (hasattr(state, "shape") and len(state.shape) and state.shape[0] == count):
            return state
        return ops.take(state, rows, axis=0) if ops.is_tensor(state) else state[rows]

    return keras.tree.map_structure(follow, states)


def converted(result, kind, rtype, temperature):
    """Probabilities or logits, ``kind``, as what is asked for, ``rtype``, at a temperature; ``(rows, vocab_size)``."""
    scores, temperature = as_array(result), positive_number("temperature", temperature)
    largest = scores.max(axis=-1, keepdims=True)
    if kind == "logits":
        probas = _normalized(np.exp((scores - np.where(largest == -np.inf, 0, largest)) / temperature))
    elif temperature != 1:
        probas = _normalized((scores / np.where(largest > 0, largest, 1)) ** (1 / temperature))
    else:
        probas = scores
    if rtype == "probas":
        return probas
    return np.where(probas.any(axis=-1, keepdims=True), np.log(probas + 1e-12), -np.inf)


def _normalized(weights):
    """Rows that sum to one; rows of zeros stay so."""
    sums = weights.sum(axis=-1, keepdims=True)
    return weights / np.where(sums == 0, 1, sums)


def logarithms(scores, rtype):
    """Logarithms of what ``rtype`` calls probabilities; ``"logits"`` are some."""
    if rtype == "logits":
        return scores
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(scores, dtype=np.float64)


def as_array(result):
    array = result if isinstance(result, np.ndarray) else ops.convert_to_numpy(result)
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)


def checked_pair(result, expected):
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise bad_value("predict returned", type(result).__name__, expected)
    return result


def check_rtype(name, value):
    if value not in RTYPES:
        raise bad_value(name, value, " or ".join(map(repr, RTYPES)))
