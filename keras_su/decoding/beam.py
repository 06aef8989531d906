"""Beam search over many prompts at once, for anything that can score the next token.

The search knows no model: ``step`` scores, *processors* reshape the scores (constraints, penalties), and the search
chooses. What a processor needs to remember for every hypothesis moves along with it through `Hypotheses.carry`.
"""

from dataclasses import dataclass

import numpy as np

from keras_su.errors import KerasSuError, bad_value


@dataclass(frozen=True)
class Hypothesis:
    """One result of a search.

    Attributes:
        tokens: generated ids with their end ids, without the prompt, ``(length,)`` int64.
        score: sum of the processed log-probabilities of ``tokens``; there is no length normalisation.
        finished: whether it has its end ids, or was cut at ``max_new_tokens``.
    """

    tokens: np.ndarray
    score: float
    finished: bool


class Hypotheses:
    """The unfinished hypotheses of all prompts at one step, one a row, rows of a prompt beside each other.

    Iterating gives the whole sequences, prompt and generated ids, as 1-d int64 arrays.

    Attributes:
        prompts: the prompts of the search, a list of 1-d arrays.
        prompt_index: which prompt a row belongs to, ``(rows,)``.
        generated: ids after the prompt, ``(rows, length)``; the length is the same in all rows.
        scores: accumulated log-probabilities, ``(rows,)`` float64.
        ends: how many end ids a row holds, ``(rows,)``.
        parents: the row of the previous step that a row continues, ``(rows,)``; a model with a cache reorders it by them.
    """

    def __init__(self, prompts, prompt_index, generated, scores, ends, parents, inherited):
        self.prompts = prompts
        self.prompt_index = prompt_index
        self.generated = generated
        self.scores = scores
        self.ends = ends
        self.parents = parents
        self._inherited = inherited
        self._carried = {}

    @classmethod
    def start(cls, prompts):
        """One empty hypothesis for every prompt."""
        rows = np.arange(len(prompts))
        return cls(prompts, rows, np.zeros((len(rows), 0), np.int64), np.zeros(len(rows)), np.zeros(len(rows), int), rows, {})

    def __len__(self):
        return len(self.prompt_index)

    def __iter__(self):
        for prompt, generated in zip(self.prompt_index.tolist(), self.generated):
            yield np.concatenate([self.prompts[prompt], generated])

    @property
    def last_tokens(self):
        """The newest id of every row, ``(rows,)``; not defined before the first step."""
        return self.generated[:, -1]

    def carry(self, key, start, advance):
        """A value for every row that is updated token by token instead of computed from the whole sequence.

        Args:
            key: names the value; processors that pass the same key share it.
            start: function without arguments, the array of values of the prompts, ``(rows,)``.
            advance: function from the values of the parent rows and the newest token of every row to the new values.

        Returns:
            the values of this step, ``(rows,)``.
        """
        if key not in self._carried:
            inherited = self._inherited.get(key)
            self._carried[key] = start() if inherited is None else advance(inherited[self.parents], self.last_tokens)
        return self._carried[key]

    def extend(self, rows, tokens, scores, ends):
        """The next step: ``rows`` of this one, each with one more token."""
        generated = np.concatenate([self.generated[rows], tokens[:, None]], axis=1)
        return Hypotheses(self.prompts, self.prompt_index[rows], generated, scores, ends, rows, self._carried)


