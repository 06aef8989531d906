"""`AutoRegressiveDecoder`: old subclasses against brute force and recorded rules, and cached ones against old ones."""

import itertools
from collections import Counter

import keras
import numpy as np
import pytest
from families import BERT_CONFIG, randomize

from keras_su import build_transformer_model
from keras_su.decoding.processors import BadWords
from keras_su.errors import KerasSuError
from keras_su.snippets import AutoRegressiveDecoder

VOCABULARY, END = 5, 0
TABLE = np.random.default_rng(5).dirichlet(np.ones(VOCABULARY), VOCABULARY)  # of the next token, given the last one


class Chain(AutoRegressiveDecoder):
    """A Markov chain that begins with the last id of its input."""

    table = TABLE

    @AutoRegressiveDecoder.wraps(default_rtype="probas")
    def predict(self, inputs, output_ids, states):
        return self.table[np.concatenate([inputs[0], output_ids], axis=1)[:, -1]]


def chain(table=TABLE, maxlen=4, minlen=1, start_id=None, end_id=END, kind=Chain):
    decoder = kind(start_id, end_id, maxlen, minlen)
    decoder.table = np.asarray(table)
    return decoder


def log_score(table, ids, before):
    return sum(np.log(table[last, token] + 1e-12) for last, token in zip([before, *ids], ids))


def every_text(length, minlen=1, min_ends=1):
    """Texts of at most so many tokens that are closed by their end, or cut."""
    for size in range(1, length + 1):
        for ids in itertools.product(range(VOCABULARY), repeat=size):
            closed = [i for i in range(minlen - 1, size) if ids[i] == END and ids[: i + 1].count(END) >= min_ends]
            if closed == [size - 1] or (not closed and size == length):
                yield ids


# ---- beam search


@pytest.mark.parametrize("minlen, min_ends", [(1, 1), (3, 1), (1, 2), (4, 2)])
def test_a_beam_of_all_texts_is_as_good_as_the_rule_allows(minlen, min_ends):
    """The best hypothesis of every length is known by counting; the rule stops at the first that has ended."""
    decoder, length = chain(minlen=minlen), 4
    for before in range(VOCABULARY):
        found = decoder.beam_search([[before]], topk=VOCABULARY**length, min_ends=min_ends)
        texts = {ids: log_score(TABLE, ids, before) for ids in every_text(length, minlen, min_ends)}
        for size in range(1, length + 1):
            closed = {ids: score for ids, score in texts.items() if len(ids) == size}
            going_on = {ids[:size]: log_score(TABLE, ids[:size], before) for ids in texts if len(ids) > size}
            best, score = max(closed.items(), key=lambda each: each[1], default=(None, -np.inf))
            if score > max(going_on.values(), default=-np.inf):
                break
        assert tuple(found.tolist()) == best


def test_a_beam_of_all_texts_is_exhaustive_where_nothing_ends():
    decoder = chain(end_id=None, maxlen=3)
    texts = itertools.product(range(VOCABULARY), repeat=3)
    best = max(texts, key=lambda ids: log_score(TABLE, ids, 2))
    assert decoder.beam_search([[2]], topk=VOCABULARY**3).tolist() == list(best)


def test_beam_of_one_is_greedy():
    for before in range(VOCABULARY):
        expected = [before]
        while len(expected) < 9 and (len(expected) == 1 or expected[-1] != END):
            expected.append(int(TABLE[expected[-1]].argmax()))
        assert chain(maxlen=8).beam_search([[before]], topk=1).tolist() == expected[1:]


def test_what_ends_as_second_is_dropped_and_the_beam_shrinks():
    table = np.full((VOCABULARY, VOCABULARY), 1e-6)
    table[1, [2, END, 3]] = 0.5, 0.3, 0.2  # the end is second: dropped, one hypothesis of two remains
    table[2, [3, 4]] = 0.51, 0.49
    table[3, [END, 4]] = 0.6, 0.4
    rows = []

    class Watched(Chain):
        @AutoRegressiveDecoder.wraps()
        def predict(self, inputs, output_ids, states):
            rows.append(output_ids.tolist())
            return self.table[np.concatenate([inputs[0], output_ids], axis=1)[:, -1]]

    assert chain(table, kind=Watched).beam_search([[1]], topk=2).tolist() == [2, 3, END]
    assert rows == [[[]], [[2]], [[2, 3]]]


