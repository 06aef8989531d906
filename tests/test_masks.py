"""Mask rules against loops over their definitions, what a stack of layers can see through them, and masking of sequences."""

import keras
import numpy as np
import pytest
from helpers import gradient, to_numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_su import masks
from keras_su.errors import KerasSuError
from keras_su.layers import AttentionMask, MultiHeadAttention
from keras_su.masks import matrix, register_mask
from keras_su.ops.sequence import align, sequence_masking

BUILT_IN = ["causal", "full", "packed", "prefix", "unilm"]
segment_rows = st.lists(st.integers(0, 1), min_size=1, max_size=6)


def may_see(rule, segments, i, j):
    """Whether query ``i`` may attend to key ``j``, in words of the definition."""
    if rule == "causal":
        return j <= i
    if rule == "prefix":
        return not any(segments[: j + 1]) or j <= i
    if rule == "packed":
        return segments[i] == segments[j]
    if rule == "unilm":
        return sum(segments[: j + 1]) <= sum(segments[: i + 1])
    assert rule == "full"
    return True


def by_definition(rules, segments, valid=None, window=None):
    length = len(segments)
    return np.array(
        [
            [
                all(may_see(rule, segments, i, j) for rule in rules)
                and (valid is None or bool(valid[j]))
                and (window is None or abs(i - j) < window)
                for j in range(length)
            ]
            for i in range(length)
        ]
    )


def reaches(mask, layers):
    """What a query sees through a stack of layers that all use ``mask``."""
    return np.linalg.matrix_power(mask.astype(int), layers) > 0


@settings(max_examples=60)
@given(segment_rows, st.lists(st.sampled_from(BUILT_IN), min_size=1, max_size=3), st.data())
def test_rules_equal_their_definitions(segments, rules, data):
    valid = data.draw(st.none() | st.lists(st.booleans(), min_size=len(segments), max_size=len(segments)))
    window = data.draw(st.none() | st.integers(1, 4))
    found = matrix(rules, len(segments), segments=segments, valid=valid, window=window)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, by_definition(rules, segments, valid, window))


@settings(max_examples=20)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_packed_texts_see_themselves_only(segments):
    np.testing.assert_array_equal(matrix("packed", len(segments), segments=segments), np.equal.outer(segments, segments))


@settings(max_examples=30)
@given(segment_rows, st.sampled_from(BUILT_IN), st.integers(0, 2))
def test_depth_does_not_leak(segments, rule, padding):
    """Two layers see no more than one: the rules are transitive, also with padding at the end."""
    segments = segments + [0] * padding
    valid = [1] * (len(segments) - padding) + [0] * padding
    mask = matrix(rule, len(segments), segments=segments, valid=valid)
    np.testing.assert_array_equal(reaches(mask, 2), mask)


def test_window_widens_with_depth():
    mask = matrix("causal", 8, window=3)
    assert mask.sum(1).tolist() == [1, 2, 3, 3, 3, 3, 3, 3]
    np.testing.assert_array_equal(reaches(mask, 2), matrix("causal", 8, window=5))


def test_unilm_by_hand():
    rows = ["1111000"] * 4 + ["1111100", "1111110", "1111111"]
    expected = [[int(c) for c in row] for row in rows]
    assert matrix("unilm", 7, segments=[0, 0, 0, 0, 1, 1, 1]).astype(int).tolist() == expected


def test_unilm_turns_become_visible_in_blocks():
    """A second question (segment 0) is seen as a whole by itself and by its answer, and by nothing before it."""
    mask = matrix("unilm", 6, segments=[0, 1, 1, 0, 0, 1]).astype(int)
    assert mask.tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 1],
    ]


def test_padding_of_a_unilm_is_hidden_though_its_segment_is_zero():
    mask = matrix("unilm", 5, segments=[0, 0, 1, 0, 0], valid=[1, 1, 1, 0, 0])
    assert not mask[:, 3:].any() and mask[2, :3].all()


TOKENS = np.array([[0, 4, 5, 6, 0, 0], [7, 8, 0, 9, 3, 2]])
SEGMENTS = np.array([[0, 0, 1, 1, 0, 0], [0, 1, 1, 0, 0, 1]])


