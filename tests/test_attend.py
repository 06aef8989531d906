"""Attention arithmetic against loops written from the formulas, on every combination of options."""

import math

import keras
import numpy as np
import pytest
from helpers import backend, gradient, to_numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_su.errors import KerasSuError
from keras_su.ops import attention
from keras_su.ops.attention import NORMALIZATIONS, attend, normalize

BATCH, HEADS, QUERIES, KEYS, SIZE = 2, 4, 3, 5, 6
DTYPES = ("float32", "float16", "bfloat16")
STEP = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}  # distance of 1 to the next number


def random(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype("float32")


def weights_by_definition(logits, visible, method, length_floor):
    """Attention weights of one query: the formula applied to the keys it sees, zero for the others."""
    weights = np.zeros(len(logits))
    seen = [s for s in range(len(logits)) if visible[s]]
    if not seen:
        return weights
    if method == "squared_relu":
        for s in seen:
            weights[s] = max(logits[s], 0) ** 2 / len(seen)
        return weights
    stretch = math.log(max(len(seen), length_floor)) / math.log(512) if method == "softmax_plus" else 1
    exponentials = {s: math.exp(stretch * (logits[s] - max(logits[i] for i in seen))) for s in seen}
    for s in seen:
        weights[s] = exponentials[s] / sum(exponentials.values())
    return weights


def attend_by_definition(
    query,
    key,
    value,
    mask=None,
    bias=None,
    position_bias=None,
    relative=None,
    scale=None,
    normalization="softmax",
    length_floor=16,
):
    """Output and scores in float64, one query at a time."""
    (batch, queries, heads, size), keys = query.shape, key.shape[1]
    shape = (batch, heads, queries, keys)

    def term(array):
        return np.zeros(shape) if array is None else np.broadcast_to(array, shape).astype("float64")

    visible = np.ones(shape, bool) if mask is None else np.broadcast_to(mask, shape)
    bias, position_bias = term(bias), term(position_bias)
    relative = np.broadcast_to(np.zeros(1) if relative is None else relative, (batch, queries, keys, size))
    query, key, value = (x.astype("float64") for x in (query, key, value))
    scale = 1 / math.sqrt(size) if scale is None else scale
    output, scores = np.zeros((batch, queries, heads, value.shape[-1])), np.zeros(shape)
    for b, h, t in np.ndindex(batch, heads, queries):
        shared = h * key.shape[2] // heads  # consecutive query heads share a key head
        for s in range(keys):
            product = query[b, t, h] @ (key[b, s, shared] + relative[b, t, s])
            scores[b, h, t, s] = scale * (product + position_bias[b, h, t, s])
        weights = weights_by_definition(scores[b, h, t] + bias[b, h, t], visible[b, h, t], normalization, length_floor)
        for s in range(keys):
            row = value[b, s, shared] + (relative[b, t, s] if np.any(relative) else 0)
            output[b, t, h] += weights[s] * row
    return output, scores


def mask_of(kind):
    """A boolean mask of each shape that broadcasts; ``"each"`` holds a query that sees nothing."""
    dice = np.random.default_rng(3)
    if kind == "keys":
        return np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]], bool)[:, None, None, :]
    if kind == "causal":
        return np.tril(np.ones((QUERIES, KEYS), bool), 1)[None, None]
    if kind == "batch":
        return dice.random((BATCH, 1, QUERIES, KEYS)) < 0.6
    if kind == "each":
        mask = dice.random((BATCH, HEADS, QUERIES, KEYS)) < 0.6
        mask[1, 2, 0] = False
        return mask
    return None


def shaped(shape, seed):
    return None if shape is None else random(*shape, seed=seed)


