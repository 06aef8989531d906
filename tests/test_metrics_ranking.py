"""Rank correlation against scipy and its definition, measures of search results, ROUGE against counting, BLEU on its extremes."""

import math
import sys

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_su.errors import KerasSuError, MissingDependencyError
from keras_su.metrics import bleu, characters, lcs_f1, mean_reciprocal_rank, precision_at_k, recall_at_k, rouge, spearman

TEXT = st.text(alphabet="红楼梦 a", min_size=1, max_size=7)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-1, 1)), min_size=3, max_size=12))
def test_spearman_equals_scipy_with_ties(pairs):
    first, second = map(np.array, zip(*pairs))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        assert math.isnan(spearman(first, second))
    else:
        assert spearman(first, second) == pytest.approx(scipy.stats.spearmanr(first, second).statistic, abs=1e-12)


def test_spearman_by_hand():
    assert spearman([1, 2, 3, 4], [10, 20, 40, 30]) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert spearman([[1.0], [2.0], [9.0]], [3, 2, 1]) == -1
    assert math.isnan(spearman([1, float("nan")], [1, 2]))
    with pytest.raises(KerasSuError, match=r"numbers of values: got \(2, 3\)"):
        spearman([1, 2], [1, 2, 3])


def test_search_results():
    ranked, relevant = [[4, 2, 9], [1, 2], [7, 8, 5]], [{2, 9}, {3}, [5, 6, 7, 8]]
    assert recall_at_k(ranked, relevant, 2) == pytest.approx((1 / 2 + 0 + 2 / 4) / 3)
    assert precision_at_k(ranked, relevant, 3) == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert precision_at_k([[1]], [{1}], 4) == 1 / 4
    assert mean_reciprocal_rank(ranked, relevant) == pytest.approx((1 / 2 + 0 + 1) / 3)
    assert recall_at_k(np.array([[3, 1]]), np.array([[3]]), 1) == 1.0
    with pytest.raises(KerasSuError, match="query 1 has no relevant document"):
        recall_at_k([[1], [2]], [[1], []], 1)
    with pytest.raises(KerasSuError, match=r"numbers of queries: got \(1, 2\)"):
        mean_reciprocal_rank([[1]], [[1], [2]])
    with pytest.raises(KerasSuError, match="k: got 0, expected a positive number"):
        precision_at_k([[1]], [[1]], 0)


def overlap(prediction, reference, size):
    """F1 of n-grams: each one of the reference is taken away when it is met."""
    left = [reference[n : n + size] for n in range(len(reference) - size + 1)]
    found = [prediction[n : n + size] for n in range(len(prediction) - size + 1)]
    total, hits = len(left) + len(found), 0
    for one in found:
        if one in left:
            left.remove(one)
            hits += 1
    return 2 * hits / total if total else 0.0


@settings(max_examples=50)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3))
def test_rouge_against_counting(pairs):
    predictions, references = zip(*pairs)
    tokens = [(characters(a), characters(b)) for a, b in pairs]
    expected = {
        "rouge1": np.mean([overlap(a, b, 1) for a, b in tokens]),
        "rouge2": np.mean([overlap(a, b, 2) for a, b in tokens]),
        "rougeL": np.mean([lcs_f1(a, b) for a, b in tokens]),
    }
    assert rouge(predictions, references) == pytest.approx(expected)


def test_rouge_of_words():
    assert rouge(["the the cat"], ["the cat"], tokenize=str.split)["rouge1"] == 2 * 2 / 5
    assert rouge(["the cat"], ["the cat"], tokenize=str.split) == {"rouge1": 1.0, "rouge2": 1.0, "rougeL": 1.0}
    with pytest.raises(KerasSuError, match="references: got one text, expected a list of texts"):
        rouge(["红楼梦"], "红楼梦")
    with pytest.raises(KerasSuError, match="Got 1 predictions and 0 references"):
        rouge(["红楼梦"], [])


def test_bleu_of_characters():
    text = "红楼梦的作者是曹雪芹"
    assert bleu([text, "呐喊"], [text, "呐喊"]) == pytest.approx(1.0)
    # Precisions 9/10, 7/9, 5/8 and 3/7 with as many characters: no penalty for the length.
    assert bleu([text[:4] + "甲" + text[5:]], [text]) == pytest.approx((9 / 10 * 7 / 9 * 5 / 8 * 3 / 7) ** 0.25)
    assert bleu([text[:5]], [text]) == pytest.approx(math.exp(1 - 10 / 5))
    assert bleu([text], [text], tokenize=lambda x: [x[:3], *x[3:]]) == pytest.approx(1.0)


def test_bleu_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(MissingDependencyError, match=r'BLEU needs the package .sacrebleu.*pip install "keras_su\[metrics\]"'):
        bleu(["红"], ["红"])
