"""Beam search over many prompts at once, for anything that can score the next token.

The search knows no model: ``step`` scores, *processors* reshape the scores (constraints, penalties), and the search
chooses. What a processor needs to remember for every hypothesis moves along with it through `Hypotheses.carry`.
"""

from dataclasses import dataclass

import numpy as np

from keras_su.decoding.candidates import Candidates, pair_keys
from keras_su.errors import KerasSuError, bad_value


@dataclass(frozen=True)
class Hypothesis:
    """One result of a search.

    Attributes:
        tokens: generated ids with their end ids, without the prompt, ``(length,)`` int64.
        score: sum of the processed log-probabilities of ``tokens``, divided by ``length ** length_penalty``.
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
        group: which group of a diverse beam a row belongs to, ``(rows,)``.
    """

    def __init__(self, prompts, prompt_index, generated, scores, ends, parents, inherited, group=None):
        self.prompts = prompts
        self.prompt_index = prompt_index
        self.group = np.zeros(len(prompt_index), int) if group is None else group
        self.generated = generated
        self.scores = scores
        self.ends = ends
        self.parents = parents
        self._inherited = inherited
        self._carried = {}

    @classmethod
    def start(cls, prompts, groups=1, only=None):
        """One empty hypothesis for every group of every prompt, or of the prompts whose numbers are in ``only``."""
        only = np.arange(len(prompts)) if only is None else np.asarray(only)
        prompt, group = np.repeat(only, groups), np.tile(np.arange(groups), len(only))
        rows = np.arange(len(prompt))
        nothing = np.zeros((len(rows), 0), np.int64)
        return cls(prompts, prompt, nothing, np.zeros(len(rows)), np.zeros(len(rows), int), rows, {}, group)

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
        index, group = self.prompt_index[rows], self.group[rows]
        return Hypotheses(self.prompts, index, generated, scores, ends, rows, self._carried, group)


def beam_search(
    step,
    prompts,
    *,
    beam=3,
    max_new_tokens,
    end_ids,
    min_ends=1,
    processors=(),
    length_penalty=0.0,
    groups=1,
    diversity=0.0,
    only=None,
):
    """The best continuations of every prompt.

    Every step keeps, for every prompt, the ``beam`` best continuations of its hypotheses by the sum of
    log-probabilities. One that received its last end id is set aside as finished, and stays a candidate for the
    answer; the others go on. A prompt is done when no hypothesis of it can overtake its ``beam`` best finished ones
    any more, which relies on log-probabilities being at most 0. ``beam=1`` is greedy search. Prompts do not influence
    each other.

    Args:
        step: function from `Hypotheses` (iterable: the sequences so far, prompts included) to the log-probabilities
            of the next token, array ``(rows, vocab_size)``. It may have a method ``score_candidates(hypotheses, rows,
            tokens)`` that scores some pairs only, up to a constant for each row; constraints then have it called.
        prompts: sequences of ids, of any lengths.
        beam: hypotheses a prompt.
        max_new_tokens: stop there, whatever is unfinished.
        end_ids: id, or ids, that end a sequence.
        min_ends: how many of them it takes; 3 for an answer of three fields that are closed by ``[SEP]`` each.
        processors: functions ``(log_probs, hypotheses) -> log_probs``, applied in order; see `PrefixConstraint` and `LookAhead`.
        length_penalty: results are ranked by their sum divided by ``length ** length_penalty``, end ids counted.
        groups: parts of the beam, each a beam search of its own (diverse beam search, arXiv 1610.02424).
        diversity: what a token costs for each earlier group of the prompt that chose it in the same step. It counts for the
            choice only, not for the score.
        only: numbers of the prompts to search for, default all. Processors see all of them in any case.

    Returns:
        for every prompt (of ``only``) a list of at most ``beam`` `Hypothesis`, finished ones first, best first within both
        kinds; at least one.

    Raises:
        KerasSuError: an argument is out of range, log-probabilities have the wrong shape or are NaN, or no token of a
            prompt has a probability above zero.

    >>> table = np.log([[0.1, 0.6, 0.3], [0.6, 0.2, 0.2], [0.1, 0.1, 0.8]])  # next token given the last one; 0 ends
    >>> step = lambda hypotheses: np.array([table[ids[-1]] for ids in hypotheses])
    >>> best = beam_search(step, [[1], [0, 2]], beam=2, max_new_tokens=3, end_ids=0)
    >>> best[0][0].tokens.tolist(), round(float(np.exp(best[0][0].score)), 3)
    ([0], 0.6)
    """
    for name, value in (("beam", beam), ("max_new_tokens", max_new_tokens), ("min_ends", min_ends), ("groups", groups)):
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise bad_value(name, value, "a positive integer")
    if beam % groups:
        raise bad_value("groups", groups, f"a divisor of beam={beam}")
    end_ids, width = np.unique(np.atleast_1d(end_ids)), beam // groups
    alive = Hypotheses.start([np.asarray(prompt, np.int64).reshape(-1) for prompt in prompts], groups, only)
    finished = _Finished(len(prompts), groups, width, length_penalty, max_new_tokens)
    for _ in range(max_new_tokens):
        if not len(alive):
            break
        scores = next_scores(step, alive, processors)
        rows, tokens, totals = best_continuations(scores, alive, width, groups, diversity)
        _check_every_prompt_goes_on(alive, alive.prompt_index[rows], finished)
        ends = alive.ends[rows] + np.isin(tokens, end_ids)
        following = alive.extend(rows, tokens, totals, ends)
        done = ends >= min_ends
        finished.add(following, np.flatnonzero(done), True)
        going_on = np.flatnonzero(~done & finished.can_be_overtaken(following))
        alive = alive.extend(rows[going_on], tokens[going_on], totals[going_on], ends[going_on])
    finished.add(alive, np.arange(len(alive)), False)
    return [finished.best(prompt, beam) for prompt in (range(len(prompts)) if only is None else only)]