@pytest.mark.parametrize("pad_id, keep_first", [(0, True), (0, False), (7, False), (None, True)])
@pytest.mark.parametrize("rules, window", [("full", None), ("full", 2), ("causal", None), ("unilm", None), (["packed"], 3)])
def test_layer_equals_matrix(rules, window, pad_id, keep_first):
    layer = AttentionMask(rules, window=window, pad_id=pad_id, keep_first=keep_first)
    segments = SEGMENTS if masks.reads_segments(layer.rules) else None
    mask = layer(TOKENS) if segments is None else layer(TOKENS, segments=segments)
    assert keras.backend.standardize_dtype(mask.dtype) == "bool"
    symbolic = layer.compute_output_spec(keras.KerasTensor(TOKENS.shape, "int32"), segments)
    assert tuple(mask.shape) == symbolic.shape and symbolic.dtype == "bool"
    valid = np.ones_like(TOKENS) if pad_id is None else TOKENS != pad_id
    if keep_first:
        valid[:, 0] = 1
    rows = np.broadcast_to(to_numpy(mask), (2, 6, 6))
    for row, valid_row, segment_row in zip(rows, valid, SEGMENTS):
        np.testing.assert_array_equal(row, matrix(rules, 6, segments=segment_row, valid=valid_row, window=window))


def test_layer_takes_validity_in_place_of_ids():
    valid = np.array([[True, True, False]])
    mask = AttentionMask("causal")(ops.convert_to_tensor(valid))
    np.testing.assert_array_equal(to_numpy(mask)[0], matrix("causal", 3, valid=valid[0]))


@pytest.mark.parametrize("rules, window", [*(([rule], None) for rule in BUILT_IN), (["causal"], 3), (["unilm", "packed"], None)])
def test_jacobian_of_two_layers_is_zero_exactly_where_masked(rules, window):
    tokens, segments = np.array([5, 5, 5, 5, 5, 0]), np.array([0, 1, 1, 0, 1, 0])
    length, width = len(tokens), 8
    ids, kinds = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    x = keras.Input((None, width))
    mask = AttentionMask(rules, window=window)(ids, segments=kinds)
    y = x
    for _ in range(2):
        y = MultiHeadAttention(heads=2, head_size=4)([y, y, y, mask], a_bias=True)
    model = keras.Model([ids, kinds, x], y)

    def repeat(row):
        return ops.convert_to_tensor(np.tile(row, (length, 1)), dtype="int32")

    def own_outputs(x):  # output i of copy i: the gradient at copy i is row i of the Jacobian
        return ops.sum(model([repeat(tokens), repeat(segments), x]) * ops.eye(length)[..., None])

    data = np.random.default_rng(0).normal(size=(1, length, width)).repeat(length, axis=0).astype("float32")
    influence = np.abs(gradient(own_outputs, data)).max(axis=-1)
    mask = by_definition(rules, segments, tokens != 0, window)
    visible = reaches(mask | np.eye(length, dtype=bool), 2)  # a padded query, which is no key, depends on itself, too
    assert not visible.all()
    np.testing.assert_array_equal(influence > 0, visible)


@pytest.fixture
def own_rules(monkeypatch):
    """Rules registered in a test are gone after it."""
    monkeypatch.setattr(masks, "_RULES", dict(masks._RULES))
    monkeypatch.setattr(masks, "_SEGMENT_RULES", set(masks._SEGMENT_RULES))


def test_rules_of_the_package():
    assert masks.rule_names() == BUILT_IN
    assert [rule for rule in BUILT_IN if masks.reads_segments([rule])] == ["packed", "prefix", "unilm"]


def test_rule_of_a_user_joins_others_and_is_saved_by_name(own_rules, tmp_path):
    @register_mask("every_second")
    def every_second(query, key):
        return (query.index - key.index) % 2 == 0

    expected = by_definition(["causal"], [0] * 5) & (np.add.outer(range(5), range(5)) % 2 == 0)
    np.testing.assert_array_equal(matrix(["causal", "every_second"], 5), expected)

    ids = keras.Input((None,), dtype="int32")
    model = keras.Model(ids, AttentionMask(["causal", "every_second"], window=4)(ids))
    model.save(tmp_path / "mask.keras")
    again = keras.models.load_model(tmp_path / "mask.keras")
    tokens = np.array([[3, 4, 5, 6, 0]])
    np.testing.assert_array_equal(to_numpy(again(tokens)), to_numpy(model(tokens)))
    assert again.layers[1].rules == ["causal", "every_second"]


