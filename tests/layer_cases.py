"""One table of all layers: how to make each, what to feed it, and what is documented about the result."""

from functools import cache
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_su import layers
from keras_su.activations import gelu_tanh

DENSES = ["query", "key", "value", "output"]
KERNELS = [f"{name}/kernel" for name in DENSES]
KERNELS_AND_BIASES = [f"{name}/{part}" for name in DENSES for part in ("kernel", "bias")]


def _random(*shape):
    return np.random.default_rng(shape).normal(size=shape).astype("float32")


ARRAYS = {
    "x": _random(2, 5, 8),
    "other": _random(3, 5, 8)[:2],
    "short": _random(2, 3, 8),
    "condition": _random(2, 3),
    "ids": np.array([[0, 4, 5, 0, 6], [7, 8, 9, 0, 0]], "int32"),
    "segments": np.array([[0, 0, 1, 1, 1], [0, 1, 1, 0, 0]], "int32"),
    "positions": np.array([[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]], "int32"),
    "bias": _random(2, 5, 5),
    "allowed": np.tril(np.ones((2, 1, 5, 5), bool)),
    "rotary": _random(2, 5, 4),
    "t5": _random(2, 5, 5, 2),
    "relative": _random(2, 5, 5, 4),
    "scores": _random(2, 2, 5, 5),
}
ARRAYS["x"][1, 3:] = 0  # what ``keras.layers.Masking`` takes for padding

MASKS = {
    "x": np.any(ARRAYS["x"] != 0, axis=-1),
    "ids": np.array([[1, 1, 1, 0, 1], [1, 1, 1, 0, 0]], bool),
    "ids_5": np.array([[1, 1, 0, 1, 1], [1, 1, 1, 1, 1]], bool),
}
MASKS["x_short"] = np.concatenate([MASKS["x"], np.ones((2, 3), bool)], axis=1)
MASKS["x_other"] = np.concatenate([MASKS["x"], np.ones((2, 5), bool)], axis=0)
MASKS["x_first"] = MASKS["x"][:1]

TENSORS = {name: ops.convert_to_tensor(array) for name, array in ARRAYS.items()}


def with_mask():
    """The tensor ``x``, carrying the mask of its padding as after an embedding."""
    return keras.layers.Masking()(TENSORS["x"])


class Row(NamedTuple):
    name: str
    layer: Any
    arguments: dict
    "of the constructor"
    inputs: Any
    "a name in ARRAYS, or a list of names; ``table`` is what the row ``embedding_rows`` returned"
    shape: Any
    "documented shape of the output, or a list of shapes"
    weights: list
    "documented names and order"
    mask: str | None = "x"
    "which of MASKS the output carries"
    call: dict = {}
    "further arguments of the call"
    tensors: dict = {}
    "further tensors of the call, as names in ARRAYS"

    def make(self, **arguments):
        return self.layer(name=self.name, **self.arguments, **arguments)

    def apply(self, layer, tensors):
        """Call ``layer`` on ``tensors``, a dictionary like ARRAYS."""
        several = isinstance(self.inputs, list)
        inputs = [tensors[name] for name in self.inputs] if several else tensors[self.inputs]
        return layer(inputs, **self.call, **{name: tensors[place] for name, place in self.tensors.items()})


HEADS = {"heads": 2, "head_size": 4}
PARTS = {"input": ("kernel", "bias"), "output": ("kernel", "bias")}
CHUNK_IMAGES = ("chunk_query", "chunk_key", "linear_query", "linear_key")
NORMAL = keras.initializers.RandomNormal(stddev=0.1)

