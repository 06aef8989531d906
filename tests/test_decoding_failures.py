"""What goes wrong while decoding is said clearly and leaves the model as it was; models may be changed beforehand."""

import gc
import weakref

import keras
import numpy as np
import pytest
from families import family, randomize
from keras import ops

from keras_su import build_transformer_model
from keras_su.cache import KVCache, current_cache
from keras_su.decoding import Beam, Greedy, PrefixConstraint, PrefixTree, Sample, generate, stream
from keras_su.decoding.processors import Processor
from keras_su.errors import KerasSuError
from keras_su.layers import MultiHeadAttention
from keras_su.layers.base import Layer

CONFIG = {
    "vocab_size": 20,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 12,
    "hidden_act": "gelu",
}
PROMPTS = [[3, 1, 4], [2, 6]]


@pytest.fixture(scope="module")
def model():
    return randomize(build_transformer_model(CONFIG, model="gpt2"), scale=0.3)


@pytest.fixture(scope="module")
def expected(model):
    return [result.tokens.tolist() for result in generate(model, PROMPTS, max_new_tokens=4)]


class Nothing(Processor):
    """Forbids everything after some tokens."""

    def __init__(self, after):
        self.after = after

    def apply(self, log_probs, history):
        return ops.where(history.generated >= self.after, -float("inf"), log_probs)


def raising(log_probs, hypotheses):
    if hypotheses.generated.shape[1] == 2:
        raise ZeroDivisionError("a mistake in a processor")
    return log_probs


def nothing(log_probs, hypotheses):
    return np.full_like(log_probs, -np.inf if hypotheses.generated.shape[1] == 2 else 0.0)


def not_a_number(log_probs, hypotheses):
    return log_probs * np.nan


SEARCHES = [Greedy(), Sample(), Beam(width=2)]


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: type(search).__name__)
@pytest.mark.parametrize(
    "processor, error, message",
    [
        (raising, ZeroDivisionError, "a mistake in a processor"),
        (nothing, KerasSuError, "for prompt 0 after 2 generated tokens"),
        (Nothing(2), KerasSuError, "for prompt 0 after 2 generated tokens"),
        (Nothing(0), KerasSuError, "for prompt 0 after 0 generated tokens"),
        (not_a_number, KerasSuError, "row 0 are NaN"),
    ],
)
def test_a_step_fails(model, expected, search, processor, error, message):
    with pytest.raises(error, match=message):
        generate(model, PROMPTS, search=search, max_new_tokens=5, processors=[processor])
    assert current_cache() is None
    assert [result.tokens.tolist() for result in generate(model, PROMPTS, max_new_tokens=4)] == expected


def test_a_stream_that_is_left_or_fails(model, expected):
    pieces = stream(model, PROMPTS, max_new_tokens=5)
    next(pieces)
    pieces.close()
    with pytest.raises(KerasSuError, match="after 1 generated"):
        list(stream(model, PROMPTS, max_new_tokens=5, processors=[Nothing(1)]))
    with pytest.raises(KerasSuError, match="a beam knows its best text only at the end"):
        stream(model, PROMPTS, search=Beam())
    assert [result.tokens.tolist() for result in generate(model, PROMPTS, max_new_tokens=4)] == expected


@pytest.mark.parametrize(
    "prompts, options, message",
    [
        ([[1] * 13], {"max_new_tokens": 1}, "A prompt of 13 tokens.*12 positions.*Shorten the prompt to 12"),
        ([[1] * 9], {"max_new_tokens": 8}, "9 tokens and max_new_tokens=8 exceed the 12 positions.*Pass max_new_tokens=4"),
        ([[1], []], {}, "Prompt 1 is empty"),
        ([[1, 20]], {"max_new_tokens": 2}, "a token id of prompt 0: got 20"),
        ([["a"]], {}, "prompt 0"),
        (["a"], {}, "Prompt 0 is a text. Pass tokenizer="),
        ([[1]], {"max_new_tokens": 0}, "max_new_tokens: got 0"),
        ([[1]], {"min_ends": 0}, "min_ends: got 0"),
        ([[1], [2]], {"search": Sample(), "seed": [1], "max_new_tokens": 2}, "number of seeds: got 1"),
        ([[1]], {"context": {"Input-Other": np.zeros((1, 2))}}, "context"),
        ([[1, 2]], {"segments": [[0]], "max_new_tokens": 2}, "lengths of segments"),
        ([[1, 2]], {"start_ids": 1, "max_new_tokens": 2}, "the prompts are what this model begins with"),
    ],
)
def test_wrong_arguments(model, prompts, options, message):
    with pytest.raises(KerasSuError, match=message):
        generate(model, prompts, **options)


