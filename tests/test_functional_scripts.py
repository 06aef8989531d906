"""What a user writes with the layers alone: a functional model, trained, fed with several lengths, padded, reordered."""

import keras
import numpy as np
import pytest
from helpers import assert_close, to_numpy
from keras import ops

from keras_su.layers import (
    AttentionMask,
    Embedding,
    FeedForward,
    FirstToken,
    LayerNormalization,
    MultiHeadAttention,
    PositionEmbedding,
    Residual,
)

VOCABULARY, WIDTH, LENGTH = 12, 16, 7


def block(x, name, mask=None, segments=None, mask_mode=None):
    """One post-norm Transformer block, with a mask from AttentionMask or with one that the attention makes itself."""
    attention = MultiHeadAttention(2, 8, name=f"{name}_attention", mask_mode=mask_mode)
    y = attention(x, segments=segments) if mask is None else attention([x, x, x, mask], a_bias=True)
    x = LayerNormalization(name=f"{name}_norm")(Residual()([x, y]))
    y = FeedForward(24, "gelu", name=f"{name}_feed_forward")(x)
    return LayerNormalization(name=f"{name}_feed_forward_norm")(Residual()([x, y]))


def embedded(ids):
    x = Embedding(VOCABULARY, WIDTH, mask_zero=True, name="embedding")(ids)
    return PositionEmbedding(LENGTH, WIDTH, embeddings_initializer="normal", name="position")(x)


def texts(count=32):
    """Random texts of 4 or 7 tokens with two segments, and whether token 3 is in them."""
    dice = np.random.default_rng(0)
    ids = dice.integers(2, VOCABULARY, (count, LENGTH)).astype("int32")
    ids[::2] = np.where(ids[::2] == 3, 4, ids[::2])
    ids[1::2, 1] = 3
    lengths = dice.choice([4, LENGTH], count)
    places = np.arange(LENGTH)[None]
    ids[places >= lengths[:, None]] = 0
    segments = ((places >= 2) & (ids > 0)).astype("int32")
    return ids, segments, (ids == 3).any(1).astype("float32")


@pytest.mark.parametrize("rule, pooling", [("causal", "mean"), ("unilm", "first")])
def test_classifier_learns(rule, pooling):
    ids, segments = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    mask = AttentionMask(rule)(ids, segments=segments)
    x = block(embedded(ids), "one", mask)
    assert x._keras_mask is not None  # reaches the pooling through every layer
    x = keras.layers.GlobalAveragePooling1D()(x) if pooling == "mean" else FirstToken()(x)
    model = keras.Model([ids, segments], keras.layers.Dense(1, activation="sigmoid")(x))
    model.compile(keras.optimizers.Adam(0.005), "binary_crossentropy")
    *inputs, labels = texts()
    losses = model.fit(inputs, labels, batch_size=32, epochs=40, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


def encoder(rule=None, mask_mode=None):
    """Vectors of tokens, from ids and segments, with the mask made by a layer or by the attention itself."""
    ids, segments = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    mask = None if rule is None else AttentionMask(rule)(ids, segments=segments)
    return keras.Model([ids, segments], block(embedded(ids), "one", mask, segments, mask_mode=mask_mode))


IDS, SEGMENTS, _ = texts(6)
SHORT = IDS[:, 4] == 0


def run(model, *arrays):
    return to_numpy(model([ops.convert_to_tensor(a) for a in arrays]))


def difference(one, other):
    return np.abs(one - other).max()


@pytest.mark.parametrize("rule", ["causal", "unilm", "prefix", "packed"])
def test_mask_mode_equals_the_explicit_mask(rule):
    explicit, short = encoder(rule), encoder(mask_mode=rule)
    short.set_weights(explicit.get_weights())
    assert_close(run(short, IDS, SEGMENTS), run(explicit, IDS, SEGMENTS))


def test_one_compiled_model_takes_several_lengths():
    model = encoder("unilm")
    for length in (LENGTH, 4):
        inputs = [IDS[:, :length], SEGMENTS[:, :length]]
        assert_close(model.predict(inputs, verbose=0), run(model, *inputs))


@pytest.mark.parametrize("rule", ["full", "causal", "unilm", "prefix"])
def test_padding_changes_nothing(rule):
    model = encoder(rule)
    padded, cut = run(model, IDS, SEGMENTS), run(model, IDS[:, :4], SEGMENTS[:, :4])
    assert SHORT.any() and not SHORT.all()
    assert_close(padded[SHORT, :4], cut[SHORT])
    changed = IDS.copy()
    changed[:, 0] = 5
    assert difference(run(model, changed, SEGMENTS)[:, 1:4], padded[:, 1:4]) > 1e-3


def test_order_of_the_batch_changes_nothing():
    model, order = encoder("unilm"), [3, 0, 5, 1, 4, 2]
    assert_close(run(model, IDS[order], SEGMENTS[order]), run(model, IDS, SEGMENTS)[order])


def test_source_of_a_unilm_does_not_see_the_target():
    """The vectors of "source target" over the source are those of "source" alone: what SimBERT relies on."""
    model, bidirectional = encoder("unilm"), encoder("full")
    bidirectional.set_weights(model.get_weights())
    source_and_target = np.repeat([[0, 0, 0, 0, 1, 1, 1]], 6, axis=0)
    whole, source = run(model, IDS, source_and_target), run(model, IDS[:, :4], source_and_target[:, :4])
    assert_close(whole[:, :4], source, 1e-6)
    assert difference(run(bidirectional, IDS, source_and_target)[~SHORT, :4], source[~SHORT]) > 1e-3


def test_order_matters_through_positions_only():
    """Without positions, attention permutes its outputs with its inputs; with them, it does not."""
    order = [4, 2, 0, 6, 3, 1, 5]
    ids = np.maximum(IDS, 1)
    model = encoder("full")
    assert difference(run(model, ids[:, order], SEGMENTS), run(model, ids, SEGMENTS)[:, order]) > 1e-3
    model.get_layer("position").set_weights([np.zeros((LENGTH, WIDTH))])
    assert_close(run(model, ids[:, order], SEGMENTS), run(model, ids, SEGMENTS)[:, order])