class _Finished:
    """The results of every prompt so far, for each group of its beam."""

    def __init__(self, prompts, groups, width, length_penalty, longest):
        self._of = [[[] for _ in range(groups)] for _ in range(prompts)]
        self._width, self._penalty, self._longest = width, length_penalty, longest

    def __getitem__(self, prompt):
        return [result for group in self._of[prompt] for result in group]

    def add(self, hypotheses, rows, finished):
        """Rows that end here; as unfinished ones they come after all others."""
        length = max(hypotheses.generated.shape[1], 1)
        for row in rows.tolist():
            results = self._of[hypotheses.prompt_index[row]][hypotheses.group[row]]
            score = float(hypotheses.scores[row]) / length**self._penalty
            results.append(Hypothesis(hypotheses.generated[row], score, finished))
            results.sort(key=lambda each: (not each.finished, -each.score))
            del results[self._width :]

    def can_be_overtaken(self, hypotheses):
        """For each row whether a continuation could still enter the results of its prompt, ``(rows,)`` bool."""
        # A sum of log-probabilities only falls; divided by a length it may rise until the longest one.
        length = self._longest if self._penalty > 0 else hypotheses.generated.shape[1]
        best = hypotheses.scores / max(length, 1) ** self._penalty
        worst = []
        for prompt, group in zip(hypotheses.prompt_index.tolist(), hypotheses.group.tolist()):
            results = self._of[prompt][group]
            worst.append(results[-1].score if len(results) == self._width else -np.inf)
        return best > np.array(worst)

    def best(self, prompt, beam):
        """The results of a prompt, best first."""
        return sorted(self[prompt], key=lambda each: (not each.finished, -each.score))[:beam]


def next_scores(step, hypotheses, processors):
    """Log-probabilities of the next token with all processors applied: an array ``(rows, vocab_size)``, or `Candidates`."""
    constraints = [processor for processor in processors if hasattr(processor, "allowed")]
    if not constraints or not all(hasattr(processor, "rescore") for processor in processors):
        log_probs = _checked(step(hypotheses), hypotheses)
        for processor in processors:
            log_probs = _checked(processor(log_probs, hypotheses), hypotheses)
        return log_probs
    rows, tokens = constraints[0].allowed(hypotheses)
    for other in constraints[1:]:
        both = np.isin(pair_keys(rows, tokens), pair_keys(*other.allowed(hypotheses)))
        rows, tokens = rows[both], tokens[both]
    if hasattr(step, "score_candidates") and all(processor.shift_invariant for processor in processors):
        values = np.asarray(step.score_candidates(hypotheses, rows, tokens), np.float64)
        if np.isnan(values).any():
            raise KerasSuError(f"Scores of row {int(rows[np.isnan(values)][0])} are NaN.")
        candidates = Candidates(rows, tokens, values, len(hypotheses))
    else:
        candidates = Candidates.from_dense(_checked(step(hypotheses), hypotheses), rows, tokens)
    for processor in processors:
        candidates = processor.rescore(candidates, hypotheses)
    return candidates


def _checked(log_probs, hypotheses):
    log_probs = np.asarray(log_probs)
    if log_probs.ndim != 2 or len(log_probs) != len(hypotheses):
        raise bad_value("log-probabilities", f"an array of shape {log_probs.shape}", f"shape ({len(hypotheses)}, vocab_size)")
    if np.isnan(log_probs).any():
        raise KerasSuError(f"Log-probabilities of row {int(np.isnan(log_probs).any(axis=1).argmax())} are NaN.")
    return log_probs