def test_rule_of_a_user_may_read_segments(own_rules):
    @register_mask("other_segment", segments=True)
    def other_segment(query, key):
        return query.segment != key.segment

    np.testing.assert_array_equal(matrix("other_segment", 3, segments=[0, 1, 1]), ~matrix("packed", 3, segments=[0, 1, 1]))
    with pytest.raises(KerasSuError, match="'other_segment' reads segment ids"):
        matrix("other_segment", 3)
    register_mask("other_segment")(lambda query, key: None)  # registered again, it needs none
    assert matrix("other_segment", 2).all()


@pytest.mark.parametrize(
    "make", [lambda: AttentionMask("casual"), lambda: matrix("casual", 2), lambda: MultiHeadAttention(1, 2, mask_mode="casual")]
)
def test_unknown_rule_names_the_nearest(make):
    with pytest.raises(KerasSuError, match="Unknown mask rule 'casual'. Did you mean 'causal'.*register_mask"):
        make()


def test_missing_segments_are_named():
    x = np.ones((1, 3, 4), "float32")
    for call in (
        lambda: AttentionMask("unilm")(np.array([[1, 2, 3]])),
        lambda: matrix("unilm", 3),
        lambda: MultiHeadAttention(1, 2, mask_mode="unilm")(x),
    ):
        with pytest.raises(KerasSuError, match="'unilm' reads segment ids.*segments=segment_ids"):
            call()


def test_window_of_nothing_is_refused():
    with pytest.raises(KerasSuError, match="window: got 0"):
        AttentionMask("causal", window=0)


@pytest.mark.parametrize("value", [0, 5.5, "-inf", np.inf])
def test_sequence_masking_along_one_axis(value):
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    mask = np.array([[1, 1, 0], [1, 0, 0]])
    expected = x.copy()
    expected[mask == 0] = float(value)
    masked = sequence_masking(ops.convert_to_tensor(x), ops.convert_to_tensor(mask), value)
    np.testing.assert_array_equal(to_numpy(masked), expected)


def test_sequence_masking_along_two_axes_with_a_bias():
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 3)).astype("float32")
    mask = np.array([[1, 1, 0], [1, 0, 1]], bool)
    pairs = (mask[:, :, None] & mask[:, None, :])[:, None]
    causal = np.tril(np.ones((3, 3), bool))[None, None]
    tensor, mask = ops.convert_to_tensor(x), ops.convert_to_tensor(mask)
    masked, joined = sequence_masking(tensor, mask, -7, [2, -1], bias=ops.convert_to_tensor(causal), return_mask=True)
    np.testing.assert_array_equal(to_numpy(masked), np.where(pairs & causal, x, -7))
    np.testing.assert_array_equal(np.broadcast_to(to_numpy(joined), x.shape), np.broadcast_to(pairs & causal, x.shape))
    shifted = sequence_masking(tensor, mask, -7, [2, -1], bias=ops.ones((1, 1, 1, 3)))
    np.testing.assert_array_equal(to_numpy(shifted), np.where(pairs, x + 1, -7))


def test_sequence_masking_without_a_mask_changes_nothing():
    x = ops.ones((1, 2))
    same, joined = sequence_masking(x, None, return_mask=True)
    assert joined is None and to_numpy(same).tolist() == [[1, 1]]


def test_sequence_masking_fits_the_value_into_float16():
    masked = sequence_masking(ops.ones((1, 2), dtype="float16"), ops.convert_to_tensor([[1, 0]]), -1e12)
    assert to_numpy(masked).tolist() == [[1, -65504]]


@pytest.mark.parametrize("axes, ndim, shape", [([0, 1], 4, (2, 3, 1, 1)), ([0, -1], 3, (2, 1, 3)), ([1, 2], None, (1, 2, 3))])
def test_align(axes, ndim, shape):
    assert tuple(align(ops.ones((2, 3)), axes, ndim).shape) == shape


@pytest.mark.parametrize("axes", [[0], [1, 0], [1, 1], [0, 4], [-1, 3]])
def test_align_refuses_what_it_cannot_place(axes):
    with pytest.raises(KerasSuError, match="align: axes"):
        align(ops.ones((2, 3)), axes, 4)


def test_the_batch_is_no_sequence_axis():
    with pytest.raises(KerasSuError, match="axis 0 is the batch"):
        sequence_masking(ops.ones((2, 3)), ops.ones((2, 3), dtype="bool"), axis=0)
