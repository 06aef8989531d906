"""Searches over a tiny model against brute force over all texts, and what batches, streams or no cache must not change."""

import itertools
from collections import Counter

import numpy as np
import pytest
from families import randomize, run

from keras_su import build_transformer_model
from keras_su.decoding import Beam, Greedy, PrefixConstraint, PrefixTree, Sample, beam_search, generate, stream
from keras_su.decoding import model_step as model_step_module
from keras_su.decoding.processors import BadWords, MinLength, NoRepeatNGram, RepetitionPenalty
from keras_su.decoding.stepper import stepper_for

VOCABULARY, END = 6, 0
CONFIG = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
    "hidden_act": "gelu",
}
PROMPTS = [[3, 1, 4], [2], [5, 3, 5, 1, 2]]


@pytest.fixture(scope="module")
def model():
    return randomize(build_transformer_model(CONFIG, model="gpt2"), scale=0.4)


def next_log_probs(model, ids):
    """Of the token after ``ids``, from reading all of them at once."""
    length = -(-len(ids) // 8) * 8
    padded = np.zeros((1, length), np.int32)
    padded[0, : len(ids)] = ids
    probabilities = run(model, [padded])[0, len(ids) - 1].astype(np.float64)
    return np.log(probabilities / probabilities.sum())


def score(model, prompt, tokens):
    return sum(next_log_probs(model, [*prompt, *tokens[:i]])[token] for i, token in enumerate(tokens))


@pytest.fixture(scope="module")
def all_texts(model):
    """Every text of at most three tokens that is closed by an end, with its score, for each prompt."""
    inner = range(1, VOCABULARY)
    texts = [(*tokens, END) for size in range(3) for tokens in itertools.product(inner, repeat=size)]
    return [{text: score(model, prompt, text) for text in texts} for prompt in PROMPTS]


def tokens_of(results):
    return [result.tokens.tolist() for result in results]


# ---- greedy


@pytest.mark.parametrize("cached", [True, False])
def test_greedy_takes_the_best_token_until_an_end(model, cached):
    results = generate(model, PROMPTS, max_new_tokens=7, end_ids=[END, 4], min_ends=2, cached=cached)
    for prompt, result in zip(PROMPTS, results):
        tokens = []
        while len(tokens) < 7 and sum(token in (END, 4) for token in tokens) < 2:
            tokens.append(int(next_log_probs(model, [*prompt, *tokens]).argmax()))
        assert result.tokens.tolist() == tokens
        assert result.finished == (sum(token in (END, 4) for token in tokens) == 2)
        assert result.score == pytest.approx(score(model, prompt, tokens), abs=1e-4)


def test_host_and_device_write_the_same(model):
    unchanged = lambda log_probs, hypotheses: log_probs  # noqa: E731 - a callable takes the loop to the host
    for search in (Greedy(), Sample(temperature=1.3, top_k=5, top_p=0.95, n=2)):
        options = {"search": search, "max_new_tokens": 6, "end_ids": END, "seed": 3}
        device, host = generate(model, PROMPTS, **options), generate(model, PROMPTS, processors=[unchanged], **options)
        for one, other in zip(device, host):
            for left, right in zip((one, *one.alternatives), (other, *other.alternatives)):
                assert left.tokens.tolist() == right.tokens.tolist() and left.finished == right.finished
                assert left.score == pytest.approx(right.score, abs=1e-4)


def test_one_prompt_gives_one_result(model):
    [among_others] = generate(model, PROMPTS[:1], max_new_tokens=4)
    alone = generate(model, PROMPTS[0], max_new_tokens=4)
    assert alone.tokens.tolist() == among_others.tokens.tolist() and alone.text is None
    assert generate(model, np.array([PROMPTS[0]] * 2), max_new_tokens=4)[1].tokens.tolist() == alone.tokens.tolist()


def test_small_batches_change_nothing(model):
    together = generate(model, PROMPTS, max_new_tokens=5, search=Sample(n=2), seed=1)
    apart = generate(model, PROMPTS, max_new_tokens=5, search=Sample(n=2), seed=1, batch_size=2)
    assert tokens_of(together) == tokens_of(apart)


# ---- beams


def test_a_wide_beam_finds_the_best_texts(model, all_texts):
    search = Beam(width=VOCABULARY**3, n_best=5)
    for texts, result in zip(all_texts, generate(model, PROMPTS, search=search, max_new_tokens=3, end_ids=END)):
        best = sorted(texts, key=texts.get, reverse=True)[:5]
        assert [tuple(each.tokens.tolist()) for each in (result, *result.alternatives)] == best
        assert result.score == pytest.approx(texts[best[0]], abs=1e-4)


@pytest.mark.parametrize("penalty", [-1.0, 0.7, 2.0])
def test_length_penalty_ranks_by_the_scaled_score(model, all_texts, penalty):
    search = Beam(width=VOCABULARY**3, n_best=4, length_penalty=penalty)
    for texts, result in zip(all_texts, generate(model, PROMPTS, search=search, max_new_tokens=3, end_ids=END)):
        ranked = {text: value / len(text) ** penalty for text, value in texts.items()}
        best = sorted(ranked, key=ranked.get, reverse=True)[:4]
        assert [tuple(each.tokens.tolist()) for each in (result, *result.alternatives)] == best
        assert result.score == pytest.approx(ranked[best[0]], abs=1e-4)


def naive_groups(step, prompt, groups, width, diversity, steps):
    """Diverse beam search of one prompt, from its definition; nothing ends."""
    beams = [[((), 0.0)] for _ in range(groups)]
    for _ in range(steps):
        counts = Counter()
        for group in range(groups):
            options = []
            for tokens, total in beams[group]:
                for token, log_prob in enumerate(step([*prompt, *tokens])):
                    options.append((total + log_prob - diversity * counts[token], total + log_prob, (*tokens, token)))
            options.sort(key=lambda option: -option[0])
            beams[group] = [(tokens, total) for _, total, tokens in options[:width]]
            counts.update(tokens[-1] for tokens, _ in beams[group])
    return sorted((each for group in beams for each in group), key=lambda each: -each[1])


@pytest.mark.parametrize("groups, width", [(2, 1), (3, 2)])
def test_diverse_groups(model, groups, width):
    search = Beam(width=groups * width, n_best=groups * width, groups=groups, diversity=1.5)
    results = generate(model, PROMPTS, search=search, max_new_tokens=3, end_ids=())
    for prompt, result in zip(PROMPTS, results):
        expected = naive_groups(lambda ids: next_log_probs(model, ids), prompt, groups, width, 1.5, 3)
        found = [(tuple(each.tokens.tolist()), each.score) for each in (result, *result.alternatives)]
        assert [tokens for tokens, _ in found] == [tokens for tokens, _ in expected]
        np.testing.assert_allclose([s for _, s in found], [s for _, s in expected], atol=1e-4)


def test_beam_over_the_model_equals_beam_over_whole_texts(model):
    step = lambda hypotheses: np.array([next_log_probs(model, ids.tolist()) for ids in hypotheses])  # noqa: E731
    expected = beam_search(step, PROMPTS, beam=3, max_new_tokens=6, end_ids=END, min_ends=2)
    for cached in (True, False):
        search = Beam(width=3, n_best=3)
        found = generate(model, PROMPTS, search=search, max_new_tokens=6, end_ids=END, min_ends=2, cached=cached)
        for some, result in zip(expected, found):
            assert [each.tokens.tolist() for each in some] == tokens_of((result, *result.alternatives))
            np.testing.assert_allclose([e.score for e in some], [e.score for e in (result, *result.alternatives)], atol=1e-4)


# ---- chance


def test_samples_follow_the_distribution(model):
    """Chi-square of all texts of two tokens, among 4000 samples."""
    prompt = PROMPTS[0]
    result = generate(model, prompt, search=Sample(n=4000, temperature=1.5), max_new_tokens=2, end_ids=(), seed=5)
    counts = Counter(tuple(each.tokens.tolist()) for each in (result, *result.alternatives))
    statistic, cells = 0.0, 0
    sharpened = lambda log_probs: np.exp(log_probs / 1.5) / np.exp(log_probs / 1.5).sum()  # noqa: E731
    first = sharpened(next_log_probs(model, prompt))
    for one in range(VOCABULARY):
        second = sharpened(next_log_probs(model, [*prompt, one]))
        for other in range(VOCABULARY):
            expected = 4000 * first[one] * second[other]
            if expected >= 5:
                statistic += (counts[one, other] - expected) ** 2 / expected
                cells += 1
    assert cells > 10 and statistic < cells + 4.5 * np.sqrt(2 * cells)


def test_a_seed_belongs_to_its_prompt(model):
    options = {"search": Sample(), "max_new_tokens": 8}
    together = generate(model, PROMPTS, seed=[7, 8, 7], **options)
    alone = [generate(model, prompt, seed=[seed], **options) for prompt, seed in zip(PROMPTS, (7, 8, 7))]
    assert tokens_of(together) == tokens_of(alone)
    several = generate(model, [PROMPTS[0]] * 4, seed=1, **options)
    assert len({tuple(tokens) for tokens in tokens_of(several)}) > 1
    assert tokens_of(several) == tokens_of(generate(model, [PROMPTS[0]] * 4, seed=1, **options))


# ---- processors


def test_processors_on_the_device_equal_those_on_the_host(model):
    processors = [RepetitionPenalty(1.3), NoRepeatNGram(2), BadWords([[4], [2, 3]]), MinLength(4, [END])]
    options = {"max_new_tokens": 8, "end_ids": END}
    device = generate(model, PROMPTS, processors=processors, **options)
    host = generate(model, PROMPTS, processors=[*processors, lambda log_probs, hypotheses: log_probs], **options)
    beam = generate(model, PROMPTS, processors=processors, search=Beam(width=1), **options)
    assert tokens_of(device) == tokens_of(host) == tokens_of(beam)
    for prompt, tokens in zip(PROMPTS, tokens_of(device)):
        whole = [*prompt, *tokens]
        pairs = list(zip(whole, whole[1:]))
        new = pairs[len(prompt) - 1 :]
        assert all(new[i] not in pairs[: len(prompt) - 1 + i] for i in range(len(new)))
        assert 4 not in tokens and END not in tokens[:4] and (2, 3) not in new


KEYS = [[1, 2, 3], [1, 2], [1, 4, 4], [5], [2, 3]]


@pytest.mark.parametrize("normalize", [True, False])
def test_scoring_candidates_only_changes_nothing(model, monkeypatch, normalize):
    tree = PrefixTree.build(KEYS, progress=False)
    options = {"search": Beam(width=3, n_best=3), "max_new_tokens": 5, "end_ids": END}
    constraint = [PrefixConstraint(tree, END, normalize=normalize)]
    calls = Counter()
    original = model_step_module.ModelStep.score_candidates
    monkeypatch.setattr(
        model_step_module.ModelStep, "score_candidates", lambda self, *args: calls.update(n=1) or original(self, *args)
    )
    dense = generate(model, PROMPTS, processors=constraint, **options)
    monkeypatch.setattr(model_step_module, "FEW", 1)
    compact = generate(model, PROMPTS, processors=constraint, **options)
    assert bool(calls["n"]) == normalize
    for one, other in zip(dense, compact):
        assert tokens_of((one, *one.alternatives)) == tokens_of((other, *other.alternatives))
        np.testing.assert_allclose(one.score, other.score, atol=1e-4)
        assert one.tokens[:-1].tolist() in KEYS


def test_constrained_greedy_and_samples_stay_in_the_tree(model):
    tree = PrefixTree.build(KEYS, progress=False)
    for search in (Greedy(), Sample(n=5)):
        found = generate(model, PROMPTS, search=search, processors=[PrefixConstraint(tree, END)], max_new_tokens=5, end_ids=END)
        for result in found:
            assert all(each.finished and each.tokens[:-1].tolist() in KEYS for each in (result, *result.alternatives))


# ---- streams


@pytest.mark.parametrize("processors", [[], [lambda log_probs, hypotheses: log_probs]], ids=["device", "host"])
def test_a_stream_gives_the_same_tokens(model, processors):
    options = {"max_new_tokens": 6, "end_ids": END, "processors": processors}
    texts = [[] for _ in PROMPTS]
    for piece in stream(model, PROMPTS, **options):
        texts[piece.prompt].append(piece.token)
    assert texts == tokens_of(generate(model, PROMPTS, **options))


def test_few_programs_are_made(model):
    """Within a bucket nothing is compiled again, whatever the lengths of prompts and texts."""
    stepper = stepper_for(model)
    generate(model, [[1] * 17, [2] * 20], max_new_tokens=9, end_ids=END)
    programs = dict(stepper._programs)
    for lengths, new in (((19, 32), 3), ((18, 18), 30), ((31, 17), 1)):
        if max(lengths) + new > 40:
            new = 41 - max(lengths)
        generate(model, [[1] * length for length in lengths], max_new_tokens=new, end_ids=5)
    assert stepper._programs == programs
    assert stepper_for(model) is stepper
