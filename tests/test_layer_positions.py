"""Position embeddings, rotation and relative distances against their formulas in NumPy."""

import math

import keras
import numpy as np
import pytest
from helpers import assert_close, randomized, to_numpy
from keras import ops
from layer_cases import ARRAYS, TENSORS

from keras_su.errors import KerasSuError
from keras_su.initializers import Sinusoidal, sinusoidal_table
from keras_su.layers import (
    MultiHeadAttention,
    PositionEmbedding,
    RelativePositionEmbedding,
    RelativePositionEmbeddingT5,
    RotaryPositionEmbedding,
    SinusoidalPositionEmbedding,
)
from keras_su.ops.rotary import apply_rotary_position_embeddings, sinusoidal_embeddings

X, POSITIONS = TENSORS["x"], TENSORS["positions"]


def of_length(length, width=2):
    return ops.zeros((1, length, width))


def sinusoids(positions, size, base=10000.0):
    """Interleaved sines and cosines in float64, one number at a time."""
    table = np.zeros((*np.shape(positions), size))
    for place, position in np.ndenumerate(positions):
        for i in range(size // 2):
            angle = position / base ** (2 * i / size)
            table[(*place, 2 * i)], table[(*place, 2 * i + 1)] = math.sin(angle), math.cos(angle)
    return table


def merged(x, embedded, mode):
    embedded = np.broadcast_to(embedded, (len(x), *embedded.shape[1:]))
    return {"add": x + embedded, "mul": x * (1 + embedded), "zero": embedded, "concat": np.concatenate([x, embedded], -1)}[mode]


@pytest.mark.parametrize("custom", [False, True])
@pytest.mark.parametrize("mode", ["add", "mul", "zero", "concat"])
def test_merge_modes(mode, custom):
    inputs = [X, POSITIONS] if custom else X
    places = ARRAYS["positions"] if custom else np.arange(5)[None]
    learned = PositionEmbedding(6, 8, merge_mode=mode, custom_position_ids=custom)
    randomized(learned, (2, 5, 8))
    # Without positions of its own, the embedding alone has one row that serves the whole batch.
    expected = merged(ARRAYS["x"], learned.get_weights()[0][places], mode)
    assert_close(learned(inputs), expected if custom or mode != "zero" else expected[:1])
    fixed = SinusoidalPositionEmbedding(8, merge_mode=mode, custom_position_ids=custom)
    expected = merged(ARRAYS["x"], sinusoids(places, 8), mode)
    assert_close(fixed(inputs), expected if custom or mode != "zero" else expected[:1])


def test_positions_start_from_zeros():
    assert_close(PositionEmbedding(6, 8)(X), X)
    assert_close(PositionEmbedding(6, 8, merge_mode="mul")(X), X)


def hierarchical_positions(alpha, rows=6):
    """All positions that ``rows`` random vectors reach, and the vectors."""
    layer = PositionEmbedding(rows, 4, merge_mode="zero", hierarchical=alpha)
    randomized(layer, (None, None, 4))
    return to_numpy(layer(of_length(rows**2)))[0], layer.get_weights()[0]


@pytest.mark.parametrize("hierarchical, alpha", [(True, 0.4), (0.4, 0.4), (0.25, 0.25), (0.7, 0.7)])
def test_hierarchical_positions(hierarchical, alpha):
    found, table = hierarchical_positions(hierarchical)
    base = (table.astype("float64") - alpha * table[0]) / (1 - alpha)
    assert_close(found, np.stack([alpha * base[i] + (1 - alpha) * base[j] for i in range(6) for j in range(6)]))
    assert_close(found[:6], table)  # what was learned stays in place
    distances = np.linalg.norm(found[:, None] - found[None], axis=-1) + 1e9 * np.eye(36)
    assert distances.min() > 1e-3


def test_hierarchical_positions_of_a_half_would_collide():
    with pytest.raises(KerasSuError, match="where positions would collide"):
        PositionEmbedding(6, 4, hierarchical=0.5)
    found, _ = hierarchical_positions(0.5 + 1e-7)
    assert_close(found[1 * 6 + 2], found[2 * 6 + 1], 1e-4)  # (1, 2) and (2, 1)


def test_sinusoidal_table():
    table = sinusoidal_table(50, 12)
    assert table.dtype == "float32"
    assert_close(table, sinusoids(np.arange(50), 12))
    assert_close((table.astype("float64") ** 2).sum(-1), np.full(50, 6.0))  # every pair lies on a circle
    assert_close(sinusoidal_embeddings(ops.arange(50), 12), table)
    assert_close(Sinusoidal()((50, 12)), table)
    assert_close(sinusoidal_embeddings(ops.convert_to_tensor([[2.5]]), 4, base=100.0), sinusoids([[2.5]], 4, 100.0))


def complex_pairs(x):
    return x[..., ::2] + 1j * x[..., 1::2]


def rotated(x, positions, base=10000.0):
    table = sinusoidal_embeddings(ops.convert_to_tensor(positions), x.shape[-1], base)
    return to_numpy(apply_rotary_position_embeddings(table, ops.convert_to_tensor(x)))


def test_rotation_multiplies_complex_numbers():
    x, positions = np.random.default_rng(0).normal(size=(2, 7, 6)), np.arange(7)[None] * 3
    angles = positions[..., None] / 10000.0 ** (np.arange(0, 6, 2) / 6)
    result = complex_pairs(rotated(x.astype("float32"), positions))
    np.testing.assert_allclose(result, complex_pairs(x) * np.exp(1j * angles), atol=1e-5)


def test_dot_products_depend_on_the_distance_only():
    query, key = np.random.default_rng(0).normal(size=(2, 1, 1, 8)).astype("float32")
    by_distance = {}
    for m in (0, 1, 5, 30, 100):
        for n in (0, 1, 2, 5, 29, 100):
            product = np.sum(rotated(query, [[m]]) * rotated(key, [[n]]))
            assert abs(product - by_distance.setdefault(m - n, product)) < 1e-4
    assert len(by_distance) < 5 * 6 - 4  # several pairs had one distance
    assert abs(by_distance[0] - np.sum(query * key)) < 1e-4
    assert np.ptp(list(by_distance.values())) > 0.1  # other distances, other products


def test_rotations_compose_and_keep_the_norm():
    x = np.random.default_rng(0).normal(size=(1, 3, 8)).astype("float32")
    twice = rotated(rotated(x, [[1, 2, 3]]), [[10, 10, 10]])
    assert_close(twice, rotated(x, [[11, 12, 13]]), 1e-4)
    assert_close(np.linalg.norm(twice, axis=-1), np.linalg.norm(x, axis=-1))


def test_rotation_of_heads_and_of_several_tensors():
    heads = np.random.default_rng(0).normal(size=(2, 5, 3, 4)).astype("float32")
    table = RotaryPositionEmbedding(4)(X)
    one, two = apply_rotary_position_embeddings(table, ops.convert_to_tensor(heads), ops.convert_to_tensor(heads[:, :, 0]))
    for head in range(3):
        assert_close(one[:, :, head], rotated(heads[:, :, head], np.arange(5)[None]))
    assert_close(two, one[:, :, 0])
    with pytest.raises(KerasSuError, match="number of tensors: got 0"):
        apply_rotary_position_embeddings(table)
    with pytest.raises(KerasSuError, match="rotary table width: got 12, expected at most 8"):
        apply_rotary_position_embeddings(RotaryPositionEmbedding(12)(X), X)


def test_a_narrow_table_rotates_the_first_columns():
    table = RotaryPositionEmbedding(4)(X)
    found = to_numpy(apply_rotary_position_embeddings(table, X))
    assert_close(found[..., :4], rotated(ARRAYS["x"][..., :4], np.arange(5)[None]))
    np.testing.assert_array_equal(found[..., 4:], ARRAYS["x"][..., 4:])


def test_the_half_layout_pairs_columns_across_the_middle():
    table = RotaryPositionEmbedding(8)(X)
    order = [0, 4, 1, 5, 2, 6, 3, 7]  # pairs side by side
    found = to_numpy(apply_rotary_position_embeddings(table, X, layout="half"))
    assert_close(found[..., order], rotated(ARRAYS["x"][..., order], np.arange(5)[None]))


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_far_positions_are_exact_under_every_policy(policy):
    """bfloat16 has no integers beyond 256 without gaps: at 4096, an angle would be off by up to 16."""
    table = RotaryPositionEmbedding(64, dtype=policy)(ops.zeros((1, 4097, 1)))
    assert keras.backend.standardize_dtype(table.dtype) == "float32"
    error = np.abs(to_numpy(table)[0, -3:] - sinusoids(np.arange(4094, 4097), 64)).max()
    assert error < 1e-3


def test_rotary_positions_of_ones_own():
    table = RotaryPositionEmbedding(6, base=100.0, custom_position_ids=True)([X, POSITIONS])
    assert_close(table, sinusoids(ARRAYS["positions"], 6, 100.0))
    plain = RotaryPositionEmbedding(6, base=100.0)(X)
    assert_close(table[:1], plain)


def test_rotated_attention_ignores_where_a_text_stands():
    """Left padding shifts all positions; the output of the text is the same."""
    layer = randomized(MultiHeadAttention(2, 4), (1, None, 8))
    x = ops.convert_to_tensor(ARRAYS["other"][:1])
    here, there = (sinusoidal_embeddings(ops.expand_dims(ops.arange(5) + start, 0), 4) for start in (0, 9))
    assert_close(layer([x, x, x, here], p_bias="rotary"), layer([x, x, x, there], p_bias="rotary"), 1e-4)
    still = ops.concatenate([ops.zeros((1, 5, 1)), ops.ones((1, 5, 1))] * 2, axis=-1)  # no rotation at all
    assert np.abs(to_numpy(layer([x, x, x, here], p_bias="rotary") - layer([x, x, x, still], p_bias="rotary"))).max() > 1e-3


@pytest.mark.parametrize("initializer", ["normal", "Sinusoidal"])
def test_relative_distances_are_clipped(initializer):
    layer = RelativePositionEmbedding(5, 4, embeddings_initializer=initializer)
    found = to_numpy(layer([of_length(7), of_length(6)]))
    table = layer.get_weights()[0] if layer.weights else sinusoidal_table(5, 4)
    assert (initializer == "Sinusoidal") == (not layer.weights)
    for i in range(7):
        for j in range(6):
            assert_close(found[i, j], table[min(max(j - i, -2), 2) + 2])  # key minus query


def t5_bucket(back, buckets, max_distance, bidirectional):
    """The bucket of a key ``back`` places before the query, after the text of the T5 paper."""
    offset = 0
    if bidirectional:
        buckets //= 2
        offset = buckets if back < 0 else 0
        back = abs(back)
    back = max(back, 0)
    exact = buckets // 2
    if back < exact:
        return offset + back
    share = math.log(back / exact) / math.log(max_distance / exact)
    return offset + min(exact + int(share * (buckets - exact)), buckets - 1)


def t5_buckets(queries, keys, **options):
    """Buckets ``(queries, keys)`` as the layer sees them, read off a table whose rows are their numbers."""
    layer = RelativePositionEmbeddingT5(options.pop("buckets", 32), 1, **options)
    layer.build([(None, queries, 2), (None, keys, 2)])
    layer.set_weights([np.arange(layer.input_dim, dtype="float32")[:, None]])
    return to_numpy(layer([of_length(queries), of_length(keys)]))[..., 0].astype(int)


@pytest.mark.parametrize("buckets, max_distance", [(32, 128), (16, 20), (6, 9)])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_t5_buckets(buckets, max_distance, bidirectional):
    found = t5_buckets(90, 60, buckets=buckets, max_distance=max_distance, bidirectional=bidirectional)
    expected = [[t5_bucket(i - j, buckets, max_distance, bidirectional) for j in range(60)] for i in range(90)]
    np.testing.assert_array_equal(found, expected)
    assert found.min() == 0 and found.max() < buckets


def test_t5_buckets_by_hand():
    both = t5_buckets(150, 150)
    back = both[140, 140::-1]
    assert back[:31].tolist() == [*range(8), *[8] * 4, *[9] * 4, *[10] * 7, *[11] * 8]
    assert back[[32, 45, 64, 91, 140]].tolist() == [12, 12, 14, 15, 15]
    assert both[0, [1, 8, 128]].tolist() == [17, 24, 31]
    causal = t5_buckets(150, 150, bidirectional=False)
    assert causal[140, [124, 108, 76, 13, 140, 149]].tolist() == [16, 21, 26, 31, 0, 0]