def test_longest_possible_text(model):
    """The last token is written, not read, so one more than there are positions fits."""
    assert len(generate(model, [1] * 9, max_new_tokens=4).tokens) == 4
    assert len(generate(model, [1] * 9, max_new_tokens=4, cached=False).tokens) == 4


def test_no_prompts(model):
    for search in SEARCHES:
        assert generate(model, [], search=search, max_new_tokens=3) == []
    assert list(stream(model, [], max_new_tokens=3)) == []


@pytest.mark.parametrize("wrong", [{"groups": 3}, {"width": 0}, {"n_best": 5}, {"groups": 2}, {"diversity": 1.0}])
def test_wrong_beams(wrong):
    with pytest.raises(KerasSuError, match="Beam"):
        Beam(**wrong)


# ---- models that cannot be decoded, and those that can


class Shift(Layer):
    """Adds the vector of the token before: it mixes tokens, and knows nothing of a cache."""

    def call(self, inputs):
        return inputs + ops.pad(inputs, ((0, 0), (1, 0), (0, 0)))[:, :-1]


def with_layer(model, layer):
    hidden = model.get_layer("Transformer-0-FeedForward-Add").output
    logits = keras.layers.Dense(20, name="logits")(layer(hidden))
    return keras.Model(model.inputs, logits)


def test_a_layer_that_mixes_tokens_is_refused_by_name(model):
    mixed = with_layer(model, Shift(name="shift"))
    with pytest.raises(KerasSuError, match=r"shift \(Shift\) may mix tokens.*cached=False.*token_wise = True"):
        generate(mixed, PROMPTS, max_new_tokens=3)
    tokens = [result.tokens.tolist() for result in generate(mixed, PROMPTS, max_new_tokens=4, cached=False)]
    for prompt, found in zip(PROMPTS, tokens):
        for number, token in enumerate(found):
            ids = [*prompt, *found[:number]]
            whole = np.array([[*ids, *[0] * (8 - len(ids))]], np.int32)
            assert token == int(ops.argmax(mixed(ops.convert_to_tensor(whole))[0, len(ids) - 1]))


def test_attention_that_looks_ahead_is_refused(model):
    for masks in ({}, {"mask_mode": "full"}):
        ahead = with_layer(model, MultiHeadAttention(2, 8, name="ahead", **masks))
        with pytest.raises(KerasSuError, match="ahead lets tokens look ahead"):
            generate(ahead, PROMPTS, max_new_tokens=3)
    causal = with_layer(model, MultiHeadAttention(2, 8, name="back", mask_mode="causal"))
    cached, whole = (generate(causal, PROMPTS, max_new_tokens=4, cached=cached) for cached in (True, False))
    assert [result.tokens.tolist() for result in cached] == [result.tokens.tolist() for result in whole]
    for name in ("bert", "nezha", "roformer", "gau_alpha"):
        encoder = family(name).build("encoder")
        with pytest.raises(KerasSuError, match="lets tokens look ahead.*application='lm' or 'unilm'"):
            generate(encoder, PROMPTS, max_new_tokens=3)
    tokens, segments = (keras.Input((None,), dtype="int32", name=f"Input-{name}") for name in ("Token", "Segment"))
    for application in ("encoder", "unilm"):
        inner = family("bert").build(application)
        outer = keras.Model([tokens, segments], inner([tokens, segments]) * 1.0)
        if application == "encoder":
            with pytest.raises(KerasSuError, match="lets tokens look ahead"):
                generate(outer, PROMPTS, max_new_tokens=3)
        else:
            results = generate(outer, PROMPTS, max_new_tokens=3, segment=1)
            assert [r.tokens.tolist() for r in results] == [r.tokens.tolist() for r in generate(inner, PROMPTS, max_new_tokens=3)]