def test_equal_scores_are_taken_in_order():
    decoder = chain(np.full((VOCABULARY, VOCABULARY), 0.2), end_id=None, maxlen=3)
    assert decoder.beam_search([[1]], topk=3).tolist() == [0, 0, 0]


def test_beam_wider_than_the_vocabulary_and_several_end_ids():
    assert chain(maxlen=1).beam_search([[1]], topk=50).tolist() == [TABLE[1].argmax()]
    assert len(chain(end_id=list(range(VOCABULARY))).beam_search([[1]], topk=50)) == 1


def test_start_id_counts_as_output():
    decoder = chain(start_id=END, maxlen=3, minlen=3)
    assert decoder.first_output_ids.tolist() == [[END]] and chain().first_output_ids.shape == (1, 0)
    results = [tuple(ids.tolist()) for ids in decoder.random_sample([[1]], n=60, min_ends=2, seed=0)]
    short = {ids for ids in results if len(ids) == 3}  # the start is one of their two ends
    assert any(ids.count(END) == 2 for ids in short) and {ids[-1] for ids in short} == {END}
    assert {len(ids) for ids in results} == {3, 4} and {ids[0] for ids in results} == {END}
    assert all(ids[2] != END for ids in results if len(ids) == 4)
    assert decoder.beam_search([[1]], topk=2)[0] == END


def test_temperature_sharpens_both_kinds_alike():
    class Logits(AutoRegressiveDecoder):
        @AutoRegressiveDecoder.wraps("logits")
        def predict(self, inputs, output_ids, states):
            return keras.ops.convert_to_tensor(np.log(TABLE[inputs[0][:, -1]]) + 7, "float32")

    for temperature in (0.5, 1, 2.0):
        expected = TABLE[[3]] ** (1 / temperature)
        expected /= expected.sum()
        for decoder in (chain(), Logits(None, END, 4)):
            arguments = [np.array([[3]])], np.zeros((1, 0), int), None, temperature
            probas, states = decoder.predict(*arguments, "probas")
            assert states is None
            np.testing.assert_allclose(probas, expected, rtol=1e-5)
            np.testing.assert_allclose(decoder.predict(*arguments, rtype="logits")[0], np.log(expected + 1e-12), rtol=1e-5)


def test_processors_see_the_output():
    found = chain(end_id=None).beam_search([[1]], topk=2, processors=[BadWords([[token] for token in range(4)])])
    assert found.tolist() == [4, 4, 4, 4]
    sampled = chain(end_id=None).random_sample([[1]], 3, topk=3, seed=0, processors=[BadWords([[0], [1], [2], [4]])])
    assert [ids.tolist() for ids in sampled] == [[3] * 4] * 3


# ---- sampling


@pytest.mark.parametrize(
    "topk, topp, temperature", [(None, None, 1), (3, None, 1), (None, 0.7, 1), (3, 0.7, 2.0), (99, 1.0, 0.5)]
)
def test_samples_have_the_distribution_that_topk_and_topp_leave(topk, topp, temperature):
    n = 4000
    results = chain(maxlen=1).random_sample([[3]], n, topk, topp, temperature=temperature, seed=1)
    expected = TABLE[3] ** (1 / temperature)
    order = np.argsort(-expected)[:topk]
    kept = expected[order] / expected[order].sum()
    if topp is not None:
        kept = kept[: int(np.searchsorted(np.cumsum(kept), min(topp, 1 - 1e-9))) + 1]
    expected = dict(zip(order[: len(kept)].tolist(), n * kept / kept.sum()))
    counts = Counter(int(ids[0]) for ids in results)
    assert set(counts) <= set(expected) and len(results) == n
    statistic = sum((counts[token] - count) ** 2 / count for token, count in expected.items())
    assert statistic < {1: 10.9, 2: 13.9, 3: 16.3, 4: 18.5}.get(len(expected) - 1, 1e-9)  # p > 0.001


def test_seeds():
    sample = lambda seed: [ids.tolist() for ids in chain().random_sample([[3]], 5, seed=seed)]  # noqa: E731
    assert sample(3) == sample(3) != sample(4)
    assert sample(np.random.default_rng(3)) == sample(3)
    np.random.seed(3)
    first = sample(None)
    assert sample(None) != first
    np.random.seed(3)
    assert sample(None) == first


