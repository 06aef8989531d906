"""Temperature and the cuts of a distribution: cases computed by hand, naive loops, ties, and compiled against eager."""

import math

import numpy as np
import pytest
from compiling import compiled
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_su.decoding import Hypotheses
from keras_su.decoding.truncation import MinP, Temperature, TopK, TopP, Typical, sampling_processors
from keras_su.errors import KerasSuError

# Weights with exact ties; sums of 16ths are exact in float32.
WEIGHTS = st.lists(st.lists(st.integers(0, 6), min_size=6, max_size=6).filter(any), min_size=3, max_size=3)
PROPORTIONS = st.sampled_from([0.05, 0.3, 0.5, 0.7, 0.99, 1.0])


def log(probabilities):
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(probabilities, float))


def kept(processor, probabilities):
    """Ids that survive, one list for each row; those that do keep their scores."""
    scores = log(probabilities)
    result = processor(scores)
    assert not np.isnan(result).any()
    np.testing.assert_allclose(result[result > -np.inf], scores[result > -np.inf], rtol=1e-6, atol=1e-7)
    return [np.flatnonzero(row > -np.inf).tolist() for row in result]


def best_until(order, probabilities, p):
    """The first ids in ``order`` until their probabilities reach ``p``."""
    chosen, total = set(), 0.0
    for token in order:
        if chosen and total >= p - 1e-6:
            break
        if probabilities[token]:
            chosen.add(token)
        total += probabilities[token]
    return sorted(chosen)


@given(WEIGHTS, st.integers(1, 8))
@settings(max_examples=40)
def test_top_k(weights, k):
    expected = [sorted(sorted((t for t in range(6) if row[t]), key=lambda t: (-row[t], t))[:k]) for row in weights]
    assert kept(TopK(k), weights) == expected


@given(WEIGHTS, PROPORTIONS)
@settings(max_examples=60)
def test_top_p(weights, p):
    expected = []
    for row in weights:
        probabilities = [weight / sum(row) for weight in row]
        expected.append(best_until(sorted(range(6), key=lambda t: (-row[t], t)), probabilities, p))
    assert kept(TopP(p), weights) == expected


@given(WEIGHTS, PROPORTIONS)
@settings(max_examples=40)
def test_min_p(weights, p):
    assert kept(MinP(p), weights) == [[t for t in range(6) if row[t] and row[t] >= p * max(row) - 1e-9] for row in weights]


@given(WEIGHTS, PROPORTIONS)
@settings(max_examples=60)
def test_typical(weights, p):
    expected = []
    for row in weights:
        probabilities = [weight / sum(row) for weight in row]
        entropy = -sum(each * math.log(each) for each in probabilities if each)
        distance = [abs(-math.log(each) - entropy) if each else math.inf for each in probabilities]
        expected.append(best_until(sorted(range(6), key=lambda t: (round(distance[t], 5), t)), probabilities, p))
    assert kept(Typical(p), weights) == expected


def test_cases_by_hand():
    probabilities = [[0.1, 0.5, 0.15, 0.25]]
    assert kept(TopP(0.5), probabilities) == [[1]]  # reached exactly
    assert kept(TopP(0.51), probabilities) == [[1, 3]]  # the token that crosses stays
    assert kept(TopP(0.75), probabilities) == [[1, 3]]
    assert kept(TopP(0.9), probabilities) == [[1, 2, 3]]  # 0.5 + 0.25 + 0.15, which float32 need not add to 0.9
    assert kept(TopP(1e-9), probabilities) == [[1]]
    assert kept(MinP(0.3), probabilities) == [[1, 2, 3]]
    assert kept(MinP(0.31), probabilities) == [[1, 3]]
    # Bits of surprise 1, 2, 3, 3; entropy 1.75; distances 0.75, 0.25, 1.25, 1.25.
    surprising = [[0.5, 0.25, 0.125, 0.125]]
    assert kept(Typical(0.2), surprising) == [[1]]
    assert kept(Typical(0.25), surprising) == [[1]]
    assert kept(Typical(0.3), surprising) == [[0, 1]]
    assert kept(Typical(0.8), surprising) == [[0, 1, 2]]  # the lower id of two equal ones
    # One half and a row of equals are always equally far from the entropy: ids decide, not the last bit.
    assert kept(Typical(0.5), [[0.1, 0.1, 0.1, 0.1, 0.1, 0.5]]) == [[0, 1, 2, 3, 4]]
    assert kept(Typical(0.5), [[0.5, 0.1, 0.1, 0.1, 0.1, 0.1]]) == [[0]]


