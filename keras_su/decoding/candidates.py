"""The few continuations that a constraint leaves, and what all constraints have in common.

A constraint names pairs of row and token before anything is scored. A search that knows them can have the model compute the
scores of those pairs only, instead of a row over the whole vocabulary for every hypothesis.
"""

from functools import cached_property

import numpy as np

from keras_su.errors import bad_value


class Candidates:
    """Some continuations of each row, with their scores; all others are impossible.

    Args:
        rows: ``(n,)`` integers, ascending: the hypothesis that a candidate continues.
        tokens: ``(n,)`` integers, the token that it adds. The constraints of this package give the tokens of a row in
            ascending order; of equal scores a search takes the first.
        values: ``(n,)`` float64, log-scores; ``-inf`` is a candidate with probability zero.
        num_rows: how many hypotheses there are; some may have no candidate.

    Raises:
        KerasSuError: the arrays have different lengths, or ``rows`` is not ascending within ``0 .. num_rows - 1``.

    >>> candidates = Candidates([0, 0, 1], [2, 3, 1], np.log([0.1, 0.3, 0.2]), num_rows=2)
    >>> np.exp(candidates.normalized().values).round(2).tolist()
    [0.25, 0.75, 1.0]
    """

    def __init__(self, rows, tokens, values, num_rows):
        self.rows, self.tokens = np.asarray(rows, np.int64), np.asarray(tokens, np.int64)
        self.values = np.asarray(values, np.float64)
        self.num_rows = int(num_rows)
        shapes = [self.rows.shape, self.tokens.shape, self.values.shape]
        if self.rows.ndim != 1 or len(set(shapes)) > 1:
            raise bad_value("shapes of rows, tokens and values", shapes, "1-d arrays of equal length")
        if len(self) and not (self.rows[0] >= 0 and self.rows[-1] < self.num_rows and (np.diff(self.rows) >= 0).all()):
            raise bad_value("rows of candidates", self.rows.tolist()[:20], f"ascending numbers below {self.num_rows}")

    @classmethod
    def from_dense(cls, log_probs, rows, tokens):
        """The pairs ``rows``, ``tokens`` of an array ``(num_rows, vocab_size)``.

        Raises:
            KerasSuError: a token is not below ``vocab_size``.
        """
        log_probs, tokens = np.asarray(log_probs), np.asarray(tokens, np.int64)
        check_vocabulary(tokens, log_probs.shape[1])
        return cls(rows, tokens, log_probs[rows, tokens], len(log_probs))

    def to_dense(self, vocab_size):
        """Array ``(num_rows, vocab_size)`` float64, ``-inf`` at all that is no candidate."""
        check_vocabulary(self.tokens, vocab_size)
        dense = np.full((self.num_rows, vocab_size), -np.inf)
        dense[self.rows, self.tokens] = self.values
        return dense

    def __len__(self):
        return len(self.rows)

    def with_values(self, values):
        """The same candidates with other log-scores, ``(n,)``."""
        return Candidates(self.rows, self.tokens, values, self.num_rows)

    def keep(self, mask):
        """Only the candidates where ``mask``, ``(n,)`` bool, is true."""
        return Candidates(self.rows[mask], self.tokens[mask], self.values[mask], self.num_rows)

    def possible(self):
        """The same, but with equal chances that sum to one in each row whose candidates all have probability zero.

        A model can be certain of a token that is not allowed. The row would be lost, or NaN after normalisation.
        """
        impossible = self._of_row(self._maxima == -np.inf)
        if not impossible.any():
            return self
        return self.with_values(np.where(impossible, -np.log(self._of_row(self._sizes)), self.values))

    def normalized(self):
        """The same with probabilities that sum to one in each row; rows of probability zero become uniform."""
        if not len(self):
            return self
        some = self.possible()
        shifted = some.values - some._of_row(some._maxima)
        return some.with_values(shifted - some._of_row(np.log(np.add.reduceat(np.exp(shifted), some._starts))))

    @cached_property
    def _starts(self):
        """Where each row that has candidates begins."""
        return np.flatnonzero(np.diff(self.rows, prepend=-1))

    @cached_property
    def _sizes(self):
        return np.diff(self._starts, append=len(self))

    @cached_property
    def _maxima(self):
        return np.maximum.reduceat(self.values, self._starts) if len(self) else np.zeros(0)

    def _of_row(self, reduced):
        """One number for each row that has candidates, repeated for each of them."""
        return np.repeat(reduced, self._sizes)


class Constraint:
    """What all constraints share: they allow some tokens after every hypothesis and forbid the rest.

    A constraint is a processor of `beam_search`, a function from log-probabilities ``(rows, vocab_size)`` and hypotheses to
    log-probabilities. A search may take the shorter way instead: ``allowed`` names the candidates, and ``rescore`` gets their
    scores. Both ways give the same numbers.

    To write one, inherit and define ``allowed``.

    Args:
        normalize: divide by the probability of all that is allowed, so that forced tokens cost nothing. ``False``
            only forbids the rest, which compares hypotheses by the model's own probabilities.

    >>> class OnlyThree(Constraint):
    ...     def allowed(self, hypotheses):
    ...         return np.arange(len(hypotheses)), np.full(len(hypotheses), 3)
    >>> from keras_su.decoding import beam_search
    >>> uniform = lambda hypotheses: np.full((len(hypotheses), 6), -np.log(6.0))
    >>> beam_search(uniform, [[1]], max_new_tokens=2, end_ids=0, processors=[OnlyThree()])[0][0].tokens.tolist()
    [3, 3]
    """

    def __init__(self, normalize=True):
        self.normalize = normalize

    @property
    def shift_invariant(self):
        """Whether a constant added to all scores of a row changes nothing, so that a model need not normalise its scores."""
        return self.normalize

    def allowed(self, hypotheses):
        """``(rows, tokens)``, both ``(n,)`` int64, ordered by row and then by token; at least one token for each row."""
        raise NotImplementedError

    def rescore(self, candidates, hypotheses):
        """`Candidates` that ``allowed`` named (perhaps not all) to `Candidates`."""
        return candidates.normalized() if self.normalize else candidates.possible()

    def __call__(self, log_probs, hypotheses):
        """See `beam_search`; ``(rows, vocab_size)`` to the same shape, float64."""
        candidates = Candidates.from_dense(log_probs, *self.allowed(hypotheses))
        return self.rescore(candidates, hypotheses).to_dense(np.shape(log_probs)[1])


def check_vocabulary(tokens, vocab_size):
    """Refuse tokens that the model cannot score."""
    if len(tokens) and tokens.max() >= vocab_size:
        raise bad_value("vocabulary size of the model", vocab_size, f"more than {int(tokens.max())}, a token that is asked for")


def pair_keys(rows, tokens):
    """One integer for each pair of row and token, ordered like the pairs, ``(n,)`` int64."""
    return (np.asarray(rows, np.int64) << 32) + np.asarray(tokens, np.int64)