def test_numpys_seed_draws_what_numpy_would_choose():
    """Row by row, as scripts of bert4keras did."""
    np.random.seed(8)
    alive, expected = [[] for _ in range(6)], []
    for _ in range(4):
        for ids in alive:
            ids.append(int(np.random.choice(VOCABULARY, p=TABLE[ids[-1] if ids else 3])))
        expected += [ids for ids in alive if ids[-1] == END]
        alive = [ids for ids in alive if ids[-1] != END]
    np.random.seed(8)
    assert [ids.tolist() for ids in chain().random_sample([[3]], 6)] == expected + alive


def test_samples_end_by_the_same_rule():
    for minlen, min_ends in [(1, 1), (3, 1), (1, 2)]:
        possible = set(every_text(4, minlen, min_ends))
        results = chain(minlen=minlen).random_sample([[1]], n=200, min_ends=min_ends, seed=2)
        assert len(results) == 200 and {tuple(ids.tolist()) for ids in results} <= possible


# ---- what predictors do


def test_states_follow_the_hypotheses():
    """A predictor that knows the text by its states alone scores as one that reads it."""

    class Remembering(Chain):
        @AutoRegressiveDecoder.wraps(use_states=True)
        def predict(self, inputs, output_ids, states):
            if states is None:
                states = {"seen": np.zeros((1, 0), int), "more": [keras.ops.ones((1, 2)), ("text", 7, None)], "table": TABLE[:3]}
            assert states["more"][1] == ("text", 7, None) and states["table"].shape == (3, VOCABULARY)
            assert states["more"][0].shape[0] == len(output_ids) == len(states["seen"])
            seen = np.concatenate([states["seen"], output_ids[:, -1:]], axis=1)
            np.testing.assert_array_equal(seen, output_ids)
            return self.table[np.concatenate([inputs[0], seen], axis=1)[:, -1]], {**states, "seen": seen}

    for minlen in (1, 3):
        plain, remembering = chain(maxlen=8, minlen=minlen), chain(maxlen=8, minlen=minlen, kind=Remembering)
        for before in range(VOCABULARY):
            assert remembering.beam_search([[before]], 4).tolist() == plain.beam_search([[before]], 4).tolist()
        for mine, theirs in zip(remembering.random_sample([[1]], 9, seed=1), plain.random_sample([[1]], 9, seed=1), strict=True):
            assert mine.tolist() == theirs.tolist()


def test_states_of_the_caller_reach_the_first_step():
    class Starting(Chain):
        @AutoRegressiveDecoder.wraps(use_states=True)
        def predict(self, inputs, output_ids, states):
            assert states == ("given", output_ids.shape[1])
            return self.table[np.concatenate([inputs[0], output_ids], axis=1)[:, -1]], (states[0], states[1] + 1)

    chain(kind=Starting).beam_search([[1]], 3, ("given", 0))
    chain(kind=Starting).random_sample([[1]], 3, states=("given", 0))


def test_predictors_may_overwrite_what_they_get():
    class Whole(Chain):
        @AutoRegressiveDecoder.wraps()
        def predict(self, inputs, output_ids, states):
            result = self.table[(inputs[0][:, 0] + inputs[1].sum(axis=1) + output_ids.sum(axis=1)) % VOCABULARY]
            if self.overwrites:
                inputs[0][:] = inputs[1][:] = 1
                output_ids[:] = 2
                del inputs[1]
            return result

    arguments = [np.array([3]), [4, 5, 6]]
    found = []
    for Whole.overwrites in (False, True):
        decoder = chain(kind=Whole, end_id=None)
        found.append([decoder.beam_search(arguments, 3).tolist(), np.array(decoder.random_sample(arguments, 3, seed=1)).tolist()])
    assert found[0] == found[1] and arguments[0].tolist() == [3]


def test_the_older_decorator_counts_steps():
    class Old(AutoRegressiveDecoder):
        @AutoRegressiveDecoder.set_rtype(default="logits")
        def predict(self, inputs, output_ids, step):
            assert step == output_ids.shape[1]
            return np.log(TABLE[inputs[0][:, -1] if step == 0 else output_ids[:, -1]])

    old = Old(None, END, 6)
    assert old.beam_search([[3]], 3).tolist() == chain(maxlen=6).beam_search([[3]], 3).tolist()
    assert len(old.random_sample([[3]], 4, 2)) == 4


