"""Texts in, texts out: tokenizers, segments, starts of decoders, pieces of a stream."""

import numpy as np
import pytest
from families import BART, family, randomize

from keras_su import build_transformer_model
from keras_su.decoding import generate, stream
from keras_su.errors import KerasSuError
from keras_su.tokenizers import Tokenizer

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"春眠不觉晓处闻啼鸟夜来风雨声花落知多少"]
CONFIG = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
}
TEXTS = ["春眠不觉晓", "夜来"]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer({token: number for number, token in enumerate(VOCABULARY)})


@pytest.mark.parametrize("application", ["unilm", "lm"])
def test_texts_equal_ids(tokenizer, application):
    """A UniLM reads a closed text and answers; a causal model goes on where the text stops, before the end token."""
    model = randomize(build_transformer_model(CONFIG, application=application, with_mlm=True), scale=0.4)
    results = generate(model, TEXTS, tokenizer=tokenizer, max_new_tokens=5)
    ids = [tokenizer.encode(text)[0][: None if application == "unilm" else -1] for text in TEXTS]
    expected = generate(model, ids, max_new_tokens=5, end_ids=tokenizer.end_id)
    for one, other in zip(results, expected):
        assert one.tokens.tolist() == other.tokens.tolist() and other.text is None
        assert one.text == tokenizer.decode([token for token in one.tokens.tolist() if token != tokenizer.end_id])
    pieces = list(stream(model, TEXTS, tokenizer=tokenizer, max_new_tokens=5))
    for number, result in enumerate(results):
        assert "".join(piece.text for piece in pieces if piece.prompt == number) == result.text
    single = generate(model, TEXTS[0], tokenizer=tokenizer, max_new_tokens=5)
    assert single.text == results[0].text


def test_what_a_decoder_starts_with(tokenizer):
    """The model's own start, else the tokenizer's, else it must be said."""
    handle = build_transformer_model({**BART, "decoder_start_token_id": 2}, model="bart", with_lm=True, return_keras_model=False)
    source = [[7, 8, 9, 2], [6, 2]]
    implied = generate(handle, source, max_new_tokens=3)
    said = generate(handle.model, source, max_new_tokens=3, start_ids=2)
    assert [r.tokens.tolist() for r in implied] == [r.tokens.tolist() for r in said]
    each = generate(handle.model, source, max_new_tokens=3, start_ids=[[2, 5], [2]])
    assert [len(r.tokens) for r in each] == [3, 3]
    with pytest.raises(KerasSuError, match="What does the decoder start with"):
        generate(handle.model, source, max_new_tokens=3)


def test_conditions_are_a_context():
    import keras

    condition = keras.Input((3,), name="style")
    options = {"layer_norm_cond": condition, "additional_input_layers": condition, "application": "unilm", "with_mlm": True}
    model = randomize(build_transformer_model(CONFIG, **options), scale=0.4)
    styles = np.array([[0.0, 1.0, 0.0], [2.0, -1.0, 3.0]], np.float32)
    prompts = [[2, 5, 3]] * 2
    with pytest.raises(KerasSuError, match="also reads style"):
        generate(model, prompts, max_new_tokens=3)
    cached, whole = (
        generate(model, prompts, max_new_tokens=4, context={"style": styles}, cached=cached) for cached in (True, False)
    )
    assert [r.tokens.tolist() for r in cached] == [r.tokens.tolist() for r in whole]
    assert cached[0].score != pytest.approx(cached[1].score, abs=1e-3)


def test_segments_of_prompts():
    """Several turns of a UniLM: cached they equal the whole text."""
    model = family("bert").build("unilm")
    prompts, segments = [[5, 6, 7, 8, 9], [5, 6]], [[0, 0, 1, 0, 0], [0, 1]]
    cached, whole = (generate(model, prompts, segments=segments, max_new_tokens=4, cached=cached) for cached in (True, False))
    assert [r.tokens.tolist() for r in cached] == [r.tokens.tolist() for r in whole]
    np.testing.assert_allclose([r.score for r in cached], [r.score for r in whole], atol=1e-4)
