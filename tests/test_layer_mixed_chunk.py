"""Chunked gated attention against loops over tokens."""

import numpy as np
import pytest
from helpers import assert_close, gradient, randomized, to_numpy
from keras import ops

from keras_su.errors import KerasSuError
from keras_su.layers import GatedAttentionUnit, MixedChunkAttention
from keras_su.ops.rotary import sinusoidal_embeddings

X = np.random.default_rng(0).normal(size=(3, 7, 5)).astype("float32")
MASK = np.array([[1, 1, 1, 1, 1, 0, 0], [1, 1, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0]], bool)
UNITS, KEY = 6, 4


def chunked(causal=False, chunk_size=3, **arguments):
    return randomized(MixedChunkAttention(UNITS, KEY, chunk_size, causal, **arguments), X.shape)


def oracle(layer, x, mask, causal, size, table=None):
    """One text, token by token."""
    kernel, bias, *images, out, out_bias = [w.astype("float64") for w in layer.get_weights()]
    projected = x @ kernel + bias
    projected = projected / (1 + np.exp(-projected))
    gate, value, shared = projected[:, :UNITS], projected[:, UNITS : 2 * UNITS], projected[:, 2 * UNITS :]
    parts = [shared * gamma + beta for beta, gamma in zip(images[::2], images[1::2])]
    if table is not None:
        turn = table[:, 1::2] + 1j * table[:, ::2]
        turned = [(part[:, ::2] + 1j * part[:, 1::2]) * turn for part in parts]
        parts = [np.stack([z.real, z.imag], -1).reshape(len(x), KEY) for z in turned]
    chunk_query, chunk_key, linear_query, linear_key = parts
    rows = []
    for t in range(len(x)):
        tokens = [s for s in range(len(x)) if mask[s]]
        near = [s for s in tokens if s // size == t // size and (s <= t or not causal)]
        far = [s for s in tokens if s // size < t // size or not causal]
        row = np.zeros(UNITS)
        for s in near:
            row += max(chunk_query[t] @ chunk_key[s] / KEY**0.5, 0) ** 2 * value[s] / len(near)
        for s in far:
            row += linear_query[t] @ linear_key[s] * value[s] / len(far)
        rows.append(gate[t] * row)
    return np.array(rows) @ out + out_bias


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("size", [3, 100])
def test_every_token_by_its_definition(causal, size):
    layer = chunked(causal, size)
    found = to_numpy(layer(X, mask=ops.convert_to_tensor(MASK)))
    assert_close(found, np.stack([oracle(layer, x, m, causal, size) for x, m in zip(X, MASK)]), 2e-5)


def test_all_four_images_are_rotated():
    layer, table = chunked(causal=True), sinusoidal_embeddings(ops.arange(7)[None], KEY)
    found = to_numpy(layer([X, table], p_bias="rotary"))
    everything = np.ones(7, bool)
    assert_close(found, np.stack([oracle(layer, x, everything, True, 3, to_numpy(table)[0]) for x in X]), 2e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_padding_on_the_right_changes_nothing_and_the_future_is_unseen(causal):
    layer = chunked(causal)
    alone = to_numpy(layer(X))
    longer = np.concatenate([X, np.full((3, 4, 5), 9.0, "float32")], axis=1)
    mask = ops.convert_to_tensor(np.arange(11) < np.full((3, 1), 7))
    assert_close(to_numpy(layer(longer, mask=mask))[:, :7], alone, 1e-5)
    if causal:
        assert_close(to_numpy(layer(longer))[:, :7], alone, 1e-5)


def test_one_chunk_without_summary_is_a_gated_attention_unit():
    layer = chunked(chunk_size=7)
    kernel, bias, *images, out, out_bias = layer.get_weights()
    layer.set_weights([kernel, bias, *images[:4], *(0 * w for w in images[4:]), out, out_bias])
    whole = GatedAttentionUnit(UNITS, KEY)
    whole.build(X.shape)
    whole.set_weights([kernel, bias, *images[:4], out, out_bias])
    mask = ops.convert_to_tensor(MASK)
    assert_close(layer(X, mask=mask), to_numpy(whole(X, mask=mask)), 1e-5)


def test_gradients_are_finite_in_half_precision():
    layer = chunked(causal=True, dtype="mixed_float16")
    found = gradient(lambda x: layer(x, mask=ops.convert_to_tensor(MASK)), X, "float16")
    assert np.all(np.isfinite(found)) and np.any(found[0])


def test_softmax_plus_has_a_floor_for_the_length():
    x = ops.convert_to_tensor(X)
    at_floor, below = (
        randomized(GatedAttentionUnit(UNITS, KEY, normalization="softmax_plus", length_floor=n), X.shape) for n in (512, 1)
    )
    plain = randomized(GatedAttentionUnit(UNITS, KEY, normalization="softmax"), X.shape)
    assert_close(at_floor(x), to_numpy(plain(x)))  # log(512) / log(512) = 1
    assert np.abs(to_numpy(below(x)) - to_numpy(plain(x))).max() > 1e-3
    assert GatedAttentionUnit.from_config(at_floor.get_config()).length_floor == 512


def test_what_is_refused():
    with pytest.raises(KerasSuError, match="chunk_size: got 0, expected a positive number of tokens"):
        MixedChunkAttention(4, 4, chunk_size=0)
    with pytest.raises(KerasSuError, match=r"got 2 inputs, expected 1 \[x\]"):
        chunked()([X, X])