@pytest.mark.parametrize("search", [lambda d: d.beam_search([[1]], 2, temperature=2.0), lambda d: d.random_sample([[1]], 2)])
def test_failures_say_why_and_leave_the_decoder_usable(search):
    nothing = np.zeros_like(TABLE)
    with pytest.raises(KerasSuError, match="No token has a probability above zero"):
        search(chain(nothing))
    with pytest.raises(KerasSuError, match="NaN"):
        search(chain(nothing * np.nan))
    decoder = chain(TABLE[:1])
    with pytest.raises(IndexError):  # of predict
        search(decoder)
    decoder.table = TABLE
    search(decoder)


def test_a_hypothesis_that_cannot_go_on_gives_way_to_others():
    table = np.zeros((VOCABULARY, VOCABULARY))
    table[1, [2, 3]] = 0.9, 0.1  # nothing follows 2
    table[3, END] = 1
    assert chain(table).beam_search([[1]], topk=2).tolist() == [3, END]


def test_wrong_arguments_are_refused():
    with pytest.raises(NotImplementedError, match="Define predict"):
        AutoRegressiveDecoder(None, END, 4).beam_search([[1]], 1)
    with pytest.raises(KerasSuError, match="default_rtype"):
        AutoRegressiveDecoder.wraps(lambda self, inputs, output_ids, states: None)
    for name, wrong in (("topk", 0), ("min_ends", 0), ("temperature", 0)):
        with pytest.raises(KerasSuError, match=name):
            chain().beam_search([[1]], **{"topk": 1, name: wrong})
    for name, wrong in (("n", 0), ("topk", 0), ("topp", 1.5)):
        with pytest.raises(KerasSuError, match=name[-1]):
            chain().random_sample([[1]], **{"n": 1, name: wrong})

    class NoPair(Chain):
        @AutoRegressiveDecoder.wraps(use_states=True)
        def predict(self, inputs, output_ids, states):
            return self.table[[1, 2]]

    with pytest.raises(KerasSuError, match="use_states"):
        chain(kind=NoPair).beam_search([[1]], 1)
    with pytest.raises(KerasSuError, match="last_token"):
        chain().last_token("model")


# ---- Keras models

CONFIG = {**BERT_CONFIG, "vocab_size": 12, "num_hidden_layers": 1}


@pytest.fixture(scope="module")
def unilm():
    return randomize(build_transformer_model(CONFIG, model="bert", application="unilm", with_mlm=True), scale=0.5)


@pytest.fixture(scope="module")
def gpt2():
    return randomize(build_transformer_model(CONFIG, model="gpt2"), scale=0.5)


class AutoTitle(AutoRegressiveDecoder):
    """Title generation as in scripts of bert4keras."""

    @AutoRegressiveDecoder.wraps(default_rtype="probas")
    def predict(self, inputs, output_ids, states):
        token_ids, segment_ids = inputs
        token_ids = np.concatenate([token_ids, output_ids], 1)
        segment_ids = np.concatenate([segment_ids, np.ones_like(output_ids)], 1)
        return self.last_token(self.model).predict([token_ids, segment_ids])

    def generate(self, token_ids, segment_ids, topk=1):
        return self.beam_search([token_ids, segment_ids], topk=topk)


class ArticleCompletion(AutoRegressiveDecoder):
    """Continuation of a text as in scripts of bert4keras."""

    @AutoRegressiveDecoder.wraps(default_rtype="probas")
    def predict(self, inputs, output_ids, states):
        token_ids = np.concatenate([inputs[0], output_ids], 1)
        return self.last_token(self.model).predict(token_ids)


class Cached(AutoRegressiveDecoder):
    pass


LAST_TOKEN = {}  # shared by all old decoders here, as each would compile anew


def both(model, old, start_id=None, maxlen=3, minlen=1):
    """An old subclass for the model, and one that names it as its cached model."""
    plain, cached = old(start_id, 3, maxlen, minlen), Cached(start_id, 3, maxlen, minlen)
    plain.model = cached.cached_model = model
    plain.models = LAST_TOKEN
    return plain, cached


