"""What all layers promise: shapes, weights, masks and errors; then feed-forward, tokens and sums by their formulas."""

import keras
import numpy as np
import pytest
from helpers import assert_close, randomized, to_numpy
from keras import ops
from layer_cases import ARRAYS, MASKS, ROWS, TENSORS, model_and_outputs, with_mask

from keras_su.activations import set_gelu
from keras_su.errors import KerasSuError
from keras_su.layers import (
    Embedding,
    FeedForward,
    FirstToken,
    LayerNormalization,
    MultiHeadAttention,
    PositionEmbedding,
    PositionIds,
    RelativePositionEmbedding,
    RelativePositionEmbeddingT5,
    Residual,
    RotaryPositionEmbedding,
    ScaleOffset,
    SinusoidalPositionEmbedding,
)

X, IDS = TENSORS["x"], TENSORS["ids"]
HEADS = {"heads": 2, "head_size": 4}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_documented_shape_weights_and_mask(row):
    model, outputs = model_and_outputs("float32")
    several = isinstance(row.shape, list)
    names = [f"{row.name}_{place}" for place in range(len(row.shape))] if several else [row.name]
    assert [outputs[name].shape for name in names] == (row.shape if several else [row.shape])
    assert [w.path for w in model.get_layer(row.name).weights] == [f"{row.name}/{name}" for name in row.weights]
    assert (f"{row.name}_mask" in outputs) == (row.mask is not None)
    if row.mask is not None:
        np.testing.assert_array_equal(outputs[f"{row.name}_mask"], MASKS[row.mask])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: MultiHeadAttention(0, 4), "heads: got 0, expected a positive integer"),
        (lambda: MultiHeadAttention(2, 4.0), "head_size: got 4.0, expected a positive integer"),
        (lambda: MultiHeadAttention(**HEADS, normalization="soft_max"), "'soft_max'. Did you mean 'softmax'"),
        (lambda: MultiHeadAttention(**HEADS)([X, X]), r"got 2 inputs, expected a list of 3: \[q, k, v\]"),
        (lambda: MultiHeadAttention(**HEADS)([X, X, X, X]), r"got 4 inputs, expected 3 \[q, k, v\] for a_bias=None"),
        (lambda: MultiHeadAttention(**HEADS)([X, X, X], a_bias=True), "got 3 inputs, expected 4 .*attention bias"),
        (lambda: MultiHeadAttention(**HEADS)([X, X, X, X], p_bias="rope"), "p_bias 'rope'.* Known: rotary, t5_relative"),
        (lambda: MultiHeadAttention(**HEADS)([X, X, X, X], p_bias="rotary"), "the rotary term: got 8, expected 4, the key"),
        (lambda: MultiHeadAttention(**HEADS)([X, X, X, X], p_bias="t5_relative"), "got 8, expected 2, the number of heads"),
        (lambda: MultiHeadAttention(2, 4, key_size=8)([X, X, X, X], p_bias="typical_relative"), "key_size .*got 8, expected 4"),
        (lambda: MultiHeadAttention(**HEADS)([X, X, X, X[0, 0]], a_bias=True), "rank of the attention bias: got 1, expected 2"),
        (lambda: MultiHeadAttention(**HEADS, mask_mode="causal")([X, X[:, :3], X[:, :3]]), "is for self-attention"),
        (lambda: LayerNormalization(conditional=True)(X), r"got one tensor, expected a list of 2: \[x, condition\]"),
        (lambda: LayerNormalization()([X, X]), "got 2 inputs, expected one tensor.*conditional=True"),
        (lambda: ScaleOffset(conditional=True)([X, X, X]), r"got 3 inputs, expected a list of 2: \[x, condition\]"),
        (lambda: Embedding(5, 8)(IDS, mode="denes"), "mode: got 'denes', expected 'embedding' or 'dense'"),
        (lambda: PositionEmbedding(4, 8)(X), "has 5 tokens, but the position table reaches only 4"),
        (lambda: PositionEmbedding(2, 8, hierarchical=True)(X), "has 5 tokens, but the position table reaches only 4"),
        (lambda: PositionEmbedding(4, 8, hierarchical=0.5), "hierarchical: got 0.5, expected True or a number between"),
        (lambda: PositionEmbedding(4, 8, hierarchical=1), "hierarchical: got 1, "),
        (lambda: PositionEmbedding(9, 8, merge_mode="ad"), "merge_mode 'ad'. Did you mean 'add'"),
        (lambda: PositionEmbedding(9, 8, custom_position_ids=True)(X), "got one tensor, expected a list of 2"),
        (lambda: SinusoidalPositionEmbedding(7)(X), "size: got 7, expected an even number"),
        (lambda: PositionEmbedding(9, 7, embeddings_initializer="Sinusoidal")(X), "size: got 7, expected an even number"),
        (lambda: RotaryPositionEmbedding(3)(X), "size: got 3, expected an even number"),
        (lambda: RotaryPositionEmbedding(4, custom_position_ids=True)(X), r"expected a list of 2: \[x, position_ids\]"),
        (lambda: RelativePositionEmbedding(5, 4)(X), r"got one tensor, expected a list of 2: \[q, v\]"),
        (lambda: RelativePositionEmbeddingT5(2, 4), "input_dim: got 2, expected at least 4 buckets"),
        (lambda: RelativePositionEmbeddingT5(32, 4, max_distance=8), "max_distance: got 8, expected more than 8"),
        (lambda: FeedForward(8, "gelu_tahn")(X), "activation 'gelu_tahn'. Did you mean 'gelu_tanh'"),
        (lambda: set_gelu("tan"), "set_gelu: got 'tan', expected 'erf' or 'tanh'"),
    ],
)
def test_errors_say_what_was_given_and_expected(call, message):
    with pytest.raises(KerasSuError, match=message):
        call()


