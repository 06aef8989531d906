"""Processors of the tokens so far: against naive loops over lists, and compiled against eager."""

import numpy as np
import pytest
from compiling import compiled
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_su.decoding import Hypotheses, beam_search
from keras_su.decoding.processors import BadWords, History, MinLength, NoRepeatNGram, Processor, RepetitionPenalty
from keras_su.errors import KerasSuError

VOCABULARY = 5
IDS = st.lists(st.integers(0, VOCABULARY - 1), max_size=7)
SEQUENCES = st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=3), min_size=3, max_size=3)


@st.composite
def hypotheses(draw):
    """Two prompts of any lengths, each with two hypotheses of generated ids of one length."""
    prompts = draw(st.lists(IDS, min_size=2, max_size=2))  # always so many: some backends compile anew for another shape
    generated = draw(st.integers(0, 5))
    rows = st.lists(st.integers(0, VOCABULARY - 1), min_size=generated, max_size=generated)
    texts = np.array([draw(rows) for _ in range(4)], np.int64).reshape(4, generated)
    index = np.repeat(np.arange(len(prompts)), 2)
    ends = (texts == 0).sum(axis=1)
    return Hypotheses([np.array(ids, np.int64) for ids in prompts], index, texts, np.zeros(len(index)), ends, index, {})


def scores(rows, seed):
    """Random log-probabilities, a fifth of them impossible, one row entirely."""
    random = np.random.default_rng(seed)
    log_probs = np.log(random.dirichlet(np.ones(VOCABULARY), size=rows))
    log_probs = np.where(random.random(log_probs.shape) < 0.2, -np.inf, log_probs)
    log_probs[random.integers(rows)] = -np.inf if seed % 2 else log_probs[0]
    return log_probs.astype(np.float32).astype(np.float64)


def naive_repetition(log_probs, prompt, generated, penalty, include_prompt):
    seen = set(generated) | (set(prompt) if include_prompt else set())
    return [value * penalty if token in seen else value for token, value in enumerate(log_probs)]


def naive_n_gram(log_probs, prompt, generated, size, include_prompt):
    text = [*prompt, *generated] if include_prompt else list(generated)
    seen = {tuple(text[i : i + size]) for i in range(len(text) - size + 1)}
    newest = text[len(text) - size + 1 :] if size > 1 else []
    return [-np.inf if (*newest, token) in seen and len(text) >= size - 1 else value for token, value in enumerate(log_probs)]


def naive_bad_words(log_probs, prompt, generated, sequences):
    texts = [[*prompt, *generated, token] for token in range(VOCABULARY)]
    return [-np.inf if any(text[-len(bad) :] == bad for bad in sequences) else value for text, value in zip(texts, log_probs)]


def naive_min_length(log_probs, prompt, generated, tokens, end_ids):
    return [-np.inf if len(generated) < tokens and token in end_ids else value for token, value in enumerate(log_probs)]


def check(processor, naive, hypotheses, seed, *arguments):
    """All rows against the naive function, called and applied."""
    log_probs = scores(len(hypotheses), seed)
    expected = [
        naive(row, hypotheses.prompts[prompt].tolist(), generated, *arguments)
        for row, prompt, generated in zip(log_probs, hypotheses.prompt_index, hypotheses.generated.tolist())
    ]
    found = processor(log_probs, hypotheses)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    applied = processor.apply(ops.convert_to_tensor(log_probs, "float32"), History.of(hypotheses))
    np.testing.assert_array_equal(ops.convert_to_numpy(applied), found)


@given(hypotheses(), st.integers(0, 99), st.sampled_from([0.5, 1.0, 2.5]), st.booleans())
@settings(max_examples=30)
def test_repetition_penalty(hypotheses, seed, penalty, include_prompt):
    check(RepetitionPenalty(penalty, include_prompt), naive_repetition, hypotheses, seed, penalty, include_prompt)


@given(hypotheses(), st.integers(0, 99), st.integers(1, 3), st.booleans())
@settings(max_examples=60)
def test_no_repeat_n_gram(hypotheses, seed, size, include_prompt):
    check(NoRepeatNGram(size, include_prompt), naive_n_gram, hypotheses, seed, size, include_prompt)


@given(hypotheses(), st.integers(0, 99), SEQUENCES)
@settings(max_examples=40)
def test_bad_words(hypotheses, seed, sequences):
    check(BadWords(sequences), naive_bad_words, hypotheses, seed, sequences)


@given(hypotheses(), st.integers(0, 99), st.integers(0, 6), st.lists(st.integers(0, 4), min_size=1, max_size=2))
@settings(max_examples=20)
def test_min_length(hypotheses, seed, tokens, end_ids):
    check(MinLength(tokens, end_ids), naive_min_length, hypotheses, seed, tokens, end_ids)


