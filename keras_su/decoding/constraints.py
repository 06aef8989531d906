"""Keep a search inside the keys of a `PrefixTree`, and let it look ahead in the tree.

All are processors of `beam_search`: functions from log-probabilities and hypotheses to log-probabilities. Beside that, each
can ``rescore`` the few candidates that a constraint leaves. Their state moves along with every hypothesis, so that a step
costs the same however long the sequence is.

Reference: GENRE (De Cao et al., arXiv 2010.00904) for the constraint; https://kexue.fm/archives/8802 for
normalisation and look-ahead.
"""

import numpy as np

from keras_su.decoding.candidates import Constraint, check_vocabulary, pair_keys
from keras_su.decoding.prefix_tree_rows import running_bounds, spread
from keras_su.errors import KerasSuError, bad_value
from keras_su.metrics import CommonSubsequence


def tree_states(tree, hypotheses):
    """The state of ``tree`` of every hypothesis, ``(rows,)``: the generated ids, read as the beginning of a key."""
    return hypotheses.carry(("tree", id(tree)), lambda: np.full(len(hypotheses), tree.root), tree.advance_many)


class PrefixConstraint(Constraint):
    """Allow only tokens that continue a key of the tree, and the end id where a key ends.

    A hypothesis that has left the tree, because its key is complete, can only add end ids. Hence with ``min_ends``
    greater than one, the keys should hold ``min_ends - 1`` end ids themselves, as separators.

    Args:
        tree: a `PrefixTree`.
        end_id: closes a key.
        normalize: divide by the probability of all that is allowed, so that forced tokens cost nothing. ``False``
            only forbids the rest, which compares hypotheses by the model's own probabilities.

    Raises:
        KerasSuError: the tree is empty.

    >>> from keras_su.decoding import PrefixTree, beam_search
    >>> tree = PrefixTree.build([([3, 4], "a"), ([3], "b"), ([5], "c")], progress=False)
    >>> uniform = lambda hypotheses: np.full((len(hypotheses), 6), -np.log(6.0))
    >>> found = beam_search(uniform, [[1]], beam=4, max_new_tokens=3, end_ids=0, processors=[PrefixConstraint(tree, 0)])
    >>> [(each.tokens.tolist(), round(float(np.exp(each.score)), 3)) for each in found[0]]
    [([5, 0], 0.5), ([3, 0], 0.25), ([3, 4, 0], 0.25)]
    """

    def __init__(self, tree, end_id, normalize=True):
        super().__init__(normalize)
        if not len(tree):
            raise KerasSuError("PrefixConstraint: the tree has no keys, so nothing could be generated.")
        self.tree = tree
        self.end_id = end_id

    def allowed(self, hypotheses):
        """The children of every row's state, and the end id where a key ends or nothing follows; see `Constraint`."""
        states, index = np.unique(tree_states(self.tree, hypotheses), return_inverse=True)
        owners, tokens = self._allowed_in(states)
        sizes = np.bincount(owners, minlength=len(states))
        starts = running_bounds(sizes)[:-1]
        rows = np.repeat(np.arange(len(index)), sizes[index])
        return rows, tokens[spread(starts[index], sizes[index])]

    def _allowed_in(self, states):
        """Pairs of state (its position in ``states``) and token, in order; ``states`` are distinct."""
        tokens, spans = self.tree.children_many(states)
        sizes = spans[:, 1] - spans[:, 0]
        owners = np.repeat(np.arange(len(states)), sizes)
        tokens = tokens[spread(spans[:, 0], sizes)].astype(np.int64)
        closing = [i for i, state in enumerate(states.tolist()) if not sizes[i] or self.tree.is_key(state)]
        closing = np.setdiff1d(closing, owners[tokens == self.end_id]).astype(np.int64)  # a child already, when keys hold it
        owners, tokens = np.concatenate([owners, closing]), np.concatenate([tokens, np.full(len(closing), self.end_id)])
        order = np.argsort(pair_keys(owners, tokens), kind="stable")
        return owners[order], tokens[order]


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
        cost: what every token of a completion takes off its gain, beside a ``bonus``.

    Raises:
        KerasSuError: arguments that make no sense together; a number of questions other than that of the prompts.

    >>> from keras_su.decoding import PrefixTree, beam_search
    >>> tree = PrefixTree.build([[1, 2], [3, 4]], progress=False)
    >>> uniform = lambda hypotheses: np.full((len(hypotheses), 6), -np.log(6.0))
    >>> processors = [LookAhead(tree, [[3, 5, 4]], after_ends=0), PrefixConstraint(tree, 0)]
    >>> beam_search(uniform, [[3, 5, 4]], max_new_tokens=3, end_ids=0, processors=processors)[0][0].tokens.tolist()
    [3, 4, 0]
    """

    def __init__(self, tree, questions, after_ends=1, end_id=None, until_ends=None, bonus=None, temperature=1.0, cost=0.0):
        if until_ends is not None and end_id is None:
            raise bad_value("end_id", end_id, "the id that until_ends counts")
        if temperature <= 0:
            raise bad_value("temperature", temperature, "a positive number")
        if bonus is None and (temperature != 1 or cost):
            raise bad_value("temperature and cost", (temperature, cost), "a bonus beside them; the power has neither")
        self.tree = tree
        self.after_ends = after_ends
        self.end_id = end_id
        self.until_ends = until_ends
        self.bonus = bonus
        self.temperature = temperature
        self.cost = cost
        questions = [tuple(int(token) for token in question) for question in questions]
        distinct = {question: CommonSubsequence(question) for question in questions}  # prompts may ask the same
        self._common = [distinct[question] for question in questions]

    @property
    def shift_invariant(self):
        """Whether a constant added to all scores of a row changes nothing once they are normalised: not under the power."""
        return self.bonus is not None

    def rescore(self, candidates, hypotheses):
        """`Candidates` to `Candidates`, the same pairs."""
        weighed, rows, tokens, gains = self._all_gains(hypotheses)
        values = candidates.values
        gain = np.zeros(len(values))
        if len(rows):
            known, wanted = pair_keys(rows, tokens), pair_keys(candidates.rows, candidates.tokens)
            at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
            gain = np.where(known[at] == wanted, gains[at], 0.0)
        return candidates.with_values(np.where(weighed[candidates.rows], self._weigh(values, gain), values))

    def __call__(self, log_probs, hypotheses):
        """See `beam_search`; ``(rows, vocab_size)`` to the same shape, float64."""
        log_probs = np.array(log_probs, np.float64)
        weighed, rows, tokens, gains = self._all_gains(hypotheses)
        check_vocabulary(tokens, log_probs.shape[1])
        raised = self._weigh(log_probs[rows, tokens], gains)
        if self.bonus is not None:
            log_probs[weighed] = self._weigh(log_probs[weighed], 0.0)
        log_probs[rows, tokens] = raised
        return log_probs

    def _weigh(self, values, gains):
        return values / (gains + 1) if self.bonus is None else values / self.temperature + self.bonus * gains

    def _all_gains(self, hypotheses):
        """``(rows,)`` bool, which rows have several ways; and ordered triples of row, token and what the token can gain.

        Rows that agree in all that the gains depend on share one computation.
        """
        if len(self._common) != len(hypotheses.prompts):
            raise bad_value("number of questions", len(self._common), f"one for each of the {len(hypotheses.prompts)} prompts")
        common = [self._common[prompt] for prompt in hypotheses.prompt_index.tolist()]
        states = tree_states(self.tree, hypotheses).tolist()
        covered = hypotheses.carry(
            ("look-ahead", id(self)),
            lambda: np.array([each.start for each in common], dtype=object),
            lambda before, tokens: np.array([c.advance(b, t) for c, b, t in zip(common, before, tokens.tolist())], dtype=object),
        )
        weighed, done, rows, tokens, gains = np.zeros(len(states), bool), {}, [], [], []
        for row in np.flatnonzero(hypotheses.ends >= self.after_ends).tolist():
            same = states[row], id(common[row]), covered[row], int(hypotheses.ends[row])
            if same not in done:
                several = len(self.tree.children(states[row])) > 1
                done[same] = self._gains(states[row], common[row], *same[2:]) if several else None
            if done[same] is not None:
                weighed[row] = True
                rows += [row] * len(done[same])
                tokens += done[same].keys()
                gains += done[same].values()
        return weighed, np.array(rows, np.int64), np.array(tokens, np.int64), np.array(gains, np.float64)

    def _gains(self, state, common, covered, ends):
        """For every child of ``state``, in order, how much longer the common subsequence can get."""
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

    Raises:
        KerasSuError: a number of lists other than that of the prompts.

    >>> from keras_su.decoding import beam_search
    >>> uniform = lambda hypotheses: np.full((len(hypotheses), 6), -np.log(6.0))
    >>> quoted = LiteralStart([[(4, 5)], []], end_id=0)
    >>> found = beam_search(uniform, [[1], [1]], max_new_tokens=3, end_ids=0, processors=[quoted])
    >>> [some[0].tokens.tolist() for some in found]
    [[4, 5, 0], [0]]
    """

    shift_invariant = True

    def __init__(self, starts, end_id):
        self.starts = [[tuple(int(token) for token in start) for start in each] for each in starts]
        self.end_id = end_id

    def rescore(self, candidates, hypotheses):
        """`Candidates` to `Candidates`: what does not go on with a start has probability zero."""
        bound, rows, tokens = self._beginnings(hypotheses)
        fits = np.isin(pair_keys(candidates.rows, candidates.tokens), pair_keys(rows, tokens))
        return candidates.with_values(np.where(bound[candidates.rows] & ~fits, -np.inf, candidates.values))

    def __call__(self, log_probs, hypotheses):
        """See `beam_search`; ``(rows, vocab_size)`` to the same shape, float64."""
        result = np.array(log_probs, np.float64)
        bound, rows, tokens = self._beginnings(hypotheses)
        check_vocabulary(tokens, result.shape[1])
        kept = result[rows, tokens]
        result[bound] = -np.inf
        result[rows, tokens] = kept
        return result

    def _beginnings(self, hypotheses):
        """``(rows,)`` bool, which rows are bound to a start; and the pairs of row and token that go on with one."""
        if len(self.starts) != len(hypotheses.prompts):
            expected = f"one for each of the {len(hypotheses.prompts)} prompts"
            raise bad_value("number of lists of starts", len(self.starts), expected)
        bound, pairs = np.zeros(len(hypotheses), bool), []
        done = hypotheses.generated.shape[1]
        for row in np.flatnonzero(hypotheses.ends == 0).tolist():
            begun = tuple(hypotheses.generated[row].tolist())
            fitting = [start for start in self.starts[hypotheses.prompt_index[row]] if start[:done] == begun]
            bound[row] = bool(fitting)
            pairs += sorted({(row, start[done] if len(start) > done else self.end_id) for start in fitting})
        rows, tokens = np.array(pairs, np.int64).reshape(-1, 2).T
        return bound, rows, tokens