def test_length_beyond_the_table_is_an_error_in_a_model_too():
    inputs = keras.Input((None, 8))
    model = keras.Model(inputs, PositionEmbedding(4, 8)(inputs))
    assert model(X[:, :4]).shape == (2, 4, 8)
    with pytest.raises(KerasSuError, match="reaches only 4"):
        model(X)


def test_feed_forward_is_its_formula():
    plain = randomized(FeedForward(6, "relu"), (2, 5, 8))
    kernel, bias, output, output_bias = plain.get_weights()
    assert_close(plain(X), np.maximum(ARRAYS["x"] @ kernel + bias, 0) @ output + output_bias)
    gated = randomized(FeedForward(6, ["relu", "tanh", "linear"], use_bias=False), (2, 5, 8))
    first, second, third, output = gated.get_weights()
    x = ARRAYS["x"]
    assert_close(gated(X), (np.maximum(x @ first, 0) * np.tanh(x @ second) * (x @ third)) @ output)


def test_gelu_means_what_was_chosen_when_the_layer_was_made():
    try:
        set_gelu("tanh")
        before = FeedForward(6, ["gelu", "linear"])
        set_gelu("erf")
    finally:
        set_gelu("erf")
    assert before.activation == ["gelu_tanh", "linear"]
    assert FeedForward(6, "gelu").activation == "gelu_erf"
    assert [FeedForward(6, name).activation for name in ("gelu_new", "swish", "relu")] == ["gelu_tanh", "silu", "relu"]


def test_dense_mode_of_an_embedding_multiplies_by_the_table():
    table = Embedding(11, 8, mask_zero=True)
    looked_up = to_numpy(table(IDS))
    assert_close(looked_up, table.get_weights()[0][ARRAYS["ids"]])
    logits = table(with_mask(), mode="dense")
    assert_close(logits, ARRAYS["x"] @ table.get_weights()[0].T)
    np.testing.assert_array_equal(to_numpy(logits._keras_mask), MASKS["x"])


def test_first_token_is_never_padding():
    ids = ops.convert_to_tensor([[0, 5, 0], [3, 0, 0], [0, 0, 0]])
    assert to_numpy(Embedding(6, 4, mask_zero=True).compute_mask(ids)).tolist() == [[1, 1, 0], [1, 0, 0], [1, 0, 0]]
    assert Embedding(6, 4).compute_mask(ids) is None


def test_position_ids_do_not_count_padding():
    ids = ops.convert_to_tensor([[7, 8, 9, 0, 0], [0, 0, 7, 8, 9], [0, 7, 0, 8, 0], [0, 0, 0, 0, 0]])
    expected = [[0, 1, 2, 0, 0], [0, 0, 0, 1, 2], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]]
    positions = PositionIds()(ids)
    assert keras.backend.standardize_dtype(positions.dtype) == "int32"
    assert to_numpy(positions).tolist() == expected
    assert to_numpy(PositionIds(pad_id=9)(ids))[0].tolist() == [0, 1, 0, 2, 3]


def test_first_token_and_residual():
    assert_close(FirstToken()(X), ARRAYS["x"][:, 0])
    other = TENSORS["other"]
    total = Residual()([other, with_mask(), X])
    assert_close(total, ARRAYS["other"] + 2 * ARRAYS["x"])
    assert getattr(total, "_keras_mask", None) is None  # the first has none
    total = Residual()([with_mask(), other])
    np.testing.assert_array_equal(to_numpy(total._keras_mask), MASKS["x"])


def test_a_subclass_with_a_constructor_of_its_own_keeps_the_arguments_of_the_class_above():
    class Louder(ScaleOffset):
        def __init__(self, factor=2.0, **kwargs):
            super().__init__(**kwargs)
            self.factor = factor

    class Renamed(ScaleOffset):
        def __init__(self, factor=2.0, **kwargs):
            super().__init__(**kwargs)
            self._kept = factor

        def get_config(self):
            return {**super().get_config(), "factor": self._kept}

    for made in (Louder(factor=3.0, offset=False), Renamed(factor=3.0, offset=False)):
        again = type(made).from_config(made.get_config())
        assert again.get_config() == made.get_config()
        assert again.get_config()["factor"] == 3.0 and again.offset is False and again.scale is True
