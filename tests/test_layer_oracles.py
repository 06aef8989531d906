"""Layers against straight-line NumPy, written from the papers: loops over heads and positions, no shared code."""

import math

import keras
import numpy as np
import pytest
from helpers import assert_close, randomized, to_numpy
from keras import ops
from layer_cases import ARRAYS, MASKS, TENSORS, with_mask

from keras_su.errors import KerasSuError
from keras_su.layers import (
    DisentangledAttention,
    Embedding,
    EmbeddingRows,
    GatedAttentionUnit,
    LayerNormalization,
    Mapping,
    MaskedConvolution,
    MultiHeadAttention,
    PositionEmbedding,
    RotaryPositionEmbedding,
    SoftCap,
)

X = TENSORS["x"]
x = ARRAYS["x"].astype("float64")


def weights_of(layer):
    """By path below the layer, as float64."""
    return {w.path.split("/", 1)[1]: to_numpy(w).astype("float64") for w in layer.weights}


def softmax(a):
    e = np.exp(a - a.max())
    return e / e.sum()


def turned(vector, position, base=10000.0, size=None, half=False):
    """One vector rotated to a position, pair by pair."""
    size = size or len(vector)
    result = vector.copy()
    for pair in range(size // 2):
        a, b = (pair, pair + size // 2) if half else (2 * pair, 2 * pair + 1)
        angle = position / base ** (2 * pair / size)
        result[a] = vector[a] * math.cos(angle) - vector[b] * math.sin(angle)
        result[b] = vector[b] * math.cos(angle) + vector[a] * math.sin(angle)
    return result


def rms(vector, gamma, epsilon=1e-6):
    return vector / math.sqrt(np.mean(vector**2) + epsilon) * gamma


@pytest.mark.parametrize("cap", [None, 1.5])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("size", [4, 6])
def test_grouped_normed_capped_partly_rotated_attention(cap, half, size):
    layer = MultiHeadAttention(
        heads=4,
        head_size=5,
        key_size=6,
        out_dim=8,
        kv_heads=2,
        output_bias=False,
        qk_norm={"zero_mean": False, "offset": False, "epsilon": 1e-6},
        soft_cap=cap,
        rotary_layout="half" if half else "interleaved",
        attention_scale=0.7,
    )
    randomized(layer, (2, 5, 8))
    w, valid = weights_of(layer), MASKS["x"]
    table = RotaryPositionEmbedding(size)(X)
    masked = ops.convert_to_tensor(valid)
    found = to_numpy(layer([X, X, X, table], p_bias="rotary", mask=[None, None, masked, None]))
    for b in range(2):
        q, k, v = (x[b] @ w[f"{name}/kernel"] + w[f"{name}/bias"] for name in ("query", "key", "value"))
        for t in range(5):
            parts = []
            for head in range(4):
                group = head // 2
                own = turned(rms(q[t, 6 * head : 6 * head + 6], w["query_norm/gamma"]), t, size=size, half=half)
                scores, values = [], []
                for s in range(5):
                    if valid[b, s]:
                        other = rms(k[s, 6 * group : 6 * group + 6], w["key_norm/gamma"])
                        score = own @ turned(other, s, size=size, half=half) * 0.7
                        scores.append(score if cap is None else cap * math.tanh(score / cap))
                        values.append(v[s, 5 * group : 5 * group + 5])
                parts.append(softmax(np.array(scores)) @ np.array(values))
            assert_close(found[b, t], np.concatenate(parts) @ w["output/kernel"], 1e-4)


def bucket(distance, span, reach):
    """DeBERTa-v2's logarithmic distance."""
    if reach is None:
        return min(max(distance + span, 0), 2 * span - 1)
    middle = span // 2
    if abs(distance) > middle:
        far = math.ceil(math.log(abs(distance) / middle) / math.log((reach - 1) / middle) * (middle - 1)) + middle
        distance = far if distance > 0 else -far
    return min(max(distance + span, 0), 2 * span - 1)


@pytest.mark.parametrize("terms", [["c2p"], ["p2c"], ["c2p", "p2c"]])
@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("span, reach", [(2, None), (4, 11)])
def test_disentangled_attention(terms, share, span, reach):
    length, heads, size = 9, 2, 4
    layer = DisentangledAttention(heads, size, span, max_distance=reach, terms=terms, share_key=share)
    data = np.random.default_rng(2).normal(size=(2, length, 8)).astype("float32")
    table = np.random.default_rng(3).normal(size=(1, 2 * span, 8)).astype("float32")
    randomized(layer, data.shape, table.shape)
    valid = np.ones((2, length), bool)
    valid[1, 6:] = False
    inputs = [ops.convert_to_tensor(a) for a in (data, table, np.repeat(valid[:, None], length, 1))]
    found, w = to_numpy(layer(inputs, a_bias=True)), weights_of(layer)
    dense = lambda name, a: a @ w[f"{name}/kernel"] + w[f"{name}/bias"]  # noqa: E731
    for b in range(2):
        q, k, v = (dense(name, data[b]) for name in ("query", "key", "value"))
        far_k = dense("key" if share else "distance_key", table[0]) if "c2p" in terms else None
        far_q = dense("query" if share else "distance_query", table[0]) if "p2c" in terms else None
        for i in range(length):
            parts = []
            for head in range(heads):
                cut = slice(size * head, size * head + size)
                scores = []
                for j in range(length):
                    place, score = bucket(i - j, span, reach), q[i, cut] @ k[j, cut]
                    if "c2p" in terms:
                        score += q[i, cut] @ far_k[place, cut]
                    if "p2c" in terms:
                        score += k[j, cut] @ far_q[place, cut]
                    scores.append(score / math.sqrt(size * (1 + len(terms))) if valid[b, j] else -np.inf)
                parts.append(softmax(np.array(scores)) @ v[:, cut])
            assert_close(found[b, i], dense("output", np.concatenate(parts)), 1e-4)


@pytest.mark.parametrize("normalization", ["squared_relu", "softmax", "softmax_plus"])
@pytest.mark.parametrize("bias", [False, True])
def test_gated_attention_unit(normalization, bias):
    units, size = 6, 4
    layer = randomized(GatedAttentionUnit(units, size, normalization=normalization, use_bias=bias), (2, 5, 8))
    w, valid = weights_of(layer), MASKS["x"]
    table = RotaryPositionEmbedding(size)(X)
    found = to_numpy(layer([with_mask(), table], p_bias="rotary"))
    get = lambda name, default=0.0: w.get(name, default)  # noqa: E731
    for b in range(2):
        h = x[b] @ w["input/kernel"] + get("input/bias")
        h = h / (1 + np.exp(-h))
        u, v, shared = h[:, :units], h[:, units : 2 * units], h[:, 2 * units :]
        q, k = (shared * w[f"{name}/gamma"] + get(f"{name}/beta") for name in ("query", "key"))
        count = valid[b].sum()
        for t in range(5):
            scores = np.array([turned(q[t], t) @ turned(k[s], s) / math.sqrt(size) for s in range(5)])
            if normalization == "squared_relu":
                share = np.maximum(scores, 0) ** 2 / count * valid[b]
            else:
                stretch = math.log(max(count, 16)) / math.log(512) if normalization == "softmax_plus" else 1
                share = softmax(np.where(valid[b], scores * stretch, -np.inf))
            assert_close(found[b, t], (u[t] * (share @ v)) @ w["output/kernel"] + get("output/bias"), 1e-4)


def test_gated_attention_to_other_tokens():
    layer = randomized(
        GatedAttentionUnit(6, 4, "linear", use_bias=False, normalization="softmax", self_attention=False, attention_scale=False),
        (2, 5, 8),
        (2, 3, 8),
        (2, 3, 8),
    )
    w, short = weights_of(layer), ARRAYS["short"].astype("float64")
    found = to_numpy(layer([X, TENSORS["short"], TENSORS["short"]]))
    for b in range(2):
        h, k, v = x[b] @ w["gate_query/kernel"], short[b] @ w["key/kernel"], short[b] @ w["value/kernel"]
        for t in range(5):
            share = softmax(np.array([h[t, 6:] @ k[s] for s in range(3)]))
            assert_close(found[b, t], (h[t, :6] * (share @ v)) @ w["output/kernel"], 1e-4)


def test_convolution_sees_padding_as_zeros():
    layer = randomized(MaskedConvolution(3, 3, activation="tanh"), (2, 5, 8), (2, 5))
    kernel, bias = (a.astype("float64") for a in layer.get_weights())
    valid = ARRAYS["ids"] != 0
    found = to_numpy(layer([TENSORS["other"], TENSORS["ids"]]))
    data = ARRAYS["other"] * valid[..., None]
    for b in range(2):
        for t in range(5):
            total = bias.copy()
            for shift in range(3):
                if 0 <= t + shift - 1 < 5:
                    total += data[b, t + shift - 1] @ kernel[shift]
            assert_close(found[b, t], np.tanh(total) * valid[b, t], 1e-4)
    everything = MaskedConvolution(3, 3, activation="tanh", pad_id=None)
    everything.build([(2, 5, 8), (2, 5)])
    everything.set_weights(layer.get_weights())
    assert np.abs(to_numpy(everything([TENSORS["other"], TENSORS["ids"]])) - found).max() > 1e-3


def test_mapping_goes_both_ways():
    layer = randomized(Mapping(6), (2, 5, 8))
    kernel = layer.get_weights()[0]
    there = layer(X)
    assert_close(there, ARRAYS["x"] @ kernel)
    assert_close(layer(there, mode="transposed"), ARRAYS["x"] @ kernel @ kernel.T, 1e-4)
    with pytest.raises(KerasSuError, match="mode: got 'back', expected 'forward' or 'transposed'"):
        layer(X, mode="back")


def test_small_layers():
    assert_close(SoftCap(0.5)(X), 0.5 * np.tanh(ARRAYS["x"] / 0.5))
    first = randomized(EmbeddingRows(3, 8, count=1), (2, 5, 8))
    assert_close(first(X), first.get_weights()[0][None, :1])
    table = randomized(EmbeddingRows(6, 8), (2, 5, 8))
    assert_close(table(X), table.get_weights()[0][None])
    norm = LayerNormalization(zero_mean=False, offset=False, unit_offset=True, epsilon=1e-6)
    expected = ARRAYS["other"] / np.sqrt(np.mean(ARRAYS["other"] ** 2, -1, keepdims=True) + 1e-6)
    assert_close(norm(TENSORS["other"]), expected)  # gamma begins at zero
    gamma = np.linspace(-0.5, 0.5, 8).astype("float32")
    norm.set_weights([gamma])
    assert_close(norm(TENSORS["other"]), expected * (1 + gamma))


def test_positions_begin_behind_the_offset():
    layer = randomized(PositionEmbedding(7, 8, offset=2), (2, 5, 8))
    assert_close(layer(X), ARRAYS["x"] + layer.get_weights()[0][2:])
    with pytest.raises(KerasSuError, match="has 5 tokens, but the position table reaches only 4"):
        PositionEmbedding(6, 8, offset=2)(X)
    own = randomized(PositionEmbedding(7, 8, offset=2, custom_position_ids=True), (2, 5, 8), (2, 5))
    assert_close(own([X, TENSORS["positions"]]), ARRAYS["x"] + own.get_weights()[0][ARRAYS["positions"] + 2])


def test_another_token_is_padding():
    mask = Embedding(11, 8, mask_zero=True, pad_id=5).compute_mask(TENSORS["ids"])
    np.testing.assert_array_equal(to_numpy(mask), MASKS["ids_5"])


def frequencies(size, base, scaling, length):
    """Wave by wave, as the papers and transformers' documentation describe the rules."""
    kind, factor = scaling["type"], scaling["factor"]
    trained = scaling.get("original_max_position_embeddings")
    if kind == "dynamic":
        base = base * (factor * max(length, trained) / trained - (factor - 1)) ** (size / (size - 2))
    result = []
    for k in range(size // 2):
        frequency = base ** (-2 * k / size)
        if kind == "linear":
            frequency /= factor
        if kind == "llama3":
            wavelength = 2 * math.pi / frequency
            if wavelength > trained / scaling["low_freq_factor"]:
                frequency /= factor
            elif wavelength > trained / scaling["high_freq_factor"]:
                smooth = (trained / wavelength - scaling["low_freq_factor"]) / (
                    scaling["high_freq_factor"] - scaling["low_freq_factor"]
                )
                frequency = (1 - smooth) * frequency / factor + smooth * frequency
        if kind == "yarn":
            turns = lambda n: size * math.log(trained / (n * 2 * math.pi)) / (2 * math.log(base))  # noqa: E731
            low, high = max(math.floor(turns(32)), 0), min(math.ceil(turns(1)), size - 1)
            ramp = min(max((k - low) / (high - low), 0), 1)
            frequency = frequency / factor * ramp + frequency * (1 - ramp)
        result.append(frequency)
    return np.array(result), 0.1 * math.log(factor) + 1 if kind == "yarn" else 1.0


@pytest.mark.parametrize(
    "scaling",
    [
        {"type": "linear"},
        {"type": "dynamic", "original_max_position_embeddings": 8},
        {"type": "dynamic", "original_max_position_embeddings": 80},
        {"type": "llama3", "original_max_position_embeddings": 32, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        {"type": "yarn", "original_max_position_embeddings": 64},
    ],
    ids=lambda scaling: f"{scaling['type']}-{scaling.get('original_max_position_embeddings')}",
)
def test_scaled_rotations(scaling):
    scaling = {**scaling, "factor": 4.0}
    table = to_numpy(RotaryPositionEmbedding(16, base=500.0, scaling=scaling)(ops.zeros((1, 20, 1))))[0]
    waves, factor = frequencies(16, 500.0, scaling, 20)
    angles = np.arange(20)[:, None] * waves
    assert_close(table[:, ::2], np.sin(angles) * factor, 1e-4)
    assert_close(table[:, 1::2], np.cos(angles) * factor, 1e-4)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: MultiHeadAttention(4, 4, kv_heads=3), "kv_heads: got 3, expected a divisor of heads=4"),
        (lambda: MultiHeadAttention(4, 4, rotary_layout="halves"), "rotary layout 'halves'. Did you mean 'half'"),
        (lambda: GatedAttentionUnit(0, 4), "units: got 0, expected a positive integer"),
        (lambda: GatedAttentionUnit(6, 4, normalization="relu"), "attention normalization 'relu'"),
        (lambda: GatedAttentionUnit(6, 4)([X, X], p_bias="t5_relative"), "p_bias of GatedAttentionUnit 't5_relative'"),
        (lambda: GatedAttentionUnit(6, 4)([X, X]), "got 2 inputs, expected 1"),
        (lambda: DisentangledAttention(2, 4, 3, terms=["p2p"]), "terms: got .*p2p"),
        (lambda: RotaryPositionEmbedding(4, scaling={"type": "ntk"})(X), "rotary scaling type 'ntk'"),
        (lambda: RotaryPositionEmbedding(4, scaling={"type": "linear"})(X), "'linear' needs 'factor'"),
    ],
)
def test_errors_say_what_was_given_and_expected(call, message):
    with pytest.raises(KerasSuError, match=message):
        call()


def test_a_cap_bounds_scores_but_not_the_mask():
    """Capping a masked score would let it through."""
    layer = randomized(MultiHeadAttention(2, 4, soft_cap=0.5, mask_mode="causal"), (2, 5, 8))
    before = to_numpy(layer(X))
    changed = ARRAYS["x"].copy()
    changed[:, 4] = 3.0
    np.testing.assert_array_equal(to_numpy(layer(ops.convert_to_tensor(changed)))[:, :4], before[:, :4])
    assert keras.ops.shape(before)[2] == 8
