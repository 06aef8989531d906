"""The step function of the host searches for a model with a cache."""

import numpy as np
from keras import ops

from keras_su.decoding.candidates import check_vocabulary
from keras_su.errors import KerasSuError

FEW = 8
"""Candidates are scored apart from the rest of the vocabulary when there are fewer than one of so many tokens."""


class ModelStep:
    """``step`` of :func:`keras_su.decoding.beam_search`: each call reads the newest tokens of the hypotheses.

    The rows of the model are fixed, ``width`` for every prompt, for a change of shape would be compiled anew; those of finished
    hypotheses go on without effect. Caches follow the hypotheses by their parents.

    Args:
        stepper: :class:`~keras_su.decoding.stepper.Stepper`.
        batch: :class:`~keras_su.decoding.stepper.Batch` of the prompts, perhaps with further rows behind.
        width: most hypotheses of a prompt.
        only: which prompt of the search each row of the batch is; default all in order.
    """

    def __init__(self, stepper, batch, width, only=None):
        self._stepper, self._batch = stepper, batch
        self._rows = len(batch.lengths) * width
        self._state = None
        only = range(len(batch.lengths)) if only is None else only
        self._row_of = {prompt: row for row, prompt in enumerate(only)}

    def __call__(self, hypotheses):
        """Log-probabilities float32 ``(rows, vocab_size)``."""
        log_probs = ops.convert_to_numpy(self._stepper.score_all(self._batch, self._read(hypotheses)))
        first = not hypotheses.generated.shape[1]
        return log_probs[self._rows_of_prompts(hypotheses)] if first else log_probs[: len(hypotheses)]

    def score_candidates(self, hypotheses, rows, tokens):
        """Scores of the pairs of ``rows`` and ``tokens``, both ``(n,)``, up to a constant for each row."""
        check_vocabulary(tokens, self._stepper.model.vocab_size)
        counts = np.bincount(rows, minlength=len(hypotheses))
        most = int(counts.max(initial=1))
        few = most * FEW < self._stepper.model.vocab_size and self._stepper.model.head.candidates_only
        if not hypotheses.generated.shape[1] or not few:
            return self(hypotheses)[rows, tokens]
        columns = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        table = np.zeros((self._rows, 1 << max(most - 1, 7).bit_length()), np.int32)
        table[rows, columns] = tokens
        scores = self._stepper.score_candidates(self._batch, self._read(hypotheses), table)
        return ops.convert_to_numpy(scores)[rows, columns]

    def _rows_of_prompts(self, hypotheses):
        return [self._row_of[prompt] for prompt in hypotheses.prompt_index.tolist()]

    def _read(self, hypotheses):
        """Hidden states after the newest tokens, for all rows of the model."""
        if not hypotheses.generated.shape[1]:
            hidden, self._state = self._stepper.begin(self._batch)
            return hidden
        state, self._state = self._state, None
        if state is None:
            raise KerasSuError("The search was interrupted by an error in an earlier step and cannot go on. Start it again.")
        # Hypotheses of the first step are rows of their own only where a beam has groups; the model has a row for each prompt.
        first = hypotheses.generated.shape[1] == 1
        parents = np.zeros(self._rows, np.int32)
        parents[: len(hypotheses)] = self._rows_of_prompts(hypotheses) if first else hypotheses.parents
        tokens = np.zeros(self._rows, np.int32)
        tokens[: len(hypotheses)] = hypotheses.last_tokens
        if first or (parents[: len(hypotheses)] != np.arange(len(hypotheses))).any():
            state = self._stepper.gather(self._batch, state, parents)
        hidden, self._state = self._stepper.step(self._batch, state, tokens)
        return hidden
