"""Any rule that a Python function can tell."""

import numpy as np

from keras_su.decoding.candidates import Constraint
from keras_su.errors import bad_value


class AllowedTokens(Constraint):
    """Allow what a function says: the hook that other libraries call ``prefix_allowed_tokens_fn``.

    The function is called once for every hypothesis and step. For a long list of answers a `PrefixTree` and its
    `PrefixConstraint` are faster, and remember where each hypothesis stands.

    Args:
        function: from the number of the prompt in the batch (int) and the generated ids, prompt and all that precedes excluded
            (``(length,)`` int64), to the ids that may follow, an iterable; at least one, in any order.
        normalize: see `Constraint`.

    Raises:
        KerasSuError: in a search, when the function returns no ids, or something else than ids.

    >>> from keras_su.decoding import beam_search
    >>> uniform = lambda hypotheses: np.full((len(hypotheses), 6), -np.log(6.0))
    >>> yes_or_no = AllowedTokens(lambda prompt, ids: [0] if len(ids) else {4, 2})
    >>> found = beam_search(uniform, [[1]], beam=2, max_new_tokens=3, end_ids=0, processors=[yes_or_no])
    >>> [(each.tokens.tolist(), round(float(np.exp(each.score)), 3)) for each in found[0]]
    [([2, 0], 0.5), ([4, 0], 0.5)]
    """

    def __init__(self, function, normalize=True):
        super().__init__(normalize)
        if not callable(function):
            raise bad_value("function", function, "a function of the prompt's number and the generated ids")
        self.function = function

    def allowed(self, hypotheses):
        """What the function says for every row; see `Constraint`."""
        allowed = [
            self._ids(prompt, generated) for prompt, generated in zip(hypotheses.prompt_index.tolist(), hypotheses.generated)
        ]
        return np.repeat(np.arange(len(allowed)), [len(ids) for ids in allowed]), np.concatenate(allowed)

    def _ids(self, prompt, generated):
        ids = self.function(prompt, generated)
        array = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids))
        if array.ndim != 1 or not len(array) or array.dtype.kind not in "iu" or array.min() < 0:
            where = f"prompt {prompt} after {generated.tolist()}"
            raise bad_value(
                f"allowed ids for {where}", array.tolist(), "at least one id, integers from 0 (the end id, for instance)"
            )
        return np.unique(array).astype(np.int64)
