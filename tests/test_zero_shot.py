"""Zero-shot classification: positions, encodings, and the two contrasts, against what can be counted by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_su.errors import KerasSuError
from keras_su.tokenizers import Tokenizer
from keras_su.zero_shot import (
    candidate_contrast,
    classes_by_thresholds,
    encode_blank,
    encode_pair,
    midpoint_thresholds,
    next_sentence_scores,
    sample_contrast,
    soft_positions,
)

CHARACTERS = "甲乙丙丁戊己庚辛壬癸"
TOKENIZER = Tokenizer({token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *CHARACTERS])})
ORDER = pytest.mark.parametrize("order", ["prefix", "suffix"])
finite = st.floats(allow_nan=False, allow_infinity=False)
size = st.integers(0, 6)


def text_at_positions(pair):
    """The characters of an input in the order of their positions."""
    ids = [token for _, token in sorted(zip(pair.position_ids, pair.token_ids))]
    return "".join(CHARACTERS[i - 4] for i in ids if i > 3)


@given(before=size, candidate=size, after=size, order=st.sampled_from(["prefix", "suffix"]))
def test_soft_positions_are_a_permutation(before, candidate, after, order):
    positions = soft_positions(before, candidate, after, order)
    assert sorted(positions) == list(range(before + candidate + after + 3))
    assert positions[0] == 0 and positions[-1] == len(positions) - 1


@ORDER
def test_a_candidate_stands_in_the_blank(order):
    pair = encode_blank(TOKENIZER, "甲乙丙", "丁戊", "己庚", order)
    assert text_at_positions(pair) == "甲乙丙丁戊己庚"
    assert len(pair.token_ids) == len(pair.segment_ids) == len(pair.position_ids)
    candidate_segment = 0 if order == "prefix" else 1
    found = [CHARACTERS[i - 4] for i, segment in zip(pair.token_ids, pair.segment_ids) if i > 3 and segment == candidate_segment]
    assert found == list("丁戊")
    assert pair.token_ids.count(3) == 2


@ORDER
def test_what_is_far_from_the_blank_is_cut_first(order):
    pair = encode_blank(TOKENIZER, "甲乙丙丁", "壬癸", "戊己庚", order, max_length=9)
    assert len(pair.token_ids) == 9 and sorted(pair.position_ids) == list(range(9))
    assert text_at_positions(pair) == "丙丁壬癸戊己"
    assert text_at_positions(encode_blank(TOKENIZER, "甲", "壬癸", "戊己庚辛", order, max_length=9)) == "甲壬癸戊己庚"
    assert text_at_positions(encode_blank(TOKENIZER, "", "壬癸", "", order, max_length=5)) == "壬癸"
    with pytest.raises(KerasSuError, match="at least 5"):
        encode_blank(TOKENIZER, "甲", "壬癸", "", order, max_length=4)


def test_pairs_keep_their_prompt():
    assert encode_pair(TOKENIZER, "甲乙", "丙丁戊己庚", max_length=8).token_ids == [2, 4, 5, 3, 6, 7, 8, 3]
    cut = encode_pair(TOKENIZER, "甲乙", "丙丁戊己庚", "suffix", max_length=8, truncate_from="left")
    assert cut.token_ids == [2, 8, 9, 10, 3, 4, 5, 3]
    assert cut.segment_ids == [0, 0, 0, 0, 0, 1, 1, 1] and cut.position_ids == list(range(8))
    with pytest.raises(KerasSuError, match="Did you mean 'prefix'"):
        encode_pair(TOKENIZER, "甲", "乙", "prefixed")


def test_log_odds_tell_probabilities_near_one_apart():
    sure = np.array([[1.0, 1e-9], [1.0, 1e-12], [0.0, 1.0]], "float32")
    first, second, third = next_sentence_scores(sure)
    assert third < 0 < first < second and np.isfinite(third)
    with pytest.raises(KerasSuError, match=r"\(\.\.\., 2\)"):
        next_sentence_scores(np.ones((4, 3)))


@given(st.lists(st.lists(st.integers(-50, 50), min_size=1, max_size=5), min_size=1, max_size=6), st.integers(-9, 9))
def test_candidate_contrast_ignores_a_constant(scores, constant):
    best = candidate_contrast(scores)
    assert (candidate_contrast([[score + constant for score in row] for row in scores]) == best).all()
    assert all(row.index(max(row)) == place for row, place in zip(scores, best))


def test_equal_parts_and_the_remainder():
    scores = [0.9, 0.1, 0.5, 0.7, 0.3, 0.2, 0.8]
    assert np.bincount(sample_contrast(scores, 3)).tolist() == [2, 2, 3]
    assert sample_contrast(scores, [1, 5, 1]).tolist() == [2, 0, 1, 1, 1, 1, 1]


def test_ties_are_cut_in_the_order_of_the_samples():
    assert sample_contrast([0.5] * 5, 2).tolist() == [0, 0, 1, 1, 1]
    assert candidate_contrast([[0.5, 0.5]]).tolist() == [0]


@given(st.lists(finite, min_size=1, max_size=20, unique=True), st.data())
def test_midpoint_thresholds_repeat_the_split(scores, data):
    parts = data.draw(st.integers(1, len(scores)))
    thresholds = midpoint_thresholds(scores, parts)
    assert (classes_by_thresholds(scores, thresholds) == sample_contrast(scores, parts)).all()


def test_thresholds_between_neighbouring_numbers_and_beside_empty_classes():
    scores = [1.0, np.nextafter(1.0, 2.0)]
    assert classes_by_thresholds(scores, midpoint_thresholds(scores, 2)).tolist() == [0, 1]
    for sizes, classes in (([0, 2, 0], [1, 1]), ([2, 0], [0, 0]), ([0, 1, 1], [1, 2])):
        assert classes_by_thresholds(scores, midpoint_thresholds(scores, sizes)).tolist() == classes


@pytest.mark.parametrize(
    "scores, parts, message",
    [
        ([1.0, 2.0], 3, "1 to 2 classes"),
        ([1.0, 2.0], [1, 2], "sum to the number of scores, 2"),
        ([1.0, np.nan], 2, "finite"),
        ([], 1, "one score or more"),
        ([[1.0, 2.0]], 1, "in a row"),
    ],
)
@pytest.mark.parametrize("function", [sample_contrast, midpoint_thresholds])
def test_wrong_scores_and_parts(function, scores, parts, message):
    with pytest.raises(KerasSuError, match=message):
        function(scores, parts)
