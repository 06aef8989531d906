"""Constraints after random tokens: against lists of keys, and the short way through candidates against the dense way."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_su.decoding import Hypotheses, LiteralStart, LookAhead, PrefixConstraint, PrefixTree
from keras_su.decoding.candidates import Candidates
from keras_su.errors import KerasSuError

VOCABULARY = 6
END = 0
KEYS = st.lists(st.lists(st.integers(0, 4), max_size=4).map(tuple), min_size=1, max_size=10, unique=True)


def grown(keys, prompts, steps, seed):
    """Hypotheses after 0 .. ``steps`` tokens, mostly along the keys; a processor has to see each of them to carry its state."""
    random = np.random.default_rng(seed)
    hypotheses = Hypotheses.start([np.array([1, 2])] * prompts)
    for _ in range(steps):
        yield hypotheses
        rows = np.sort(np.concatenate([np.arange(len(hypotheses)), random.integers(len(hypotheses), size=2)]))
        tokens = []
        for row in rows:
            done = tuple(hypotheses.generated[row].tolist())
            following = sorted({(*key, END)[len(done)] for key in keys if key[: len(done)] == done and len(key) >= len(done)})
            tokens.append(random.choice(following) if following and random.random() < 0.9 else random.integers(VOCABULARY))
        tokens = np.array(tokens, np.int64)
        hypotheses = hypotheses.extend(rows, tokens, hypotheses.scores[rows] - 1.0, hypotheses.ends[rows] + (tokens == END))
    yield hypotheses


def scores_of(hypotheses, seed):
    """Random log-probabilities, a third of them impossible."""
    random = np.random.default_rng(seed)
    log_probs = np.log(random.dirichlet(np.ones(VOCABULARY), size=len(hypotheses)))
    return np.where(random.random(log_probs.shape) < 0.3, -np.inf, log_probs)


@given(KEYS, st.integers(0, 5), st.integers(0, 1000))
def test_allowed_is_what_the_list_of_keys_allows(keys, steps, seed):
    constraint = PrefixConstraint(PrefixTree.build(keys, progress=False), END)
    for hypotheses in grown(keys, 2, steps, seed):
        rows, tokens = constraint.allowed(hypotheses)
        for row, done in enumerate(map(tuple, hypotheses.generated.tolist())):
            following = {(*key, END)[len(done)] for key in keys if key[: len(done)] == done}
            assert tokens[rows == row].tolist() == sorted(following or {END})
        assert (np.diff(rows) >= 0).all()


@given(KEYS, st.integers(0, 4), st.integers(0, 1000), st.booleans(), st.sampled_from([None, 1.5]), st.sampled_from([None, 1]))
def test_candidates_and_dense_arrays_give_the_same(keys, steps, seed, normalize, bonus, until_ends):
    tree = PrefixTree.build(keys, progress=False)
    weight = {} if bonus is None else {"bonus": bonus, "temperature": 2.0, "cost": 0.25}
    literal = LiteralStart([keys[:2], [], [(4, 5)]], END)
    ahead = LookAhead(tree, [[1, 2], [3, 4, 2], [1, 2]], after_ends=0, end_id=END, until_ends=until_ends, **weight)
    constraint = PrefixConstraint(tree, END, normalize)
    for hypotheses in grown(keys, 3, steps, seed):
        dense = log_probs = scores_of(hypotheses, seed)
        sparse = Candidates.from_dense(log_probs, *constraint.allowed(hypotheses))
        for processor in (literal, ahead, constraint):
            dense, sparse = processor(dense, hypotheses), processor.rescore(sparse, hypotheses)
        np.testing.assert_array_equal(sparse.to_dense(VOCABULARY), dense)
        assert not np.isnan(dense).any()


@pytest.mark.parametrize("bonus", [None, 2.0])
@given(keys=KEYS, seed=st.integers(0, 1000))
def test_shift_invariance_is_told_truly(bonus, keys, seed):
    tree = PrefixTree.build(keys, progress=False)
    processors = [
        LiteralStart([keys[:1]], END),
        LookAhead(tree, [[1, 2]], after_ends=0, bonus=bonus),
        PrefixConstraint(tree, END),
    ]
    assert [each.shift_invariant for each in processors] == [True, bonus is not None, True]
    if bonus is None:
        return
    for hypotheses in grown(keys, 1, 3, seed):
        log_probs = scores_of(hypotheses, seed)
        results = []
        for shift in (0.0, 7.0):
            values = log_probs + shift
            for processor in processors:
                values = processor(values, hypotheses)
            results.append(values)
        np.testing.assert_allclose(*results, atol=1e-12)


def test_each_state_is_expanded_and_each_gain_computed_once(monkeypatch):
    keys = [(1, 2, 3), (1, 2, 4), (1, 3), (2,)]
    tree = PrefixTree.build(keys, progress=False)
    constraint, ahead = PrefixConstraint(tree, END), LookAhead(tree, [[1, 2]] * 3, after_ends=0)
    expanded, compared = [], []
    children_many, completions = PrefixTree.children_many, PrefixTree.completion_arrays
    monkeypatch.setattr(PrefixTree, "children_many", lambda self, s: (expanded.extend(s.tolist()), children_many(self, s))[1])
    monkeypatch.setattr(PrefixTree, "completion_arrays", lambda self, s: (compared.append(s), completions(self, s))[1])
    for token in (None, 1, 2):
        if token is None:
            hypotheses = Hypotheses.start([np.array([9])] * 3)
        else:
            rows = np.arange(3)
            hypotheses = hypotheses.extend(rows, np.full(3, token), hypotheses.scores, hypotheses.ends)
        constraint.allowed(hypotheses)
        ahead(np.zeros((3, VOCABULARY)), hypotheses)
    assert len(expanded) == len(set(expanded)) == len(compared) == 3


def test_a_cost_or_a_temperature_needs_a_bonus():
    tree = PrefixTree.build([(1,)], progress=False)
    for wrong in ({"cost": 0.5}, {"temperature": 2.0}):
        with pytest.raises(KerasSuError, match="a bonus beside them"):
            LookAhead(tree, [[1]], **wrong)
    with pytest.raises(KerasSuError, match="temperature: got 0"):
        LookAhead(tree, [[1]], bonus=1.0, temperature=0)