def test_other_outputs_and_inputs():
    with pytest.raises(KerasSuError, match="one of shape"):
        generate(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]), PROMPTS)
    tokens, other = keras.Input((None,), dtype="int32", name="words"), keras.Input((None,), dtype="int32", name="more")
    x = keras.layers.Embedding(20, 8)(tokens) + keras.layers.Embedding(20, 8)(other)
    plain = keras.Model([tokens, other], keras.layers.Dense(20)(x))
    with pytest.raises(KerasSuError, match="Which of the inputs words, more are the tokens"):
        generate(plain, PROMPTS, max_new_tokens=2)
    streams = {"words": "tokens", "more": "segments"}
    assert len(generate(plain, PROMPTS, max_new_tokens=2, streams=streams)[0].tokens) == 2
    with pytest.raises(KerasSuError, match="word.*words"):
        generate(plain, PROMPTS, streams={"word": "tokens"})


def test_a_reloaded_model(model, expected, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert [result.tokens.tolist() for result in generate(loaded, PROMPTS, max_new_tokens=4)] == expected


def test_weights_may_change_between_calls(expected):
    fresh = build_transformer_model(CONFIG, model="gpt2")
    generate(fresh, PROMPTS, max_new_tokens=4)
    randomize(fresh, scale=0.3)
    assert [result.tokens.tolist() for result in generate(fresh, PROMPTS, max_new_tokens=4)] == expected


def test_lora_and_quantization_are_noticed():
    fresh = randomize(build_transformer_model(CONFIG, model="gpt2"), scale=0.3)
    before = generate(fresh, PROMPTS, max_new_tokens=4)
    layer = fresh.get_layer("Transformer-0-FeedForward").i0_dense
    layer.enable_lora(2)
    layer.lora_kernel_b.assign(3 * np.ones(layer.lora_kernel_b.shape))
    cached, whole = (generate(fresh, PROMPTS, max_new_tokens=4, cached=cached) for cached in (True, False))
    assert cached[0].score != pytest.approx(before[0].score, abs=1e-3)
    assert [r.tokens.tolist() for r in cached] == [r.tokens.tolist() for r in whole]
    quantized = randomize(build_transformer_model(CONFIG, model="gpt2"), scale=0.3)
    generate(quantized, PROMPTS, max_new_tokens=4)
    quantized.quantize("int8")
    tree = PrefixTree.build([[1, 2], [3]], progress=False)
    options = {"max_new_tokens": 4, "end_ids": 0, "search": Beam(width=2), "processors": [PrefixConstraint(tree, 0)]}
    one, other = (generate(quantized, PROMPTS, cached=cached, **options) for cached in (True, False))
    assert [r.tokens.tolist() for r in one] == [r.tokens.tolist() for r in other]


def test_half_precision_decodes():
    row = family("bert")
    for dtype in ("mixed_bfloat16", "mixed_float16"):
        half = row.build("unilm", dtype=dtype)
        result = generate(half, PROMPTS, max_new_tokens=4)[0]
        assert len(result.tokens) == 4 and np.isfinite(result.score)


def test_programs_die_with_their_model(tmp_path):
    fresh = build_transformer_model(CONFIG, model="gpt2")
    generate(fresh, PROMPTS, max_new_tokens=2)
    fresh.save(tmp_path / "model.keras")
    alive = weakref.ref(fresh)
    del fresh
    gc.collect()
    assert alive() is None


def test_caches_do_not_nest(model):
    with KVCache(4, 2, ops.ones((1,), "int32")):
        with pytest.raises(KerasSuError, match="do not nest"):
            KVCache(4, 2, ops.ones((1,), "int32")).__enter__()
    assert current_cache() is None
