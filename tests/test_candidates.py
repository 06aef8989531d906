"""Candidates against plain dictionaries of scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_su.decoding.candidates import Candidates, Constraint
from keras_su.errors import KerasSuError

SCORES = st.floats(-1e4, 0) | st.just(-np.inf)
ROWS = st.lists(st.dictionaries(st.integers(0, 6), SCORES, max_size=5), min_size=1, max_size=5)


def from_dictionaries(rows):
    """One row of candidates for each ``{token: score}``."""
    triples = [(row, token, each[token]) for row, each in enumerate(rows) for token in sorted(each)]
    columns = zip(*triples) if triples else ([], [], [])
    return Candidates(*columns, num_rows=len(rows))


def as_dictionaries(candidates):
    rows = [{} for _ in range(candidates.num_rows)]
    for row, token, value in zip(candidates.rows, candidates.tokens, candidates.values):
        rows[row][int(token)] = float(value)
    return rows


def normalized(row):
    if all(value == -np.inf for value in row.values()):
        return {token: -np.log(len(row)) for token in row}
    total = np.logaddexp.reduce(list(row.values()))
    return {token: value - total for token, value in row.items()}


@given(ROWS)
def test_rows_are_normalized_one_by_one(rows):
    found = as_dictionaries(from_dictionaries(rows).normalized())
    for row, expected in zip(found, map(normalized, rows)):
        assert row == pytest.approx(expected, abs=1e-9)


@given(ROWS)
def test_only_rows_of_probability_zero_get_equal_chances(rows):
    for row, found in zip(rows, as_dictionaries(from_dictionaries(rows).possible())):
        lost = all(value == -np.inf for value in row.values())
        assert found == (pytest.approx(normalized(row)) if lost else row)


@given(ROWS)
def test_dense_and_back(rows):
    candidates = from_dictionaries(rows)
    dense = candidates.to_dense(7)
    assert dense.shape == (len(rows), 7)
    assert (dense > -np.inf).sum() == (candidates.values > -np.inf).sum()
    again = Candidates.from_dense(dense, candidates.rows, candidates.tokens)
    assert as_dictionaries(again) == rows


@given(ROWS, st.integers(0, 6))
def test_dropped_candidates_are_gone(rows, token):
    candidates = from_dictionaries(rows)
    kept = candidates.keep(candidates.tokens != token)
    assert as_dictionaries(kept) == [{other: each[other] for other in each if other != token} for each in rows]


def test_what_does_not_fit_is_an_error():
    with pytest.raises(KerasSuError, match="equal length"):
        Candidates([0, 1], [2], [0.0], 2)
    with pytest.raises(KerasSuError, match="ascending"):
        Candidates([1, 0], [2, 2], [0.0, 0.0], 2)
    with pytest.raises(KerasSuError, match="ascending"):
        Candidates([0, 2], [2, 2], [0.0, 0.0], 2)
    with pytest.raises(KerasSuError, match="more than 3"):
        Candidates.from_dense(np.zeros((1, 3)), [0], [3])
    with pytest.raises(KerasSuError, match="more than 4"):
        Candidates([0], [4], [0.0], 1).to_dense(4)


def test_a_constraint_is_shift_invariant_when_it_normalizes():
    assert Constraint().shift_invariant and not Constraint(normalize=False).shift_invariant