def beam_search(step, prompts, *, beam=3, max_new_tokens, end_ids, min_ends=1, processors=()):
    """The best continuations of every prompt.

    Every step keeps, for every prompt, the ``beam`` best continuations of its hypotheses by the sum of
    log-probabilities. One that received its last end id is set aside as finished, and stays a candidate for the
    answer; the others go on. A prompt is done when no hypothesis of it can overtake its ``beam`` best finished ones
    any more, which relies on log-probabilities being at most 0. ``beam=1`` is greedy search. Prompts do not influence
    each other.

    Args:
        step: function from `Hypotheses` (iterable: the sequences so far, prompts included) to the log-probabilities
            of the next token, array ``(rows, vocab_size)``.
        prompts: sequences of ids, of any lengths.
        beam: hypotheses a prompt.
        max_new_tokens: stop there, whatever is unfinished.
        end_ids: id, or ids, that end a sequence.
        min_ends: how many of them it takes; 3 for an answer of three fields that are closed by ``[SEP]`` each.
        processors: functions ``(log_probs, hypotheses) -> log_probs``, applied in order; see `PrefixConstraint` and `LookAhead`.

    Returns:
        for every prompt a list of at most ``beam`` `Hypothesis`, finished ones first, best first within both kinds; at least one.

    Raises:
        KerasSuError: an argument is out of range, log-probabilities have the wrong shape or are NaN, or no token of a
            prompt has a probability above zero.

    >>> table = np.log([[0.1, 0.6, 0.3], [0.6, 0.2, 0.2], [0.1, 0.1, 0.8]])  # next token given the last one; 0 ends
    >>> step = lambda hypotheses: np.array([table[ids[-1]] for ids in hypotheses])
    >>> best = beam_search(step, [[1], [0, 2]], beam=2, max_new_tokens=3, end_ids=0)
    >>> best[0][0].tokens.tolist(), round(float(np.exp(best[0][0].score)), 3)
    ([0], 0.6)
    """
    for name, value in (("beam", beam), ("max_new_tokens", max_new_tokens), ("min_ends", min_ends)):
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise bad_value(name, value, "a positive integer")
    end_ids = np.unique(np.atleast_1d(end_ids))
    alive = Hypotheses.start([np.asarray(prompt, np.int64).reshape(-1) for prompt in prompts])
    finished = [[] for _ in prompts]
    for _ in range(max_new_tokens):
        if not len(alive):
            break
        log_probs = _checked(step(alive), alive)
        for processor in processors:
            log_probs = _checked(processor(log_probs, alive), alive)
        rows, tokens, scores = _best_continuations(log_probs, alive, beam)
        _check_every_prompt_goes_on(alive, alive.prompt_index[rows], finished)
        ends = alive.ends[rows] + np.isin(tokens, end_ids)
        following = alive.extend(rows, tokens, scores, ends)
        done = ends >= min_ends
        for row in np.flatnonzero(done):
            finished[following.prompt_index[row]].append(Hypothesis(following.generated[row], float(scores[row]), True))
        finished = [sorted(some, key=lambda each: -each.score)[:beam] for some in finished]
        worst = np.array([some[-1].score if len(some) == beam else -np.inf for some in finished])
        going_on = ~done & (scores > worst[following.prompt_index])
        alive = alive.extend(rows[going_on], tokens[going_on], scores[going_on], ends[going_on])
    for prompt, tokens, score in zip(alive.prompt_index.tolist(), alive.generated, alive.scores.tolist()):
        finished[prompt].append(Hypothesis(tokens, score, False))
    return [some[:beam] for some in finished]


def _checked(log_probs, hypotheses):
    log_probs = np.asarray(log_probs)
    if log_probs.ndim != 2 or len(log_probs) != len(hypotheses):
        raise bad_value("log-probabilities", f"an array of shape {log_probs.shape}", f"shape ({len(hypotheses)}, vocab_size)")
    if np.isnan(log_probs).any():
        raise KerasSuError(f"Log-probabilities of row {int(np.isnan(log_probs).any(axis=1).argmax())} are NaN.")
    return log_probs


def _best_continuations(log_probs, hypotheses, beam):
    """Of every prompt the ``beam`` best pairs of row and token, best first, without those of probability zero.

    Equal scores are taken in order of row and token, so that a prompt has the same result in any batch.
    """
    bounds = np.flatnonzero(np.diff(hypotheses.prompt_index, prepend=-1, append=-1))
    chosen = []
    for first, last in zip(bounds, bounds[1:]):
        totals = (hypotheses.scores[first:last, None] + log_probs[first:last]).ravel()
        possible = np.flatnonzero(totals > -np.inf)
        if len(possible) > beam:
            values = totals[possible]
            possible = possible[values >= np.partition(values, -beam)[-beam]]
        order = possible[np.argsort(-totals[possible], kind="stable")[:beam]]
        chosen.append(np.stack([order // log_probs.shape[1] + first, order % log_probs.shape[1], totals[order]]))
    rows, tokens, scores = np.concatenate(chosen, axis=1)
    return rows.astype(np.int64), tokens.astype(np.int64), scores


def _check_every_prompt_goes_on(alive, reached, finished):
    stuck = [prompt for prompt in np.setdiff1d(alive.prompt_index, reached).tolist() if not finished[prompt]]
    if stuck:
        raise KerasSuError(
            f"No token has a probability above zero for prompt {stuck[0]} after {alive.generated.shape[1]} generated tokens. "
            "Let the processors leave at least the end id."
        )
