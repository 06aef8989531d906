"""Keep a search inside the keys of a `PrefixTree`, and let it look ahead in the tree.

Both are processors of `beam_search`: functions from log-probabilities and hypotheses to log-probabilities. Their
state moves along with every hypothesis, so that a step costs the same however long the sequence is.

Reference: GENRE (De Cao et al., arXiv 2010.00904) for the constraint; https://kexue.fm/archives/8802 for
normalisation and look-ahead.
"""

import numpy as np

from keras_su.errors import KerasSuError, bad_value
from keras_su.metrics import CommonSubsequence


def tree_states(tree, hypotheses):
    """The state of ``tree`` of every hypothesis, ``(rows,)``: the generated ids, read as the beginning of a key."""
    return hypotheses.carry(("tree", id(tree)), lambda: np.full(len(hypotheses), tree.root), tree.advance_many)


class PrefixConstraint:
    """Allow only tokens that continue a key of the tree, and the end id where a key ends.

    A hypothesis that has left the tree, because its key is complete, can only add end ids. Hence with ``min_ends``
    greater than one, the keys should hold ``min_ends - 1`` end ids themselves, as separators.

    Args:
        tree: a `PrefixTree`.
        end_id: closes a key.
        normalize: divide by the probability of all that is allowed, so that forced tokens cost nothing. ``False``
            only forbids the rest, which compares hypotheses by the model's own probabilities.

    >>> from keras_su.decoding import PrefixTree, beam_search
    >>> tree = PrefixTree.build([([3, 4], "a"), ([3], "b"), ([5], "c")], progress=False)
    >>> uniform = lambda hypotheses: np.full((len(hypotheses), 6), -np.log(6.0))
    >>> found = beam_search(uniform, [[1]], beam=4, max_new_tokens=3, end_ids=0, processors=[PrefixConstraint(tree, 0)])
    >>> [(each.tokens.tolist(), round(float(np.exp(each.score)), 3)) for each in found[0]]
    [([5, 0], 0.5), ([3, 0], 0.25), ([3, 4, 0], 0.25)]
    """

    def __init__(self, tree, end_id, normalize=True):
        if not len(tree):
            raise KerasSuError("PrefixConstraint: the tree has no keys, so nothing could be generated.")
        self.tree = tree
        self.end_id = end_id
        self.normalize = normalize

    def __call__(self, log_probs, hypotheses):
        """See `beam_search`; ``(rows, vocab_size)`` to the same shape."""
        rows, tokens = _allowed(self.tree, tree_states(self.tree, hypotheses), self.end_id)
        if tokens.max() >= log_probs.shape[1]:
            expected = f"more than {int(tokens.max())}, which the tree holds"
            raise bad_value("vocabulary size of the model", log_probs.shape[1], expected)
        starts = np.flatnonzero(np.diff(rows, prepend=-1))  # every row has an allowed token
        values = log_probs[rows, tokens].astype(np.float64)
        # Where every allowed token has probability zero, the row would be lost, or NaN after normalisation: take them as
        # equally good.
        impossible = (np.maximum.reduceat(values, starts) == -np.inf)[rows]
        values[impossible] = 0.0
        if self.normalize or impossible.any():
            total = np.logaddexp.reduceat(values, starts)[rows]
            values = np.where(self.normalize | impossible, values - total, values)
        constrained = np.full(log_probs.shape, -np.inf)
        constrained[rows, tokens] = values
        return constrained