ROWS = [
    Row("attention", layers.MultiHeadAttention, HEADS, "x", (2, 5, 8), KERNELS_AND_BIASES),
    Row(
        "attention_cross",
        layers.MultiHeadAttention,
        {**HEADS, "out_dim": 6, "key_size": 3, "use_bias": False, "attention_scale": False},
        ["x", "short", "short"],
        (2, 5, 6),
        KERNELS,
    ),
    Row(
        "attention_bias",
        layers.MultiHeadAttention,
        {**HEADS, "return_attention_scores": True},
        ["x", "x", "x", "bias"],
        [(2, 5, 8), (2, 2, 5, 5)],
        KERNELS_AND_BIASES,
        call={"a_bias": True},
        tensors={"scores": "scores"},
    ),
    Row(
        "attention_rotary",
        layers.MultiHeadAttention,
        {**HEADS, "normalization": "softmax_plus", "attention_dropout": 0.1},
        ["x", "x", "x", "rotary"],
        (2, 5, 8),
        KERNELS_AND_BIASES,
        call={"p_bias": "rotary"},
    ),
    Row(
        "attention_relative",
        layers.MultiHeadAttention,
        {**HEADS, "normalization": "squared_relu", "kernel_initializer": NORMAL},
        ["x", "x", "x", "relative"],
        (2, 5, 8),
        KERNELS_AND_BIASES,
        call={"p_bias": "typical_relative"},
    ),
    Row(
        "attention_t5",
        layers.MultiHeadAttention,
        {**HEADS, "use_bias": False, "attention_scale": False},
        ["x", "x", "x", "allowed", "t5"],
        (2, 5, 8),
        KERNELS,
        call={"a_bias": True, "p_bias": "t5_relative"},
    ),
    Row(
        "attention_mask_mode",
        layers.MultiHeadAttention,
        {**HEADS, "mask_mode": "unilm", "kernel_initializer": keras.initializers.serialize(NORMAL)},
        "x",
        (2, 5, 8),
        KERNELS_AND_BIASES,
        tensors={"segments": "segments"},
    ),
    Row(
        "attention_grouped",
        layers.MultiHeadAttention,
        {
            "heads": 4,
            "head_size": 4,
            "kv_heads": 2,
            "output_bias": False,
            "qk_norm": {"zero_mean": False, "offset": False, "epsilon": 1e-6},
            "attention_scale": 0.3,
            "soft_cap": 2.0,
            "out_dim": 8,
        },
        "x",
        (2, 5, 8),
        [*KERNELS_AND_BIASES[:7], "query_norm/gamma", "key_norm/gamma"],
    ),
    Row(
        "attention_half",
        layers.MultiHeadAttention,
        {**HEADS, "key_size": 6, "kv_heads": 1, "use_bias": False, "output_bias": True, "rotary_layout": "half"},
        ["x", "x", "x", "allowed", "rotary"],
        (2, 5, 8),
        [*KERNELS, "output/bias"],
        call={"a_bias": True, "p_bias": "rotary"},
    ),
    Row(
        "gated_attention",
        layers.GatedAttentionUnit,
        {"units": 6, "key_size": 4, "normalization": "softmax_plus", "attention_dropout": 0.1},
        ["x", "allowed", "rotary"],
        (2, 5, 8),
        [f"{name}/{part}" for name in ("input", "query", "key", "output") for part in PARTS.get(name, ("beta", "gamma"))],
        call={"a_bias": True, "p_bias": "rotary"},
    ),
    Row(
        "gated_attention_bare",
        layers.GatedAttentionUnit,
        {"units": 6, "key_size": 4, "activation": "gelu", "use_bias": False, "attention_scale": False},
        "x",
        (2, 5, 8),
        ["input/kernel", "query/gamma", "key/gamma", "output/kernel"],
    ),
    Row(
        "gated_attention_cross",
        layers.GatedAttentionUnit,
        {"units": 6, "key_size": 4, "use_bias": False, "self_attention": False, "kernel_initializer": NORMAL},
        ["x", "short", "short"],
        (2, 5, 8),
        ["gate_query/kernel", "key/kernel", "value/kernel", "output/kernel"],
    ),
    Row("embedding_rows", layers.EmbeddingRows, {"input_dim": 6, "output_dim": 8}, "x", (1, 6, 8), ["embeddings"], None),
    Row(
        "disentangled",
        layers.DisentangledAttention,
        {**HEADS, "span": 3, "attention_dropout": 0.1},
        ["x", "table", "allowed"],
        (2, 5, 8),
        KERNELS_AND_BIASES,
        call={"a_bias": True},
    ),
    Row(
        "disentangled_own_keys",
        layers.DisentangledAttention,
        {**HEADS, "span": 3, "max_distance": 9, "terms": ["c2p"], "share_key": False},
        ["x", "table"],
        (2, 5, 8),
        [*KERNELS_AND_BIASES, "distance_key/kernel", "distance_key/bias"],
    ),
    Row(
        "convolution",
        layers.MaskedConvolution,
        {"filters": 6, "kernel_size": 3, "activation": "gelu"},
        ["x", "ids"],
        (2, 5, 6),
        ["convolution/kernel", "convolution/bias"],
    ),
    Row("first_row", layers.EmbeddingRows, {"input_dim": 3, "output_dim": 8, "count": 1}, "x", (1, 1, 8), ["embeddings"], None),
    Row("mapping", layers.Mapping, {"units": 6, "kernel_initializer": NORMAL}, "x", (2, 5, 6), ["kernel"]),
    Row("soft_cap", layers.SoftCap, {"cap": 0.5}, "x", (2, 5, 8), []),
    Row("norm_unit_offset", layers.LayerNormalization, {"unit_offset": True, "offset": False}, "x", (2, 5, 8), ["gamma"]),
    Row(
        "position_offset",
        layers.PositionEmbedding,
        {"input_dim": 7, "output_dim": 8, "offset": 2},
        "x",
        (2, 5, 8),
        ["embeddings"],
    ),
    Row(
        "embedding_pad",
        layers.Embedding,
        {"input_dim": 11, "output_dim": 8, "mask_zero": True, "pad_id": 5},
        "ids",
        (2, 5, 8),
        ["embeddings"],
        "ids_5",
    ),
    Row(
        "rotary_scaled",
        layers.RotaryPositionEmbedding,
        {"output_dim": 6, "scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}},
        "x",
        (1, 5, 6),
        [],
        None,
    ),
    Row(
        "feed_forward",
        layers.FeedForward,
        {"units": 6, "activation": gelu_tanh},
        "x",
        (2, 5, 8),
        ["input_0/kernel", "input_0/bias", "output/kernel", "output/bias"],
    ),
    Row(
        "feed_forward_gated",
        layers.FeedForward,
        {"units": 6, "activation": ["gelu", "linear"], "use_bias": False},
        "x",
        (2, 5, 8),
        ["input_0/kernel", "input_1/kernel", "output/kernel"],
    ),
    Row("residual", layers.Residual, {}, ["x", "other", "other"], (2, 5, 8), []),
    Row("norm", layers.LayerNormalization, {"epsilon": 1e-12}, "x", (2, 5, 8), ["beta", "gamma"]),
    Row("norm_rms", layers.LayerNormalization, {"zero_mean": False, "offset": False}, "x", (2, 5, 8), ["gamma"]),
    Row("norm_bare", layers.LayerNormalization, {"scale": 2.0, "offset": None}, "x", (2, 5, 8), []),
    Row(
        "norm_conditional",
        layers.LayerNormalization,
        {"conditional": True, "hidden_units": 4, "hidden_activation": "gelu", "hidden_initializer": "ones"},
        ["x", "condition"],
        (2, 5, 8),
        ["beta", "gamma", "hidden_dense/kernel", "beta_dense/kernel", "gamma_dense/kernel"],
    ),
    Row("scale_offset", layers.ScaleOffset, {"scale": np.arange(8), "offset": [0.5] * 8}, "x", (2, 5, 8), []),
    Row(
        "scale_offset_conditional",
        layers.ScaleOffset,
        {"conditional": True},
        ["x", "condition"],
        (2, 5, 8),
        ["beta", "gamma", "beta_dense/kernel", "gamma_dense/kernel"],
    ),
    Row(
        "embedding",
        layers.Embedding,
        {"input_dim": 11, "output_dim": 8, "mask_zero": True},
        "ids",
        (2, 5, 8),
        ["embeddings"],
        "ids",
    ),
    Row(
        "embedding_dense",
        layers.Embedding,
        {"input_dim": 11, "output_dim": 8},
        "x",
        (2, 5, 11),
        ["embeddings"],
        call={"mode": "dense"},
    ),
    Row("position", layers.PositionEmbedding, {"input_dim": 6, "output_dim": 8}, "x", (2, 5, 8), ["embeddings"]),
    Row(
        "position_concat",
        layers.PositionEmbedding,
        {
            "input_dim": 6,
            "output_dim": 4,
            "merge_mode": "concat",
            "custom_position_ids": True,
            "embeddings_initializer": "Sinusoidal",
        },
        ["x", "positions"],
        (2, 5, 12),
        ["embeddings"],
    ),
    Row(
        "position_hierarchical",
        layers.PositionEmbedding,
        {"input_dim": 3, "output_dim": 8, "merge_mode": "mul", "hierarchical": 0.3},
        "x",
        (2, 5, 8),
        ["embeddings"],
    ),
    Row(
        "position_alone",
        layers.PositionEmbedding,
        {"input_dim": 6, "output_dim": 4, "merge_mode": "zero"},
        "x",
        (1, 5, 4),
        ["embeddings"],
    ),
    Row("sinusoidal", layers.SinusoidalPositionEmbedding, {"output_dim": 8}, "x", (2, 5, 8), []),
    Row(
        "sinusoidal_alone",
        layers.SinusoidalPositionEmbedding,
        {"output_dim": 6, "merge_mode": "zero", "custom_position_ids": True},
        ["x", "positions"],
        (2, 5, 6),
        [],
    ),
    Row("rotary", layers.RotaryPositionEmbedding, {"output_dim": 4, "base": 1000.0}, "x", (1, 5, 4), [], None),
    Row(
        "rotary_custom",
        layers.RotaryPositionEmbedding,
        {"output_dim": 4, "custom_position_ids": True},
        ["x", "positions"],
        (2, 5, 4),
        [],
        None,
    ),
    Row(
        "relative",
        layers.RelativePositionEmbedding,
        {"input_dim": 5, "output_dim": 4, "embeddings_initializer": NORMAL},
        ["x", "short"],
        (5, 3, 4),
        ["embeddings"],
        None,
    ),
    Row(
        "relative_fixed",
        layers.RelativePositionEmbedding,
        {"input_dim": 5, "output_dim": 4, "embeddings_initializer": "Sinusoidal", "trainable": False},
        ["x", "x"],
        (5, 5, 4),
        [],
        None,
    ),
    Row(
        "relative_t5",
        layers.RelativePositionEmbeddingT5,
        {"input_dim": 6, "output_dim": 2, "max_distance": 9, "bidirectional": False},
        ["short", "x"],
        (3, 5, 2),
        ["embeddings"],
        None,
    ),
    Row(
        "mask",
        layers.AttentionMask,
        {"rules": ["unilm", "causal"], "window": 3, "pad_id": 0, "keep_first": False},
        "ids",
        (2, 5, 5),
        [],
        None,
        tensors={"segments": "segments"},
    ),
    Row("mask_full", layers.AttentionMask, {"pad_id": None}, "ids", (1, 1, 5), [], None),
    Row("position_ids", layers.PositionIds, {}, "ids", (2, 5), [], None),
    Row("first_token", layers.FirstToken, {}, "x", (2, 8), [], None),
    Row("pooling", layers.Pooling, {"mode": "mean"}, "x", (2, 8), [], None),
    Row("pooling_several", layers.Pooling, {"mode": ["max", "mean"]}, ["x", "ids"], (2, 16), [], None),
    Row("average", layers.GlobalAveragePooling1D, {"keepdims": True}, "x", (2, 1, 8), [], None),
    Row("maximum", layers.GlobalMaxPooling1D, {"data_format": "channels_last"}, "x", (2, 8), [], None),
    Row(
        "attention_pooling",
        layers.AttentionPooling1D,
        {"hidden_dim": 3},
        "x",
        (2, 8),
        ["hidden/kernel", "score/kernel"],
        None,
    ),
    Row("sequences", layers.Concatenate1D, {}, ["x", "short"], (2, 8, 8), [], "x_short"),
    Row("batch_parts", layers.BatchSplit, {"parts": [1, 1]}, "x", [(1, 5, 8), (1, 5, 8)], [], "x_first"),
    Row("batches", layers.BatchConcat, {}, ["x", "other"], (4, 5, 8), [], "x_other"),
    Row("crf", layers.ConditionalRandomField, {"lr_multiplier": 10}, "table", (1, 6, 8), ["trans"], None),
    Row("memm", layers.MaximumEntropyMarkovModel, {"lr_multiplier": 10}, "table", (1, 6, 8), ["trans"], None),
    Row("memm_hidden", layers.MaximumEntropyMarkovModel, {"hidden_dim": 2}, "table", (1, 6, 8), ["l_trans", "r_trans"], None),
    Row(
        "global_pointer",
        layers.GlobalPointer,
        {**HEADS, "fill": -9.0, "kernel_initializer": NORMAL},
        "x",
        (2, 2, 5, 5),
        ["dense/kernel", "dense/bias"],
        None,
        tensors={"position_ids": "positions"},
    ),
    Row(
        "efficient_global_pointer",
        layers.EfficientGlobalPointer,
        {**HEADS, "RoPE": False, "use_bias": False, "tril_mask": False, "fill": -9.0},
        "x",
        (2, 2, 5, 5),
        ["p_dense/kernel", "q_dense/kernel"],
        None,
    ),
    Row(
        "mixed_chunk",
        layers.MixedChunkAttention,
        {"units": 6, "key_size": 4, "chunk_size": 2, "activation": "relu", "kernel_initializer": NORMAL},
        ["x", "rotary"],
        (2, 5, 8),
        [
            "input/kernel",
            "input/bias",
            *(f"{name}/{part}" for name in CHUNK_IMAGES for part in ("beta", "gamma")),
            "output/kernel",
            "output/bias",
        ],
        call={"p_bias": "rotary"},
    ),
    Row(
        "mixed_chunk_causal",
        layers.MixedChunkAttention,
        {"units": 6, "key_size": 4, "chunk_size": 4, "causal": True, "use_bias": False},
        "x",
        (2, 5, 8),
        ["input/kernel", *(f"{name}/gamma" for name in CHUNK_IMAGES), "output/kernel"],
    ),
]


def one_model(policy="float32"):
    """A model that feeds ARRAYS, in order, to every row; its outputs are a dictionary by name of the row.

    Several outputs of one layer get numbers: ``"name_0"``, ``"name_1"``. The mask of an output, if any, is ``"name_mask"``.
    """
    inputs = {name: keras.Input(array.shape[1:], dtype=str(array.dtype), name=f"{name}_in") for name, array in ARRAYS.items()}
    tensors = {**inputs, "x": keras.layers.Masking(dtype=policy)(inputs["x"])}
    results = {}
    for row in ROWS:
        output = row.apply(row.make(dtype=policy), tensors)
        if row.name == "embedding_rows":
            tensors["table"] = output
        several = isinstance(output, list)
        results.update({f"{row.name}_{place}": part for place, part in enumerate(output)} if several else {row.name: output})
        mask = getattr(output[0] if several else output, "_keras_mask", None)
        if mask is not None:
            results[f"{row.name}_mask"] = mask
    return keras.Model(list(inputs.values()), results)


@cache
def model_and_outputs(policy):
    """That model with random weights, the same for all policies, and what it returns for ARRAYS."""
    model = one_model(policy)
    dice = np.random.default_rng(1)
    model.set_weights([dice.normal(size=w.shape, scale=0.3).astype(w.dtype) for w in model.get_weights()])
    return model, model.predict_on_batch(list(ARRAYS.values()))
