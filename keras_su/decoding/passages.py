"""Answers that are copied: reading comprehension with a model that generates."""

import numpy as np

from keras_su.decoding.candidates import Constraint, pair_keys
from keras_su.errors import bad_value


class PassageConstraint(Constraint):
    """Allow only what stands in the passages of the prompt: the answer is a contiguous span of one of them, then the end id.

    A hypothesis that has its end id can only add more of them.

    Args:
        passages: for every prompt its passage, a sequence of ids, or a list of several. The end id inside a passage (a
            separator, for instance) parts it; no answer goes across.
        end_id: closes an answer.
        allow_empty: whether the end id may come first, which says that the passages hold no answer.
        normalize: see `Constraint`.

    Raises:
        KerasSuError: passages that are no ids, or hold none though ``allow_empty`` is false; a number of passages other
            than that of the prompts.

    >>> from keras_su.decoding import beam_search
    >>> uniform = lambda hypotheses: np.full((len(hypotheses), 6), -np.log(6.0))
    >>> constraint = PassageConstraint([[4, 5, 4, 2]], end_id=0)
    >>> found = beam_search(uniform, [[1]], beam=4, max_new_tokens=3, end_ids=0, processors=[constraint])
    >>> [(each.tokens.tolist(), round(float(np.exp(each.score)), 3)) for each in found[0]]
    [([2, 0], 0.333), ([5, 0], 0.167), ([4, 0], 0.111), ([5, 4, 0], 0.083)]

    Reference: the extractive mode of https://github.com/bojone/bert4keras (examples/task_reading_comprehension_by_seq2seq.py),
    where the end id may always come first.
    """

    def __init__(self, passages, end_id, allow_empty=False, normalize=True):
        super().__init__(normalize)
        self.end_id = end_id
        self.allow_empty = allow_empty
        texts = [self._joined(each) for each in passages]
        self._texts = np.full((len(texts), max(map(len, texts), default=0)), -1, np.int64)
        for row, text in zip(self._texts, texts):
            row[: len(text)] = text

    def allowed(self, hypotheses):
        """The ids that follow what was generated wherever it stands, and the end id; see `Constraint`."""
        if len(self._texts) != len(hypotheses.prompts):
            expected = f"one entry for each of the {len(hypotheses.prompts)} prompts"
            raise bad_value("number of entries of passages", len(self._texts), expected)
        rows, positions = np.nonzero(self._next_positions(hypotheses))
        tokens = self._text(hypotheses)[rows, positions]
        rows, tokens = rows[tokens >= 0], tokens[tokens >= 0]
        if self.allow_empty or hypotheses.generated.shape[1]:
            every = np.arange(len(hypotheses))
            rows, tokens = np.concatenate([rows, every]), np.concatenate([tokens, np.full(len(every), self.end_id)])
        _, first = np.unique(pair_keys(rows, tokens), return_index=True)
        return rows[first].astype(np.int64), tokens[first]

    def _next_positions(self, hypotheses):
        """``(rows, length)`` bool: where in its passages a row may go on. It moves along with the hypotheses, token by token."""

        def advance(before, tokens):
            after = np.zeros_like(before)
            after[:, 1:] = (before & (self._text(hypotheses) == tokens[:, None]))[:, :-1]
            return after

        start = lambda: np.ones(self._text(hypotheses).shape, bool)  # noqa: E731
        return hypotheses.carry(("passage", id(self)), start, advance)

    def _text(self, hypotheses):
        """``(rows, length)``: the passages of every row one after the other, with -1 behind each and at the end."""
        return self._texts[hypotheses.prompt_index]

    def _joined(self, passages):
        """The passages of one prompt as one array, with -1 behind each and in place of end ids."""
        several = list(passages)
        if several and np.ndim(several[0]) == 0:
            several = [several]
        pieces = []
        for ids in map(np.asarray, several):
            if ids.ndim != 1 or (len(ids) and (ids.dtype.kind not in "iu" or ids.min() < 0)):
                raise bad_value("passages", passages, "for every prompt a sequence of ids (integers from 0), or several of them")
            pieces += [np.where(ids == self.end_id, -1, ids).astype(np.int64), [-1]]
        text = np.concatenate(pieces) if pieces else np.zeros(0, np.int64)
        if not (self.allow_empty or (text >= 0).any()):
            raise bad_value("passages", passages, "at least one id for every prompt, or allow_empty=True")
        return text.astype(np.int64)