class LookAhead:
    """Raise tokens that lead to keys which cover more of the question.

    Where a hypothesis may go on in several ways, a token that can still gain ``d`` in the longest common subsequence of key and
    question has its probability ``p`` raised to ``p ** (1 / (d + 1))``: among all completions the best one counts.
    Put it before the `PrefixConstraint`, which normalises afterwards.

    The power suits a model that is rarely wrong. One that was trained on little is confident and wrong at once, and among
    several gains a power hardly tells a large one from a larger one; ``bonus`` then weighs gains and model as log-linear
    terms: ``log p / temperature + bonus * d``, where a token that the rest of the key has and the question may lack costs
    ``cost`` of a gained one, so that of two keys that cover the same the shorter wins.

    Args:
        tree: a `PrefixTree`.
        questions: for every prompt of the search the ids to cover; usually the prompt without its special tokens.
        after_ends: start when a hypothesis holds this many end ids. The default 1 waits until the subject is
            complete: before, nearly the whole tree would have to be compared.
        end_id: closes a key; only needed to compare up to ``until_ends``.
        until_ends: compare keys only up to this many end ids: 2 leaves the third field out. ``None`` compares whole keys.
        bonus: log-probability for every token gained, instead of the power; ``None`` for the power.
        temperature: what the model's log-probabilities are divided by beside a ``bonus``.
        cost: what every token of a completion takes off its gain.
    """

    def __init__(self, tree, questions, after_ends=1, end_id=None, until_ends=None, bonus=None, temperature=1.0, cost=0.0):
        if until_ends is not None and end_id is None:
            raise bad_value("end_id", end_id, "the id that until_ends counts")
        self.tree = tree
        self.after_ends = after_ends
        self.end_id = end_id
        self.until_ends = until_ends
        self.bonus = bonus
        self.temperature = temperature
        self.cost = cost
        self._common = [CommonSubsequence([int(token) for token in question]) for question in questions]

    def __call__(self, log_probs, hypotheses):
        """See `beam_search`; ``(rows, vocab_size)`` to the same shape."""
        if len(self._common) != len(hypotheses.prompts):
            raise bad_value("number of questions", len(self._common), f"one for each of the {len(hypotheses.prompts)} prompts")
        common = [self._common[prompt] for prompt in hypotheses.prompt_index.tolist()]
        states = tree_states(self.tree, hypotheses)
        covered = hypotheses.carry(
            ("look-ahead", id(self)),
            lambda: np.array([each.start for each in common], dtype=object),
            lambda before, tokens: np.array([c.advance(b, t) for c, b, t in zip(common, before, tokens.tolist())], dtype=object),
        )
        log_probs = np.array(log_probs, np.float64)
        for row in np.flatnonzero(hypotheses.ends >= self.after_ends).tolist():
            state = int(states[row])
            if len(self.tree.children(state)) > 1:
                gains = self._gains(state, common[row], covered[row], int(hypotheses.ends[row]))
                if self.bonus is not None:
                    log_probs[row] /= self.temperature
                for token, gain in gains.items():
                    if self.bonus is None:
                        log_probs[row, token] /= gain + 1
                    else:
                        log_probs[row, token] += self.bonus * gain
        return log_probs

    def _gains(self, state, common, covered, ends):
        """For every child of ``state`` how much longer the common subsequence can get."""
        gains, before = {}, common.length(covered)
        ids, bounds = self.tree.completion_arrays(state)
        ids, bounds = ids.tolist(), bounds.tolist()
        for first, last in zip(bounds, bounds[1:]):
            if first < last:
                key = self._compared(ids[first:last], ends)
                gain = common.length(common.advance_all(covered, key)) - before - self.cost * len(key)
                gains[ids[first]] = max(gain, gains.get(ids[first], -np.inf))
        return gains

    def _compared(self, key, ends):
        """The part of the rest of a key that counts."""
        if self.until_ends is None:
            return key
        for position, token in enumerate(key):
            if token == self.end_id:
                ends += 1
                if ends >= self.until_ends:
                    return key[:position]
        return key


class LiteralStart:
    """Begin only with one of some given id sequences, each prompt with its own; the first end id closes it.

    For answers whose first field is nearly always quoted from the question. Where a prompt has no sequences the search stays
    free, so a question that quotes nothing is still answered.

    Args:
        starts: for every prompt a list of id sequences, without the end id.
        end_id: closes the first field.
    """

    def __init__(self, starts, end_id):
        self.starts = [[tuple(int(token) for token in start) for start in each] for each in starts]
        self.end_id = end_id

    def __call__(self, log_probs, hypotheses):
        """See `beam_search`; ``(rows, vocab_size)`` to the same shape."""
        if len(self.starts) != len(hypotheses.prompts):
            expected = f"one for each of the {len(hypotheses.prompts)} prompts"
            raise bad_value("number of lists of starts", len(self.starts), expected)
        result = np.array(log_probs, np.float64)
        done = hypotheses.generated.shape[1]
        for row in np.flatnonzero(hypotheses.ends == 0).tolist():
            begun = tuple(hypotheses.generated[row].tolist())
            fitting = [start for start in self.starts[hypotheses.prompt_index[row]] if start[:done] == begun]
            allowed = {start[done] if len(start) > done else self.end_id for start in fitting}
            if allowed:
                columns = sorted(allowed)
                kept = result[row, columns]
                result[row] = -np.inf
                result[row, columns] = kept
        return result


def _allowed(tree, states, end_id):
    """Pairs of row and token, ordered by row: the children of the states, and ``end_id`` where a key ends or nothing follows."""
    tokens, spans = tree.children_many(states)
    sizes = spans[:, 1] - spans[:, 0]
    rows = np.repeat(np.arange(len(states)), sizes)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    tokens = tokens[np.repeat(spans[:, 0], sizes) + within].astype(np.int64)
    closing = np.array([row for row, state in enumerate(states.tolist()) if not sizes[row] or tree.is_key(state)], np.int64)
    closing = np.setdiff1d(closing, rows[tokens == end_id])  # where the end id is a child as well it is there already
    rows, tokens = np.concatenate([rows, closing]), np.concatenate([tokens, np.full(len(closing), end_id)])
    order = np.argsort(rows, kind="stable")
    return rows[order], tokens[order]
