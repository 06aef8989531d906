"""Greedy search and sampling with the host in the loop: for constraints, callables, and scores that no model of ours computes."""

import numpy as np

from keras_su.decoding.beam import Hypotheses, next_scores, no_token_left
from keras_su.decoding.candidates import Candidates


def host_steps(step, prompts, search, *, max_new_tokens, end_ids, min_ends=1, processors=(), uniforms=None, only=None):
    """One token for every unfinished row after the other; a prompt has as many rows as there are samples of it.

    Args:
        step, prompts, max_new_tokens, end_ids, min_ends, processors: as for :func:`keras_su.decoding.beam_search`.
        search: :class:`~keras_su.decoding.search.Greedy` or :class:`~keras_su.decoding.search.Sample`.
        uniforms: ``(prompts, samples, max_new_tokens)`` numbers from 0 to 1 that a sample is drawn with.
        only: numbers of the prompts to continue, default all.

    Yields:
        ``(prompts, samples, tokens, log_probs, ended)`` of each step: which sample of which prompt got a token, which, its
        processed log-probability, and whether it has all its end ids. All arrays ``(n,)``.
    """
    end_ids = np.unique(np.atleast_1d(np.asarray(end_ids, np.int64)))
    alive = Hypotheses.start([np.asarray(prompt, np.int64).reshape(-1) for prompt in prompts], search.n, only)
    processors = [*processors, *search.truncations()]
    for number in range(max_new_tokens):
        if not len(alive):
            return
        scores = possible_scores(step, alive, processors)
        tokens = search.choose_on_host(scores, None if uniforms is None else uniforms[alive.prompt_index, alive.group, number])
        chosen = scores[np.arange(len(tokens)), tokens]
        ends = alive.ends + np.isin(tokens, end_ids)
        done = ends >= min_ends
        yield alive.prompt_index, alive.group, tokens, chosen, done
        going_on = np.flatnonzero(~done)
        alive = alive.extend(going_on, tokens[going_on], alive.scores[going_on] + chosen[going_on], ends[going_on])


def possible_scores(step, hypotheses, processors):
    """Processed log-probabilities ``(rows, tokens)``, as an array; an error when a row cannot go on."""
    scores = next_scores(step, hypotheses, processors)
    if isinstance(scores, Candidates):
        scores = scores.to_dense(1 + int(scores.tokens.max()))
    impossible = scores.max(axis=1) == -np.inf
    if impossible.any():
        raise no_token_left(int(hypotheses.prompt_index[impossible].min()), hypotheses.generated.shape[1])
    return scores