@settings(max_examples=50)
@given(
    mask=st.sampled_from([None, "keys", "causal", "batch", "each"]),
    bias=st.sampled_from([None, (1, 1, QUERIES, KEYS), (BATCH, 1, QUERIES, KEYS), (BATCH, HEADS, QUERIES, KEYS)]),
    position_bias=st.sampled_from([None, (1, HEADS, QUERIES, KEYS), (BATCH, HEADS, QUERIES, KEYS)]),
    relative=st.sampled_from([None, (QUERIES, KEYS, SIZE), (BATCH, QUERIES, KEYS, SIZE)]),
    scale=st.sampled_from([None, 1.0, 0.3]),
    normalization=st.sampled_from(NORMALIZATIONS),
    length_floor=st.sampled_from([16, 1]),
    key_heads=st.sampled_from([HEADS, 2, 1]),
    value_size=st.sampled_from([SIZE, 3]),
)
def test_equals_the_definition(mask, bias, position_bias, relative, scale, normalization, length_floor, key_heads, value_size):
    if relative is not None:
        value_size = SIZE  # the same vectors are added to keys and to values
    query, key = random(BATCH, QUERIES, HEADS, SIZE), random(BATCH, KEYS, key_heads, SIZE)
    value = random(BATCH, KEYS, key_heads, value_size, seed=1)
    options = {
        "mask": mask_of(mask),
        "bias": shaped(bias, 2),
        "position_bias": shaped(position_bias, 3),
        "relative": shaped(relative, 4),
        "scale": scale,
        "normalization": normalization,
        "length_floor": length_floor,
    }
    expected, expected_scores = attend_by_definition(query, key, value, **options)
    tensors = {k: ops.convert_to_tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    inputs = [ops.convert_to_tensor(x) for x in (query, key, value)]
    output, scores = attend(*inputs, **tensors, return_scores=True)
    np.testing.assert_allclose(to_numpy(output), expected, rtol=1e-4, atol=2e-6)
    np.testing.assert_allclose(to_numpy(scores), expected_scores, rtol=1e-4, atol=2e-6)
    # Without the scores, the fused operator does the work wherever it can.
    np.testing.assert_allclose(to_numpy(attend(*inputs, **tensors)), expected, rtol=1e-4, atol=2e-6)


def inputs_of(dtype, magnitude=1.0):
    query, key = random(BATCH, QUERIES, HEADS, SIZE) * magnitude, random(BATCH, KEYS, HEADS, SIZE) * magnitude
    return [ops.convert_to_tensor(x, dtype=dtype) for x in (query, key, random(BATCH, KEYS, HEADS, SIZE, seed=1))]


def is_fused(dtype):
    return not (backend() == "jax" and dtype == "float16")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("mask", [None, "keys", "causal", "each"])
def test_fused_and_explicit_branches_agree(monkeypatch, dtype, bias, mask):
    inputs = inputs_of(dtype)
    options = {"mask": None if mask is None else ops.convert_to_tensor(mask_of(mask))}
    if bias:
        options["bias"] = ops.convert_to_tensor(random(BATCH, HEADS, QUERIES, KEYS, seed=2))
        options["position_bias"] = ops.convert_to_tensor(random(1, HEADS, QUERIES, KEYS, seed=3))
    explicit, scores = attend(*inputs, **options, return_scores=True)
    assert keras.backend.standardize_dtype(scores.dtype) == "float32"
    if is_fused(dtype):  # make sure that it is another branch that is compared
        monkeypatch.setattr(attention, "_scores", None)
    fused = attend(*inputs, **options)
    assert keras.backend.standardize_dtype(fused.dtype) == keras.backend.standardize_dtype(explicit.dtype) == dtype
    np.testing.assert_allclose(to_numpy(fused), to_numpy(explicit), rtol=0, atol=8 * STEP[dtype])


# One set of options for each way through the code.
WAYS = {
    "fused": {},
    "fused with bias": {"bias": random(1, 1, QUERIES, KEYS)},
    "explicit": {"return_scores": True},
    "relative": {"relative": random(QUERIES, KEYS, SIZE)},
    "squared_relu": {"normalization": "squared_relu"},
    "softmax_plus": {"normalization": "softmax_plus"},
}
# Every precision on the two roads that models take, the most fragile one on the others.
WAYS_AND_DTYPES = [(way, dtype) for way in WAYS for dtype in DTYPES if way in ("fused", "explicit") or dtype == "float16"]


def attend_one_way(way, inputs, mask):
    options = {k: ops.convert_to_tensor(v) if isinstance(v, np.ndarray) else v for k, v in WAYS[way].items()}
    result = attend(*inputs, mask=ops.convert_to_tensor(mask), **options)
    return result[0] if options.get("return_scores") else result


@pytest.mark.parametrize("way, dtype", WAYS_AND_DTYPES)
def test_query_that_sees_nothing_gives_zero_and_finite_gradients(way, dtype):
    mask = np.ones((BATCH, 1, QUERIES, KEYS), bool)
    mask[0, :, 1] = False
    mask[1] = False

    def both(joined):  # queries, keys and values one after the other, so that one gradient shows all three
        return attend_one_way(way, [joined[:, :QUERIES], joined[:, QUERIES:-KEYS], joined[:, -KEYS:]], mask)

    joined = ops.concatenate(inputs_of(dtype), axis=1)
    output = to_numpy(both(joined))
    assert not np.any(output[0, 1]) and not np.any(output[1])
    assert np.all(np.any(output[0, [0, 2]], axis=-1))
    found = gradient(both, joined)
    assert np.all(np.isfinite(found))
    assert not np.any(found[1]), "nothing is seen in the second text, so that nothing in it matters"
    assert not np.any(found[0, 1])
    assert np.all(np.any(found[0, [0, *range(2, QUERIES + 2 * KEYS)]], axis=(-2, -1)))


@pytest.mark.parametrize("way, dtype", WAYS_AND_DTYPES)
def test_masked_keys_have_no_influence_at_all(way, dtype):
    mask = mask_of("keys")
    hidden = ~mask[:, 0, 0, :]
    query, key, value = inputs_of(dtype)
    before = to_numpy(attend_one_way(way, [query, key, value], mask))
    changed = []
    for tensor, other in ((key, 50.0), (value, 1000.0)):
        array = to_numpy(tensor)
        array[hidden] = other
        changed.append(ops.convert_to_tensor(array, dtype=dtype))
    np.testing.assert_array_equal(to_numpy(attend_one_way(way, [query, *changed], mask)), before)


@pytest.mark.parametrize("dtype, magnitude", [("float32", 1e12), ("bfloat16", 1e12), ("float16", 60.0)])
@pytest.mark.parametrize("way", ["fused", "explicit"])
def test_huge_scores_pick_the_best_visible_key(way, dtype, magnitude):
    """Scores of 1e24 (float16: of 2e4, its largest number being 65504) give the vector of one key, not NaN."""
    query, key, value = inputs_of(dtype, magnitude=magnitude)
    output = to_numpy(attend_one_way(way, [query, key, value], mask_of("keys")))
    products = np.einsum("btnh,bsnh->btns", to_numpy(query).astype("float64"), to_numpy(key).astype("float64"))
    best = np.argmax(np.where(mask_of("keys")[:, 0, :, None, :], products, -np.inf), axis=-1)
    expected = to_numpy(value)[np.arange(BATCH)[:, None, None], best, np.arange(HEADS)]
    np.testing.assert_allclose(output, expected, rtol=0, atol=8 * STEP[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("way", ["fused", "explicit"])
@pytest.mark.parametrize("hidden", [-1e12, -np.inf])
def test_float_masks_of_older_scripts_stay_finite(way, dtype, hidden):
    """A bias of -1e12 hides keys like a boolean mask; where it hides all of them, the result is arbitrary but finite."""
    inputs, mask = inputs_of(dtype), mask_of("each")
    bias = ops.convert_to_tensor(np.where(mask, 0, hidden).astype("float32"))
    output = to_numpy(attend(*inputs, bias=bias, return_scores=True)[0] if way == "explicit" else attend(*inputs, bias=bias))
    sees = mask.any(-1).transpose(0, 2, 1)
    np.testing.assert_allclose(output[sees], to_numpy(attend_one_way(way, inputs, mask))[sees], rtol=0, atol=8 * STEP[dtype])
    assert not sees.all() and np.all(np.isfinite(output))


def test_dropout_acts_on_weights_and_only_in_training():
    query, key, _ = inputs_of("float32")
    value = ops.broadcast_to(ops.eye(KEYS)[None, :, None], (BATCH, KEYS, HEADS, KEYS))
    dropout = keras.layers.Dropout(0.5)
    plain = to_numpy(attend(query, key, value))  # (batch, T, heads, S): the attention weights themselves
    for training in (None, False):
        np.testing.assert_allclose(to_numpy(attend(query, key, value, dropout=dropout, training=training)), plain, atol=1e-6)
    dropped = to_numpy(attend(query, key, value, dropout=dropout, training=True))
    kept = dropped != 0
    assert 0.25 < kept.mean() < 0.75
    np.testing.assert_allclose(dropped[kept], 2 * plain[kept], rtol=1e-5)


@settings(max_examples=30)
@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=3, max_size=3), st.sampled_from(NORMALIZATIONS))
def test_normalized_rows(mask, method):
    logits, mask = random(3, 4) * 3, np.array(mask)
    weights = to_numpy(normalize(ops.convert_to_tensor(logits), ops.convert_to_tensor(mask), method))
    expected = [weights_by_definition(row.astype("float64"), visible, method, 16) for row, visible in zip(logits, mask)]
    np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-7)
    assert not np.any(weights[~mask])
    if method != "squared_relu":
        np.testing.assert_allclose(weights.sum(-1), mask.any(-1), atol=1e-6)


def test_no_mask_is_a_mask_of_ones():
    logits, ones = ops.convert_to_tensor(random(3, 4)), ops.ones((3, 4), dtype="bool")
    for method in NORMALIZATIONS:
        weights = [to_numpy(normalize(logits, mask, method)) for mask in (None, ones)]
        np.testing.assert_allclose(weights[0], weights[1], atol=1e-7)


def test_unknown_normalization_names_the_nearest():
    with pytest.raises(KerasSuError, match="'softmaxplus'.*Did you mean 'softmax_plus'"):
        attend(*inputs_of("float32"), normalization="softmaxplus")