def best_continuations(scores, hypotheses, width, groups, diversity):
    """Of every prompt and group the ``width`` best pairs of row and token, best first, without those of probability zero.

    Equal scores are taken in order of row and token, so that a prompt has the same result in any batch.
    """
    if groups == 1 and not isinstance(scores, Candidates):
        scores = _promising(scores, hypotheses, width)
    block = hypotheses.prompt_index * groups + hypotheses.group
    bounds = np.flatnonzero(np.diff(block, prepend=-1, append=-1))
    chosen, taken, prompt = [], [], None
    for first, last in zip(bounds, bounds[1:]):
        rows, tokens, values = _pairs(scores, first, last)
        totals = hypotheses.scores[rows] + values
        ranks = totals
        if hypotheses.prompt_index[first] != prompt:
            prompt, taken = hypotheses.prompt_index[first], []
        if taken:
            known, counts = np.unique(np.concatenate(taken), return_counts=True)
            at = np.minimum(np.searchsorted(known, tokens), len(known) - 1)
            ranks = totals - diversity * np.where(known[at] == tokens, counts[at], 0)
        possible = np.arange(len(ranks))
        if len(ranks) > width:
            possible = np.flatnonzero(ranks >= np.partition(ranks, -width)[-width])
        order = possible[np.argsort(-ranks[possible], kind="stable")[:width]]
        if groups > 1:
            taken.append(tokens[order])
        chosen.append((rows[order], tokens[order], totals[order]))
    rows, tokens, totals = (np.concatenate(column) for column in zip(*chosen))
    return rows.astype(np.int64), tokens.astype(np.int64), totals


def _pairs(scores, first, last):
    """Rows ``first`` to ``last`` as pairs with a probability above zero: rows, tokens, log-probabilities."""
    if isinstance(scores, Candidates):
        start, stop = np.searchsorted(scores.rows, (first, last))
        part = slice(start, stop)
        possible = scores.values[part] > -np.inf
        return scores.rows[part][possible], scores.tokens[part][possible], scores.values[part][possible]
    flat = scores[first:last].ravel()
    possible = np.flatnonzero(flat > -np.inf)
    return possible // scores.shape[1] + first, possible % scores.shape[1], flat[possible].astype(np.float64)


def _promising(scores, hypotheses, width):
    """The pairs of a dense array that can be among the ``width`` best of their prompt, as `Candidates`, and some more.

    The array is looked at once, for the largest score of each block of columns. The ``width``-th largest of these sums is a bound
    that the ``width``-th best pair reaches: only blocks that reach it hold pairs worth a look.
    """
    rows, size = scores.shape
    blocks = -(-size // BLOCK)
    whole = size // BLOCK
    largest = np.full((rows, blocks), -np.inf)
    largest[:, :whole] = scores[:, : whole * BLOCK].reshape(rows, whole, BLOCK).max(axis=2)
    if whole < blocks:
        largest[:, whole] = scores[:, whole * BLOCK :].max(axis=1)
    sums = largest + hypotheses.scores[:, None]
    bound = np.empty(rows)
    bounds = np.flatnonzero(np.diff(hypotheses.prompt_index, prepend=-1, append=-1))
    for first, last in zip(bounds, bounds[1:]):
        part = sums[first:last].ravel()
        bound[first:last] = -np.inf if len(part) < width else np.partition(part, -width)[-width]
    chosen_rows, chosen_blocks = np.nonzero((sums >= bound[:, None]) & (sums > -np.inf))
    columns = chosen_blocks[:, None] * BLOCK + np.arange(BLOCK)
    values = scores[chosen_rows[:, None], np.minimum(columns, size - 1)].astype(np.float64)
    good = (columns < size) & (values > -np.inf) & (values + hypotheses.scores[chosen_rows, None] >= bound[chosen_rows, None])
    at, _ = np.nonzero(good)
    return Candidates(chosen_rows[at], columns[good], values[good], rows)


BLOCK = 128


def _check_every_prompt_goes_on(alive, reached, finished):
    stuck = [prompt for prompt in np.setdiff1d(alive.prompt_index, reached).tolist() if not finished[prompt]]
    if stuck:
        raise no_token_left(stuck[0], alive.generated.shape[1])


def no_token_left(prompt, generated):
    """The error for a prompt that cannot go on after so many tokens."""
    return KerasSuError(
        f"No token has a probability above zero for prompt {prompt} after {generated} generated tokens. "
        "Let the processors leave at least the end id."
    )
