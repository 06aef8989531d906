"""Processors that run where the model runs: penalties and prohibitions that look at the tokens so far.

``apply`` consists of ``keras.ops`` with static shapes, so that a decoding loop around it can be compiled (``jax.jit``,
``tf.function``, ``torch.jit.trace``). Called like a function, a processor takes and returns numpy arrays, for `beam_search`.

What shapes the distribution for sampling (temperature, top-k and its relatives) is in ``truncation``.
"""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_su.errors import bad_value


class History(NamedTuple):
    """The tokens so far of all rows, as tensors.

    Attributes:
        tokens: ``(rows, length)`` int32; prompt and generated ids, contiguous from the left, zeros after the end.
        lengths: ``(rows,)`` int32, how many of them count.
        generated: int32 scalar, how many were generated, the same in all rows; prompts are ``lengths - generated`` long.
        ends: ``(rows,)`` int32, end ids generated so far.
    """

    tokens: Any
    lengths: Any
    generated: Any
    ends: Any

    @classmethod
    def of(cls, hypotheses, rows=None, multiple=64):
        """The `History` of ``Hypotheses``.

        Args:
            hypotheses: the ``Hypotheses`` of a search.
            rows: that many, the last ones empty; by default as many as there are hypotheses.
            multiple: the length is rounded up to a multiple of it, for some backends compile anew for every length.
        """
        sequences = list(hypotheses)
        rows = len(sequences) if rows is None else rows
        lengths, ends = np.zeros((2, rows), np.int32)
        lengths[: len(sequences)] = [len(ids) for ids in sequences]
        ends[: len(sequences)] = hypotheses.ends
        tokens = np.zeros((rows, max(-(-lengths.max(initial=0) // multiple), 1) * multiple), np.int32)
        for row, ids in zip(tokens, sequences):
            row[: len(ids)] = ids
        columns = tokens, lengths, np.int32(hypotheses.generated.shape[1]), ends
        return cls(*(ops.convert_to_tensor(column, "int32") for column in columns))


class Processor:
    """Base of the processors on tensors. Inherit and define ``apply``.

    >>> class Only(Processor):
    ...     def apply(self, log_probs, history):
    ...         return ops.where(ops.arange(4) == 2, log_probs, -float("inf"))
    >>> from keras_su.decoding import beam_search
    >>> uniform = lambda hypotheses: np.full((len(hypotheses), 4), -np.log(4.0))
    >>> beam_search(uniform, [[1]], max_new_tokens=2, end_ids=0, processors=[Only()])[0][0].tokens.tolist()
    [2, 2]
    """

    shift_invariant = True  # whether a constant added to all scores of a row changes nothing once they are normalised

    def apply(self, log_probs, history):
        """The scores of the next token, changed.

        Args:
            log_probs: ``(rows, vocab_size)`` float32; ``-inf`` is forbidden, and stays so. Rows need not sum to one.
            history: `History`. Its tensors may be traced: nothing in Python may depend on their values.

        Returns:
            the same shape.
        """
        raise NotImplementedError

    def __call__(self, log_probs, hypotheses):
        """``apply`` for numpy arrays and ``Hypotheses``; returns float64, though computed in float32."""
        return on_host(log_probs, lambda tensor, rows: self.apply(tensor, History.of(hypotheses, rows)))


class RepetitionPenalty(Processor):
    """Multiply the log-probability of every id that occurred already by ``penalty``: probability ``p`` becomes ``p ** penalty``.

    The paper divides logits. But a model whose logits are all larger by one is the same model, and would be punished otherwise;
    where logits are negative, a division even rewards. Log-probabilities have no such freedom, and are never positive. (A score
    that earlier processors made positive is divided, so that the penalty never turns into a reward.)

    Args:
        penalty: above 1 discourages repetition, 1 changes nothing, between 0 and 1 encourages it.
        include_prompt: whether ids of the prompt count as well.

    Raises:
        KerasSuError: ``penalty`` is not a positive number.

    >>> from keras_su.decoding import Hypotheses
    >>> log_probs = RepetitionPenalty(2.0)(np.log([[0.25, 0.25, 0.5]]), Hypotheses.start([np.array([2])]))
    >>> np.exp(log_probs).round(4).tolist()
    [[0.25, 0.25, 0.25]]

    Reference: N. S. Keskar et al., "CTRL", arXiv 1909.05858, section 4.1.
    """

    shift_invariant = False

    def __init__(self, penalty, include_prompt=True):
        self.penalty = positive_number("penalty", penalty)
        self.include_prompt = include_prompt

    def apply(self, log_probs, history):
        occurred = _marked(history.tokens, _counted(history, self.include_prompt), log_probs)
        punished = ops.where(log_probs > 0, log_probs / self.penalty, log_probs * self.penalty)
        return ops.where(occurred, punished, log_probs)


class NoRepeatNGram(Processor):
    """Forbid every token that would complete a sequence of ``size`` ids that occurred already.

    Args:
        size: length of the sequences; 1 forbids every id that occurred.
        include_prompt: whether sequences that lie in the prompt, wholly or in part, count as well.

    Raises:
        KerasSuError: ``size`` is not a positive integer.

    >>> from keras_su.decoding import Hypotheses
    >>> NoRepeatNGram(3)(np.zeros((1, 5)), Hypotheses.start([np.array([1, 2, 4, 1, 2])])).tolist()
    [[0.0, 0.0, 0.0, 0.0, -inf]]

    Reference: R. Paulus et al., "A Deep Reinforced Model for Abstractive Summarization", arXiv 1705.04304, section 2.5.
    """

    def __init__(self, size, include_prompt=True):
        self.size = positive_integer("size", size)
        self.include_prompt = include_prompt

    def apply(self, log_probs, history):
        before = self.size - 1  # ids that a token would complete
        windows = history.tokens.shape[1] - before
        if windows < 1:
            return log_probs
        counted = _counted(history, self.include_prompt)
        # A window repeats if its first ids are the newest ones and all of it counts; then its last id is forbidden.
        repeats = counted[:, :windows] & counted[:, before:]
        if before:
            newest, there = _newest(history, before)
            for i in range(before):
                repeats = repeats & (history.tokens[:, i : i + windows] == newest[:, i : i + 1])
            enough = history.generated >= before if not self.include_prompt else ops.all(there, axis=1, keepdims=True)
            repeats = repeats & enough
        return _forbid(log_probs, _marked(history.tokens[:, before:], repeats, log_probs))


class BadWords(Processor):
    """Forbid every token that would complete one of some id sequences, in whatever came before, prompt included.

    Args:
        sequences: id sequences of any lengths; the one id of a short one is always forbidden.

    Raises:
        KerasSuError: there is no sequence, or one is empty or has ids that are not integers from 0; later, an id is beyond the
            vocabulary of the model.

    >>> from keras_su.decoding import Hypotheses
    >>> BadWords([[3], [1, 2]])(np.zeros((2, 4)), Hypotheses.start([np.array([1]), np.array([2])])).tolist()
    [[0.0, 0.0, -inf, -inf], [0.0, 0.0, 0.0, -inf]]
    """

    def __init__(self, sequences):
        self.sequences = [id_list("sequences", sequence) for sequence in sequences]
        if not self.sequences:
            raise bad_value("sequences", sequences, "at least one")
        width = max(max(map(len, self.sequences)) - 1, 1)
        self._last = np.array([sequence[-1] for sequence in self.sequences], np.int32)
        self._before = np.full((len(self.sequences), width), -1, np.int32)  # aligned at the right; -1 asks for nothing
        for row, sequence in zip(self._before, self.sequences):
            row[width - len(sequence) + 1 :] = sequence[:-1]

    def apply(self, log_probs, history):
        _check_ids("sequences", self._last, log_probs)
        newest, there = _newest(history, self._before.shape[1])
        before = ops.convert_to_tensor(self._before)[None]
        completes = ops.all((before < 0) | ((newest[:, None] == before) & there[:, None]), axis=-1)
        last = ops.broadcast_to(ops.convert_to_tensor(self._last)[None], ops.shape(completes))
        return _forbid(log_probs, _marked(last, completes, log_probs))


class MinLength(Processor):
    """Forbid the end ids until ``tokens`` tokens are generated: none is among the first ``tokens``.

    Args:
        tokens: that many, at least 0.
        end_ids: id, or ids, that end a sequence.

    Raises:
        KerasSuError: an argument is out of range; later, an end id is beyond the vocabulary of the model.

    >>> from keras_su.decoding import Hypotheses
    >>> MinLength(1, end_ids=0)(np.zeros((1, 3)), Hypotheses.start([np.array([2])])).tolist()
    [[-inf, 0.0, 0.0]]
    """

    def __init__(self, tokens, end_ids):
        if not isinstance(tokens, (int, np.integer)) or isinstance(tokens, bool) or tokens < 0:
            raise bad_value("tokens", tokens, "an integer from 0")
        self.tokens = int(tokens)
        self.end_ids = id_list("end_ids", [end_ids] if np.ndim(end_ids) == 0 else end_ids)

    def apply(self, log_probs, history):
        _check_ids("end_ids", self.end_ids, log_probs)
        is_end = ops.convert_to_tensor(np.isin(np.arange(log_probs.shape[1]), self.end_ids))
        return _forbid(log_probs, is_end & (history.generated < self.tokens))


def on_host(log_probs, function):
    """``function(tensor, rows)`` for a numpy array: float32 there, float64 back.

    The number of rows is rounded up to a power of two. It changes from step to step in a search, and some backends compile anew
    for every shape.
    """
    log_probs = np.asarray(log_probs, np.float32)
    rows = 1 << max(len(log_probs) - 1, 0).bit_length()
    padded = ops.convert_to_tensor(np.pad(log_probs, ((0, rows - len(log_probs)), (0, 0))))
    return ops.convert_to_numpy(function(padded, rows))[: len(log_probs)].astype(np.float64)


def positive_number(name, value):
    """``value`` as a float if it is one above 0."""
    if not isinstance(value, (int, float, np.integer, np.floating)) or isinstance(value, bool) or not 0 < value < np.inf:
        raise bad_value(name, value, "a positive number")
    return float(value)


def positive_integer(name, value):
    """``value`` if it is an integer from 1."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise bad_value(name, value, "a positive integer")
    return int(value)


def id_list(name, ids):
    """``ids`` as a list of int if they are token ids, at least one."""
    array = np.asarray(ids)
    if array.ndim != 1 or not len(array) or array.dtype.kind not in "iu" or array.min() < 0:
        raise bad_value(name, ids, "token ids, integers from 0, and at least one")
    return array.tolist()


def _check_ids(name, ids, log_probs):
    if max(ids) >= log_probs.shape[1]:
        raise bad_value(name, int(max(ids)), f"ids below the {log_probs.shape[1]} of the model's vocabulary")


def _forbid(log_probs, mask):
    return ops.where(mask, -float("inf"), log_probs)


def _counted(history, include_prompt):
    """``(rows, length)`` bool: the tokens that are there, with the prompt or without."""
    positions = ops.arange(history.tokens.shape[1], dtype="int32")[None]
    there = positions < history.lengths[:, None]
    return there if include_prompt else there & (positions >= (history.lengths - history.generated)[:, None])


def _newest(history, count):
    """The last ``count`` tokens of every row, ``(rows, count)``, and which of them are there at all, the same shape."""
    positions = history.lengths[:, None] - count + ops.arange(count, dtype="int32")[None]
    return ops.take_along_axis(history.tokens, ops.maximum(positions, 0), axis=1), positions >= 0


def _marked(tokens, wanted, log_probs):
    """``(rows, vocab_size)`` bool like ``log_probs``: the ids in ``tokens``, ``(rows, n)``, where ``wanted``, the same shape."""
    vocab_size = log_probs.shape[1]
    shape = ops.shape(tokens)
    # What is not wanted goes to a column of its own: writing "no" would erase the "yes" of the same id elsewhere in the row.
    columns = ops.where(wanted, tokens, vocab_size)
    places = columns + (vocab_size + 1) * ops.arange(shape[0], dtype="int32")[:, None]
    marks = ops.zeros((shape[0] * (vocab_size + 1),), "int32")
    marks = ops.scatter_update(marks, ops.reshape(places, (-1, 1)), ops.ones((shape[0] * shape[1],), "int32"))
    return ops.reshape(marks, (shape[0], vocab_size + 1))[:, :vocab_size] > 0