def test_equal_scores_stay_in_order_of_ids():
    equal = [[0.25] * 4]
    for processor, expected in ((TopK(3), [0, 1, 2]), (TopP(0.5), [0, 1]), (Typical(0.5), [0, 1]), (MinP(1), [0, 1, 2, 3])):
        assert kept(processor, equal) == [expected]


def test_scores_need_not_sum_to_one():
    """All cuts are the same for scores shifted by a constant, as another processor may leave them."""
    scores = log([[0.5, 0.25, 0.15, 0.1], [0.4, 0.4, 0.0, 0.2]])
    for processor in (TopK(2), TopP(0.6), MinP(0.35), Typical(0.6)):
        np.testing.assert_allclose(processor(scores + 9.0), processor(scores) + 9.0, rtol=1e-6)


def test_temperature():
    np.testing.assert_allclose(Temperature(2.0)(np.array([[-3.0, -np.inf, 0.0]])), [[-1.5, -np.inf, 0.0]])
    hypotheses = Hypotheses.start([np.array([1])])
    np.testing.assert_array_equal(Temperature(0.25)(np.array([[-1.0, -2.0]]), hypotheses), [[-4.0, -8.0]])


TRUNCATIONS = [Temperature(0.5), TopK(3), TopK(99), TopP(0.6), TopP(1.0), MinP(0.3), Typical(0.6), Typical(1)]


@pytest.mark.parametrize("processor", TRUNCATIONS, ids=lambda each: type(each).__name__)
def test_compiled_equals_eager_also_without_any_possible_token(processor):
    function = compiled(processor.apply)
    random = np.random.default_rng(3)
    for _ in range(2):
        scores = np.where(random.random((4, 9)) < 0.3, -np.inf, random.normal(size=(4, 9)))
        scores[1] = -np.inf
        scores = ops.convert_to_tensor(scores, "float32")
        expected = ops.convert_to_numpy(processor.apply(scores, None))
        assert expected.dtype == np.float32 and (expected[1] == -np.inf).all() and not np.isnan(expected).any()
        np.testing.assert_allclose(ops.convert_to_numpy(function(scores)), expected, rtol=1e-6)


def test_a_large_vocabulary_is_cut_where_float64_would():
    """Sums of many small float32 numbers are exact enough: the number of tokens differs by rounding at most."""
    scores = np.random.default_rng(0).normal(size=(2, 21128)) * 3
    probabilities = np.exp(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True))
    for p in (0.5, 0.9, 0.99):
        expected = (np.cumsum(-np.sort(-probabilities, axis=1), axis=1) < p).sum(axis=1) + 1
        found = (TopP(p)(scores) > -np.inf).sum(axis=1)
        assert (abs(found - expected) <= 2).all()


def test_settings_of_sampling():
    processors = sampling_processors(0.7, top_k=5, top_p=0.9, min_p=0.1, typical_p=0.8)
    assert [type(each) for each in processors] == [Temperature, TopK, TopP, MinP, Typical]
    assert sampling_processors() == []


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Temperature(0), "temperature: got 0, expected a positive number"),
        (lambda: TopK(0), "k: got 0, expected a positive integer"),
        (lambda: TopP(0), "p: got 0"),
        (lambda: TopP(1.1), "p: got 1.1, expected a number above 0, at most 1"),
        (lambda: MinP(-1), "p: got -1"),
        (lambda: Typical("a"), "p: got 'a'"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(KerasSuError, match=message):
        make()
