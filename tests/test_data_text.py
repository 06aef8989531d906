"""Cutting texts and comparing sequences, against definitions by brute force."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_su.data import text as texts
from keras_su.errors import KerasSuError

WORDS = st.text("abc", max_size=6)


@given(st.text("甲乙。， \n", max_size=30), st.integers(1, 9), st.sampled_from(["\n", "\n。，", "", ["。"]]), st.booleans())
def test_pieces_of_a_text(text, maxlen, seps, hard_cut):
    pieces = texts.text_segmentate(text, maxlen, seps, hard_cut=hard_cut)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    for piece in pieces:
        assert len(piece) <= maxlen or not hard_cut and not any(sep in piece.rstrip(" " + "".join(seps)) for sep in seps)


def test_first_separators_first_and_as_much_as_fits():
    text = "一二。三四\n五六，七八"
    assert texts.text_segmentate(text, 20) == [text]
    assert texts.text_segmentate(text, 6) == ["一二。三四", "五六，七八"]
    assert texts.text_segmentate(text, 4, "\n。，") == ["一二。", "三四", "五六，", "七八"]
    assert texts.text_segmentate("一。二。三。四五", 5, "。") == ["一。二。", "三。四五"]
    assert texts.text_segmentate(text, 4, "\n。，", strips="。，") == ["一二", "三四", "五六", "七八"]
    assert texts.text_segmentate("一二。三四五六七", 3, "。") == ["一二。", "三四五六七"]
    assert texts.text_segmentate("一二。三四五六七", 3, "。", hard_cut=True) == ["一二。", "三四五", "六七"]
    with pytest.raises(KerasSuError, match="maxlen"):
        texts.text_segmentate(text, 0)


@given(WORDS, WORDS)
def test_longest_common_substring(source, target):
    length, (start, stop, other_start, other_stop) = texts.longest_common_substring(source, target)
    shared = [source[i:j] for i, j in itertools.combinations(range(len(source) + 1), 2) if source[i:j] in target]
    assert length == max(map(len, shared), default=0) == stop - start
    assert source[start:stop] == target[other_start:other_stop]
    if length:  # the first of all, at its first place
        assert start == min(source.find(run) for run in shared if len(run) == length)
        assert other_start == target.find(source[start:stop])


def common_length(source, target):
    if not source or not target:
        return 0
    if source[-1] == target[-1]:
        return common_length(source[:-1], target[:-1]) + 1
    return max(common_length(source[:-1], target), common_length(source, target[:-1]))


@given(WORDS, WORDS)
def test_longest_common_subsequence(source, target):
    length, pairs = texts.longest_common_subsequence(source, target)
    assert length == len(pairs) == common_length(source, target)
    assert all(source[i] == target[j] for i, j in pairs)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(pairs))


def test_which_of_several_and_other_sequences():
    assert texts.longest_common_subsequence("aaaa", "aa") == (2, [(2, 0), (3, 1)])
    assert texts.longest_common_subsequence("ab", "ba") == (1, [(0, 1)])
    assert texts.longest_common_subsequence([1, (2,), "x"], [(2,), 1, "x"]) == (2, [(0, 1), (2, 2)])
    assert texts.longest_common_substring([1, (2,), "x"], [(2,), "x", 1]) == (2, (1, 3, 0, 2))


def test_small_helpers():
    assert texts.strQ2B("ＡＢＣ～！　，。") == "ABC~! ,。"
    assert texts.is_string("一") and not texts.is_string("一".encode())
    for convert in (texts.convert_to_unicode, texts.convert_to_str):
        assert convert("一".encode() + b"\xff") == "一" == convert("一") == convert("一".encode("gbk"), "gbk")
        with pytest.raises(UnicodeDecodeError):
            convert(b"\xff", errors="strict")
    assert texts.string_matching("红楼梦", ["三国", "红.梦"]) and not texts.string_matching("红楼梦", ["^楼"])