def check_same(plain, cached, inputs, **options):
    np.testing.assert_array_equal(cached.beam_search(inputs, 2, **options), plain.beam_search(inputs, 2, **options))
    sampled = [each.random_sample(inputs, 2, topk=5, topp=0.9, seed=7, **options) for each in (plain, cached)]
    for expected, found in zip(*sampled, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_script_for_titles(unilm, capsys):
    plain, _ = both(unilm, AutoTitle)
    title = plain.generate([2, 7, 8, 9, 4], [0] * 5, topk=2)
    assert title.ndim == 1 and 1 <= len(title) <= 3
    assert len(plain.random_sample([[2, 7, 8, 9, 4], [0] * 5], 2, 5)) == 2
    assert "step" not in capsys.readouterr().out  # no progress bar for each token


def test_cached_titles(unilm):
    plain, cached = both(unilm, AutoTitle)
    check_same(plain, cached, [np.array([2, 7, 8, 9, 4]), np.array([0, 0, 1, 1, 0])], temperature=1.5)
    plain, cached = both(unilm, AutoTitle, start_id=6)
    check_same(plain, cached, [[2, 7, 8, 4], [0] * 4], min_ends=2)


def test_cached_continuations(gpt2):
    plain, cached = both(gpt2, ArticleCompletion, start_id=5, minlen=3)
    check_same(plain, cached, [[7, 8, 9]])


def test_the_prompt_of_a_cached_decoder_may_be_defined(gpt2):
    class Asked(Cached):
        cached_model = gpt2

        def prompt(self, inputs):
            return [*inputs[1], *inputs[0]], None

    expected = both(gpt2, ArticleCompletion)[1].beam_search([[8, 9, 7]], 2)
    np.testing.assert_array_equal(Asked(None, 3, 3).beam_search([[7], [8, 9]], 2), expected)


def test_cached_encoder_decoder():
    config = {"vocab_size": 12, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_heads": 2, "num_layers": 1}
    model = randomize(build_transformer_model(config, model="t5", with_lm=True), scale=0.5)

    class Translation(AutoRegressiveDecoder):
        @AutoRegressiveDecoder.wraps(default_rtype="probas")
        def predict(self, inputs, output_ids, states):
            return self.last_token(model).predict([inputs[0], output_ids])

    plain, cached = both(model, Translation, start_id=1, maxlen=2)
    check_same(plain, cached, [[7, 8, 9]])


def test_cached_decoders_refuse_what_they_cannot_do(gpt2):
    cached = both(gpt2, ArticleCompletion, maxlen=99)[1]
    with pytest.raises(KerasSuError, match="maxlen: got 99, expected at most 22"):
        cached.beam_search([[7, 8, 9]], 1)
    cached.maxlen = 4
    with pytest.raises(KerasSuError, match="states"):
        cached.beam_search([[7, 8, 9]], 1, states=[1])
    with pytest.raises(KerasSuError, match="segment_ids"):
        cached.beam_search([[7, 8, 9], [0, 0]], 1)
    with pytest.raises(KerasSuError, match="empty"):
        cached.beam_search([[]], 1)
    assert len(cached.beam_search([[7, 8, 9]], 1))


def test_last_token(unilm, tmp_path):
    decoder = AutoRegressiveDecoder(None, 3, 4)
    last = decoder.last_token(unilm)
    assert decoder.last_token(unilm) is last and decoder.models == {unilm: last}
    assert [layer.name for layer in last.layers if layer in unilm.layers] == [layer.name for layer in unilm.layers]
    tokens = np.array([[2, 7, 8]], "int32")
    whole = keras.ops.convert_to_numpy(unilm([tokens, 0 * tokens], training=False))
    expected = keras.ops.convert_to_numpy(last([tokens, 0 * tokens], training=False))
    np.testing.assert_allclose(expected, whole[:, -1], atol=1e-6)
    for model, name in ((last, "last"), (unilm, "whole")):
        model.save(tmp_path / f"{name}.keras")
        loaded = keras.saving.load_model(tmp_path / f"{name}.keras")
        found = keras.ops.convert_to_numpy(loaded([tokens, 0 * tokens], training=False))
        np.testing.assert_allclose(found, expected if model is last else whole, atol=1e-6)
