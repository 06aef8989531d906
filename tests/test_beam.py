"""Beam search against exhaustive enumeration, greedy search, and itself in other batches; constraints against lists of keys."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_su.decoding import Hypotheses, LiteralStart, LookAhead, PrefixConstraint, PrefixTree, beam_search
from keras_su.decoding.beam import best_continuations
from keras_su.errors import KerasSuError

VOCABULARY = 5
END = 0


def scorer(seed, vocabulary=VOCABULARY):
    """A language model of random numbers: the scores of the next token are a function of the whole sequence."""

    def step(hypotheses):
        rows = []
        for ids in hypotheses:
            logits = np.random.default_rng([seed, *ids.tolist()]).normal(size=vocabulary) * 2
            rows.append(logits - np.logaddexp.reduce(logits))
        return np.array(rows)

    return step


def sequence_score(step, prompt, tokens):
    """Sum of log-probabilities, one token after the other."""
    return sum(step([np.array([*prompt, *tokens[:i]])])[0, token] for i, token in enumerate(tokens))


def ended(length, min_ends=1):
    """Every sequence of at most ``length`` tokens whose last token is its ``min_ends``-th end."""
    for size in range(1, length + 1):
        for tokens in itertools.product(range(VOCABULARY), repeat=size):
            if tokens[-1] == END and tokens.count(END) == min_ends:
                yield tokens


@pytest.mark.parametrize("min_ends", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_wide_beam_is_exhaustive(seed, min_ends):
    step = scorer(seed)
    ranking = sorted(((sequence_score(step, [1], tokens), tokens) for tokens in ended(4, min_ends)), reverse=True)
    found = beam_search(step, [[1]], beam=VOCABULARY**4, max_new_tokens=4, end_ids=END, min_ends=min_ends)[0]
    finished = [each for each in found if each.finished]
    assert [tuple(each.tokens) for each in finished] == [tokens for _, tokens in ranking]
    np.testing.assert_allclose([each.score for each in finished], [score for score, _ in ranking])


@given(st.integers(0, 10**6), st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_beam_of_one_is_greedy(seed, length):
    step, tokens = scorer(seed), []
    while len(tokens) < length and (not tokens or tokens[-1] != END):
        tokens.append(int(step([np.array([3, *tokens])])[0].argmax()))
    (found,) = beam_search(step, [[3]], beam=1, max_new_tokens=length, end_ids=[END])[0]
    assert found.tokens.tolist() == tokens
    assert found.finished == (tokens[-1] == END)
    assert found.score == pytest.approx(sequence_score(step, [3], tokens))


PROMPTS = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=5), min_size=1, max_size=4)


@given(st.integers(0, 10**6), st.integers(1, 4), PROMPTS)
@settings(max_examples=30, deadline=None)
def test_batch_equals_single(seed, beam, prompts):
    options = {"beam": beam, "max_new_tokens": 5, "end_ids": END}
    together = beam_search(scorer(seed), prompts, **options)
    for prompt, found in zip(prompts, together):
        alone = beam_search(scorer(seed), [prompt], **options)[0]
        assert [(each.tokens.tolist(), each.score, each.finished) for each in found] == [
            (each.tokens.tolist(), each.score, each.finished) for each in alone
        ]


def test_equal_scores_are_taken_in_order_of_tokens():
    uniform = lambda hypotheses: np.zeros((len(hypotheses), 6))  # noqa: E731
    found = beam_search(uniform, [[1], [1]], beam=3, max_new_tokens=1, end_ids=5)
    assert [[each.tokens.tolist() for each in some] for some in found] == [[[0], [1], [2]]] * 2


def test_finished_hypotheses_are_kept():
    """The early end is not the best start, but the best result: it must survive while other hypotheses go on."""
    table = {(9,): [0.4, 0.6, 0.0], (9, 1): [0.3, 0.35, 0.35], (9, 1, 1): [1, 0, 0], (9, 1, 2): [1, 0, 0]}
    with np.errstate(divide="ignore"):
        step = lambda hypotheses: np.log(np.array([table[tuple(ids.tolist())] for ids in hypotheses], float))  # noqa: E731
        found = beam_search(step, [[9]], beam=2, max_new_tokens=3, end_ids=0)[0]
    assert [(each.tokens.tolist(), round(float(np.exp(each.score)), 3)) for each in found] == [([0], 0.4), ([1, 1, 0], 0.21)]


def test_several_end_ids():
    step = scorer(1)
    found = beam_search(step, [[1]], beam=VOCABULARY**3, max_new_tokens=3, end_ids=[0, 4])[0]
    ends = {tuple(each.tokens) for each in found if each.finished}
    inner = [tokens for size in range(3) for tokens in itertools.product((1, 2, 3), repeat=size)]
    assert ends == {(*tokens, end) for tokens in inner for end in (0, 4)}


def test_unfinished_hypotheses_come_last():
    never = lambda hypotheses: np.tile(np.log([1e-9, 0.5, 0.5]), (len(hypotheses), 1))  # noqa: E731
    found = beam_search(never, [[1]], beam=2, max_new_tokens=4, end_ids=0)[0]
    assert [(len(each.tokens), each.finished) for each in found] == [(4, False), (4, False)]
    assert beam_search(never, [], beam=2, max_new_tokens=4, end_ids=0) == []


@pytest.mark.parametrize(
    "wrong, message",
    [({"beam": 0}, "beam: got 0"), ({"max_new_tokens": -1}, "max_new_tokens"), ({"min_ends": 1.5}, "min_ends: got 1.5")],
)
def test_wrong_arguments(wrong, message):
    with pytest.raises(KerasSuError, match=message):
        beam_search(scorer(0), [[1]], **{"beam": 1, "max_new_tokens": 2, "end_ids": 0, **wrong})


def test_wrong_log_probabilities():
    options = {"beam": 1, "max_new_tokens": 2, "end_ids": 0}
    with pytest.raises(KerasSuError, match=r"\(3,\).*\(1, vocab_size\)"):
        beam_search(lambda hypotheses: np.zeros(3), [[1]], **options)
    with pytest.raises(KerasSuError, match="row 1 are NaN"):
        beam_search(lambda hypotheses: np.array([[0.0, 0.0], [np.nan, 0.0]]), [[1], [1]], **options)
    nothing = lambda log_probs, hypotheses: np.full_like(log_probs, -np.inf)  # noqa: E731
    with pytest.raises(KerasSuError, match="prompt 0 after 0 generated tokens"):
        beam_search(scorer(0), [[1]], processors=[nothing], **options)


def test_carried_values_follow_their_hypotheses():
    def check(log_probs, hypotheses):
        sums = hypotheses.carry("sum", lambda: np.zeros(len(hypotheses)), lambda before, tokens: before + tokens)
        assert sums.tolist() == hypotheses.generated.sum(axis=1).tolist()
        assert sums is hypotheses.carry("sum", None, None)
        return log_probs

    assert beam_search(scorer(5), [[1], [2]], beam=4, max_new_tokens=5, end_ids=0, min_ends=2, processors=[check])


@given(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from([3, 127, 128, 300, 1000]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_best_of_large_vocabularies(seed, beam, vocabulary, ties):
    """Looking at blocks of columns first finds the same pairs, in the same order, as sorting everything."""
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=(6, vocabulary)).astype(np.float32)
    scores = np.round(scores) if ties else scores
    scores[generator.random(scores.shape) < 0.3] = -np.inf
    scores[2], scores[1, 1:] = -np.inf, -np.inf
    index = np.array([0, 0, 0, 1, 1, 4])
    alive = Hypotheses([[]] * 5, index, np.zeros((6, 1), int), generator.normal(size=6), np.zeros(6, int), np.arange(6), {})
    found = list(zip(*best_continuations(scores, alive, beam, 1, 0.0)))
    expected = []
    for prompt in (0, 1, 4):
        pairs = [(row, token) for row in np.flatnonzero(index == prompt) for token in range(vocabulary)]
        pairs = [pair for pair in pairs if scores[pair] > -np.inf]
        pairs.sort(key=lambda pair: -(alive.scores[pair[0]] + np.float64(scores[pair])))
        expected += [(row, token, alive.scores[row] + np.float64(scores[row, token])) for row, token in pairs[:beam]]
    assert [(int(row), int(token), total) for row, token, total in found] == [(int(r), t, total) for r, t, total in expected]


KEYS = st.lists(st.lists(st.integers(1, 4), max_size=4).map(tuple), min_size=1, max_size=12, unique=True)


def constrained_ranking(step, keys, normalize, weights=None):
    """Brute force: every key and its end, scored step by step among what the list of keys allows."""
    ranking = []
    for key in keys:
        score, tokens = 0.0, (*key, END)
        for i, token in enumerate(tokens):
            allowed = {(*other, END)[i] for other in keys if other[:i] == key[:i]}
            log_probs = step([np.array([1, *tokens[:i]])])[0]
            if weights:
                log_probs = log_probs / (1 + np.array([weights(keys, key[:i], other) for other in range(VOCABULARY)]))
            score += log_probs[token] - (np.logaddexp.reduce([log_probs[t] for t in allowed]) if normalize else 0)
        ranking.append((score, tokens))
    return sorted(ranking, reverse=True)


@given(KEYS, st.integers(0, 1000), st.booleans())
@settings(max_examples=60, deadline=None)
def test_constraint_equals_brute_force(keys, seed, normalize):
    tree = PrefixTree.build(keys, progress=False)
    step = scorer(seed)
    found = beam_search(
        step, [[1]], beam=50, max_new_tokens=6, end_ids=END, processors=[PrefixConstraint(tree, END, normalize=normalize)]
    )[0]
    expected = constrained_ranking(step, keys, normalize)
    assert all(each.finished for each in found)
    np.testing.assert_allclose([each.score for each in found], [score for score, _ in expected], atol=1e-9)
    assert {tuple(each.tokens) for each in found} == {tokens for _, tokens in expected}


def subsequence_length(a, b):
    if not a or not b:
        return 0
    if a[-1] == b[-1]:
        return subsequence_length(a[:-1], b[:-1]) + 1
    return max(subsequence_length(a[:-1], b), subsequence_length(a, b[:-1]))


@given(KEYS, st.integers(0, 1000), st.lists(st.integers(1, 4), max_size=5).map(tuple))
@settings(max_examples=60, deadline=None)
def test_look_ahead_equals_brute_force(keys, seed, question):
    tree = PrefixTree.build(keys, progress=False)
    step = scorer(seed)

    def gain(keys, prefix, token):
        below = [key for key in keys if key[: len(prefix)] == prefix]
        if len({key[len(prefix)] for key in below if len(key) > len(prefix)}) < 2:
            return 0
        through = [subsequence_length(key, question) for key in below if key[len(prefix) : len(prefix) + 1] == (token,)]
        return max(through, default=0) - subsequence_length(prefix, question) if through else 0

    processors = [LookAhead(tree, [question], after_ends=0), PrefixConstraint(tree, END)]
    found = beam_search(step, [[1]], beam=50, max_new_tokens=6, end_ids=END, processors=processors)[0]
    expected = constrained_ranking(step, keys, True, gain)
    np.testing.assert_allclose([each.score for each in found], [score for score, _ in expected], atol=1e-9)


def test_look_ahead_waits_for_the_first_end_and_stops_before_the_last():
    # Keys of two fields. The question holds 3, which only a second field can cover, and 4, which only a third one could.
    tree = PrefixTree.build([[1, END, 2, END, 4], [1, END, 3, END], [2, END, 3, END]], progress=False)
    flat = lambda hypotheses: np.full((len(hypotheses), VOCABULARY), -1.0)  # noqa: E731
    seen = {}

    def record(log_probs, hypotheses):
        seen.update({tuple(row): scores for row, scores in zip(hypotheses.generated.tolist(), log_probs.tolist())})
        return log_probs

    def search(look_ahead):
        processors = [look_ahead, record, PrefixConstraint(tree, END)]
        beam_search(flat, [[1]], beam=9, max_new_tokens=6, end_ids=END, min_ends=3, processors=processors)

    search(LookAhead(tree, [[3, 4]], end_id=END, until_ends=2))
    assert seen[()] == [-1.0] * VOCABULARY
    assert seen[1, END] == [-1.0, -1.0, -1.0, -0.5, -1.0]
    search(LookAhead(tree, [[3, 4]]))
    assert seen[1, END] == [-1.0, -1.0, -0.5, -0.5, -1.0]


def test_look_ahead_with_a_bonus_adds_to_softened_log_probabilities():
    tree = PrefixTree.build([[1, 2], [1, 3, 4], [1, 4]], progress=False)
    flat = lambda hypotheses: np.full((len(hypotheses), VOCABULARY), -1.0)  # noqa: E731
    seen = {}

    def record(log_probs, hypotheses):
        seen.update({tuple(row): scores for row, scores in zip(hypotheses.generated.tolist(), log_probs.tolist())})
        return log_probs

    ahead = LookAhead(tree, [[3, 4]], after_ends=0, bonus=2.0, temperature=4.0)
    beam_search(flat, [[1]], beam=9, max_new_tokens=4, end_ids=END, processors=[ahead, record, PrefixConstraint(tree, END)])
    assert seen[()] == [-1.0] * VOCABULARY  # one way only: nothing to weigh
    assert seen[(1,)] == [-0.25, -0.25, -0.25, 3.75, 1.75]  # 3 leads to two tokens of the question, 4 to one


def test_literal_start_allows_only_quoted_beginnings_of_each_prompt():
    step = scorer(3)
    starts = [[(1, 2), (1,), (3,)], [], [(4,)]]
    found = beam_search(step, [[1], [2], [3]], beam=40, max_new_tokens=3, end_ids=END, processors=[LiteralStart(starts, END)])
    written = [{tuple(each.tokens.tolist()) for each in some if each.finished} for some in found]
    assert written[0] == {(1, 2, END), (1, END), (3, END)}
    assert len(written[1]) > 3  # nothing was quoted: free
    assert written[2] == {(4, END)}
    with pytest.raises(KerasSuError, match="number of lists of starts: got 1, expected one for each of the 3 prompts"):
        beam_search(step, [[1], [2], [3]], max_new_tokens=2, end_ids=END, processors=[LiteralStart([[]], END)])


def test_forced_tokens_are_free_and_an_entry_without_last_field_is_reachable():
    """Keys S [END] P [END] M: one with M, one without M, which is a prefix of it (erratum of the article's code)."""
    tree = PrefixTree.build([([1, END, 2, END, 3], "with"), ([1, END, 2, END], "without")], progress=False)
    options = {"beam": 3, "max_new_tokens": 9, "end_ids": END, "min_ends": 3}
    found = beam_search(scorer(3), [[1]], processors=[PrefixConstraint(tree, END)], **options)[0]
    assert {tuple(each.tokens[:-1]): tree.values(tree.find(each.tokens[:-1])) for each in found} == {
        (1, END, 2, END, 3): ["with"],
        (1, END, 2, END): ["without"],
    }
    assert np.exp([each.score for each in found]).sum() == pytest.approx(1)


@pytest.mark.parametrize("normalize", [True, False])
def test_probability_zero_everywhere_in_the_tree_is_no_nan(normalize):
    tree = PrefixTree.build([[1, 2], [2]], progress=False)

    def step(hypotheses):  # certain of a token that the tree never allows
        rows = np.full((len(hypotheses), VOCABULARY), -np.inf)
        rows[:, 4] = 0
        return rows

    constraint = PrefixConstraint(tree, END, normalize)
    found = beam_search(step, [[1]], beam=4, max_new_tokens=4, end_ids=END, processors=[constraint])[0]
    assert {tuple(each.tokens): round(float(np.exp(each.score)), 6) for each in found} == {(1, 2, END): 0.5, (2, END): 0.5}


def test_constraint_errors():
    with pytest.raises(KerasSuError, match="no keys"):
        PrefixConstraint(PrefixTree.build([], progress=False), END)
    tree = PrefixTree.build([[7]], progress=False)
    with pytest.raises(KerasSuError, match="more than 7"):
        beam_search(scorer(0), [[1]], max_new_tokens=2, end_ids=END, processors=[PrefixConstraint(tree, END)])
    with pytest.raises(KerasSuError, match="one for each of the 1 prompts"):
        beam_search(scorer(0), [[1]], max_new_tokens=2, end_ids=END, processors=[LookAhead(tree, [[1], [2]])])
    with pytest.raises(KerasSuError, match="end_id"):
        LookAhead(tree, [[1]], until_ends=2)