def test_positive_scores_are_punished_too():
    hypotheses = Hypotheses.start([np.array([0, 2])])
    assert RepetitionPenalty(2.0)(np.array([[4.0, 4.0, -4.0]]), hypotheses).tolist() == [[2.0, 4.0, -8.0]]


@pytest.mark.parametrize("seed", range(2))
def test_generated_texts_never_repeat(seed):
    """Through a whole search: no pair of ids twice, no bad words, and not too short."""

    def step(hypotheses):
        logits = [np.random.default_rng([seed, *ids.tolist()]).normal(size=VOCABULARY) for ids in hypotheses]
        return np.array([row - np.logaddexp.reduce(row) for row in logits])

    processors = [NoRepeatNGram(2), BadWords([[1, 2], [3]]), MinLength(3, 0), RepetitionPenalty(1.2)]
    for found in beam_search(step, [[4], [1, 1]], beam=2, max_new_tokens=6, end_ids=0, processors=processors):
        for each in found:
            tokens = each.tokens.tolist()
            pairs = list(zip(tokens, tokens[1:]))
            assert len(pairs) == len(set(pairs)) and (1, 2) not in pairs and 3 not in tokens
            assert 0 not in tokens[:3]


PROCESSORS = [
    RepetitionPenalty(1.5),
    RepetitionPenalty(1.5, include_prompt=False),
    NoRepeatNGram(1),
    NoRepeatNGram(3),
    NoRepeatNGram(2, include_prompt=False),
    NoRepeatNGram(99),
    BadWords([[3], [1, 2], [2, 0, 4]]),
    MinLength(4, [0, 3]),
]


@pytest.mark.parametrize("processor", PROCESSORS, ids=lambda each: type(each).__name__)
def test_compiled_equals_eager(processor):
    """The number of tokens is a tensor like all else: what was compiled at one step serves all of them."""
    random = np.random.default_rng(7)
    function = compiled(lambda log_probs, *history: processor.apply(log_probs, History(*history)))
    for generated in (0, 2, 5):
        lengths = np.array([1, 3, 4], np.int32) + generated
        tokens = np.where(np.arange(10) < lengths[:, None], random.integers(VOCABULARY, size=(3, 10)), 0)
        history = History(*(ops.convert_to_tensor(x, "int32") for x in (tokens, lengths, generated, np.zeros(3))))
        log_probs = ops.convert_to_tensor(scores(3, generated), "float32")
        expected = ops.convert_to_numpy(processor.apply(log_probs, history))
        np.testing.assert_allclose(ops.convert_to_numpy(function(log_probs, *history)), expected, rtol=1e-6)
        assert expected.dtype == np.float32 and not np.isnan(expected).any()


def test_history_of_hypotheses():
    start = Hypotheses.start([np.array([7, 8, 9]), np.array([5])])
    history = History.of(start.extend(np.array([0, 1, 1]), np.array([4, 0, 3]), np.zeros(3), np.array([0, 1, 0])), multiple=8)
    found = [ops.convert_to_numpy(column).tolist() for column in history]
    assert found[0] == [[7, 8, 9, 4, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0, 0, 0], [5, 3, 0, 0, 0, 0, 0, 0]]
    assert found[1:] == [[4, 2, 2], 1, [0, 1, 0]]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: RepetitionPenalty(0), "penalty: got 0, expected a positive number"),
        (lambda: RepetitionPenalty(True), "penalty: got True"),
        (lambda: RepetitionPenalty(float("nan")), "penalty: got nan"),
        (lambda: NoRepeatNGram(0), "size: got 0, expected a positive integer"),
        (lambda: NoRepeatNGram(1.5), "size: got 1.5"),
        (lambda: BadWords([]), "at least one"),
        (lambda: BadWords([[]]), "at least one"),
        (lambda: BadWords([[1, -2]]), "token ids"),
        (lambda: BadWords([3]), "token ids"),
        (lambda: MinLength(-1, 0), "tokens: got -1"),
        (lambda: MinLength(1, "a"), "end_ids"),
        (
            lambda: MinLength(1, 9)(np.zeros((1, 3)), Hypotheses.start([np.array([1])])),
            "end_ids: got 9, expected ids below the 3",
        ),
        (lambda: BadWords([[1, 9]])(np.zeros((1, 3)), Hypotheses.start([np.array([1])])), "sequences: got 9"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(KerasSuError, match=message):
        make()


def test_who_is_shift_invariant():
    assert Processor.shift_invariant and not RepetitionPenalty(1.5).shift_invariant
