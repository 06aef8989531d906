"""Common subsequences against their recursive definition; metrics on worked examples and by their properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_su.errors import KerasSuError
from keras_su.metrics import CommonSubsequence, exact_match, lcs_f1

SHORT = st.text(alphabet="红楼梦a", max_size=7)


def length(a, b):
    """Longest common subsequence by its definition."""
    if not a or not b:
        return 0
    return length(a[:-1], b[:-1]) + 1 if a[-1] == b[-1] else max(length(a[:-1], b), length(a, b[:-1]))


@given(SHORT, SHORT)
def test_length_equals_the_definition_at_every_step(reference, items):
    common = CommonSubsequence(reference)
    state = common.start
    for size, item in enumerate(items, 1):
        state = common.advance(state, item)
        assert common.length(state) == length(reference, items[:size])
    assert state == common.advance_all(common.start, items)


@given(st.lists(st.integers(0, 30), max_size=200), st.lists(st.integers(0, 30), max_size=200))
def test_length_is_symmetric_and_bounded(a, b):
    one, other = CommonSubsequence(a), CommonSubsequence(b)
    common = one.length(one.advance_all(one.start, b))
    assert common == other.length(other.advance_all(other.start, a))
    assert common <= min(len(a), len(b))
    assert one.length(one.advance_all(one.start, a)) == len(a)


def test_worked_examples():
    assert (exact_match("《呐喊》", "《呐喊》"), exact_match("《呐喊》", "呐喊"), exact_match("", "")) == (1.0, 0.0, 1.0)
    assert lcs_f1("《呐喊》", "呐喊") == pytest.approx(2 * 2 / 6)
    assert lcs_f1("呐喊、彷徨", "彷徨、呐喊") == pytest.approx(2 * 2 / 10)
    assert (lcs_f1("", ""), lcs_f1("", "呐喊"), lcs_f1([1, 2], [1, 2])) == (0.0, 0.0, 1.0)


@given(SHORT, SHORT)
def test_f1_is_symmetric_between_zero_and_one_and_never_below_exact_match(a, b):
    assert 0 <= lcs_f1(a, b) == lcs_f1(b, a) <= 1
    assert lcs_f1(a, b) >= exact_match(a, b) or not a + b


def test_what_has_no_length_is_refused():
    with pytest.raises(KerasSuError, match="reference: got 3"):
        lcs_f1("a", 3)
