"""Encoding of single texts, pairs and batches: truncation, patterns, padding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_vocabulary import token_dict

from keras_su.errors import KerasSuError
from keras_su.tokenizers import Tokenizer

VOCABULARY = token_dict()
TOKENIZER = Tokenizer(VOCABULARY)
BARE = Tokenizer(VOCABULARY, token_start=None, token_end=None)
letters = st.text("abcdefgh天气", max_size=12).map(" ".join)


def popped(sequences, maxlen, index):
    """bert4keras' truncation, one token at a time."""
    sequences = [list(s) for s in sequences]
    while sum(map(len, sequences)) > maxlen:
        longest = max(sequences, key=len)
        longest.pop(index)
    return sequences


@given(letters, letters, st.integers(6, 30), st.sampled_from(["right", "left"]), st.sampled_from(["S*E*E", "S*ES*E"]))
def test_pairs_lose_one_token_after_another(first, second, maxlen, side, pattern):
    sequences = [TOKENIZER.tokenize(first), TOKENIZER.tokenize(second)]
    drop = pattern == "S*E*E"
    one, two = popped(sequences, maxlen + drop, -2 if side == "right" else 1)
    two = two[drop:]
    token_ids, segment_ids = TOKENIZER.encode(first, second, maxlen=maxlen, pattern=pattern, truncate_from=side)
    assert token_ids == TOKENIZER.tokens_to_ids(one + two)
    assert segment_ids == [0] * len(one) + [1] * len(two)
    assert len(token_ids) <= maxlen
    assert TOKENIZER.encode(sequences[0], sequences[1], maxlen, pattern, side) == (token_ids, segment_ids)


@given(letters, st.integers(-16, 16), st.integers(1, 12))
def test_single_texts_truncate_from_any_position(text, index, maxlen):
    tokens = BARE.tokenize(text)
    ids = BARE.encode(text, maxlen=maxlen, truncate_from=index)[0]
    assert len(ids) == min(len(tokens), maxlen)
    removed = len(tokens) - len(ids)
    starts = [s for s in range(len(ids) + 1) if BARE.tokens_to_ids(tokens[:s] + tokens[s + removed :]) == ids]
    assert starts  # what goes is one stretch
    try:
        assert ids == BARE.tokens_to_ids(popped([tokens], maxlen, index)[0])
    except IndexError:  # list.pop ran off the end; the stretch is then at that end
        assert (0 if index < 0 else len(ids)) in starts


@given(letters, st.integers(2, 20), st.one_of(st.integers(-20, 20), st.sampled_from(["right", "left"])))
def test_special_tokens_survive_truncation(text, maxlen, truncate_from):
    ids = TOKENIZER.encode(text, maxlen=maxlen, truncate_from=truncate_from)[0]
    assert ids[0] == TOKENIZER.start_id and ids[-1] == TOKENIZER.end_id and len(ids) <= maxlen


def test_tokenize_maxlen():
    assert TOKENIZER.tokenize("a b c d", maxlen=4) == ["[CLS]", "a", "b", "[SEP]"]
    assert BARE.tokenize("a b c d", maxlen=3) == ["a", "b", "c"]


def test_without_start_token_the_pair_still_fits():
    tokenizer = Tokenizer(VOCABULARY, token_start=None)
    for pattern in ("S*E*E", "S*ES*E"):
        assert len(tokenizer.encode("a b c d", "e f g h", maxlen=6, pattern=pattern)[0]) == 6
    assert tokenizer.encode("a", "b") == (tokenizer.tokens_to_ids(["a", "[SEP]", "b", "[SEP]"]), [0, 0, 1, 1])


def test_arguments_old_and_new():
    expected = TOKENIZER.encode("a b c d", None, 4)
    assert TOKENIZER.encode("a b c d", max_length=4) == TOKENIZER.encode(first_text="a b c d", maxlen=4) == expected
    assert TOKENIZER.encode("a b c d", maxlen=np.int64(4)) == expected
    wrong = (
        ({"maxlen": 4, "max_length": 4}, "max_length"),
        ({"maxlen": 1}, "at least 2"),
        ({"maxlen": 0}, "positive integer"),
        ({"maxlen": 4.5}, "positive integer"),
        ({"maxlen": 2, "second_text": "b"}, "at least 3"),
        ({"maxlen": 3, "second_text": "b", "pattern": "S*ES*E"}, "at least 4"),
        ({"pattern": "S*E*"}, r"Did you mean 'S\*E\*E'"),
        ({"maxlen": 4, "truncate_from": "middle"}, "'right', 'left' or an integer"),
        ({"second_text": 5}, "second_text"),
    )
    for arguments, message in wrong:
        with pytest.raises(KerasSuError, match=message):
            TOKENIZER.encode("a b c d", **arguments)
    for text in (None, b"a", 5, float("nan"), [1, 2], [("a", "b")]):
        with pytest.raises(KerasSuError, match="first_text"):
            TOKENIZER.encode(text)


def test_token_lists_are_one_text():
    tokens = ["[CLS]", "play", "##ing", "天", "[SEP]"]
    given_tokens = list(tokens)
    assert TOKENIZER.encode(tokens)[0] == TOKENIZER.tokens_to_ids(tokens)
    assert TOKENIZER.encode(tokens, maxlen=3)[0] == TOKENIZER.tokens_to_ids(["[CLS]", "play", "[SEP]"])
    assert TOKENIZER.encode(["a", "b", "c"], maxlen=2)[0] == TOKENIZER.tokens_to_ids(["a", "b"])
    assert TOKENIZER.encode([]) == ([], [])
    assert tokens == given_tokens
    assert TOKENIZER.encode(["quiz"])[0] == [TOKENIZER.unk_id]  # an unknown word as `tokenize` leaves it
    with pytest.raises(KerasSuError, match="encode_batch"):
        TOKENIZER.encode(["今天气好", "我爱天"])
    with pytest.raises(KerasSuError, match="encode_batch"):
        TOKENIZER.encode([("今", "天")])


def test_missing_start_token_is_not_passed_over():
    tokenizer = Tokenizer({"[UNK]": 0, "[SEP]": 1, "a": 2})
    with pytest.raises(KerasSuError, match=r"no '\[CLS\]'.*token_start=None"):
        tokenizer.encode("a")
    assert Tokenizer({"[UNK]": 0, "[SEP]": 1, "a": 2}, token_start=None).encode("a")[0] == [2, 1]


@given(
    st.lists(st.tuples(letters, letters), max_size=5),
    st.one_of(st.none(), st.integers(3, 15)),
    st.sampled_from(["right", "left"]),
    st.booleans(),
    st.sampled_from(["int32", "int64"]),
)
def test_batches_are_padded_rows(pairs, maxlen, side, paired, dtype):
    texts = pairs if paired else [first for first, _ in pairs]
    token_ids, segment_ids = TOKENIZER.encode_batch(texts, maxlen=maxlen, padding_side=side, dtype=dtype)
    rows = [TOKENIZER.encode(*((text,) if isinstance(text, str) else text), maxlen=maxlen) for text in texts]
    assert token_ids.shape == segment_ids.shape == (len(texts), max((len(ids) for ids, _ in rows), default=0))
    assert token_ids.dtype == segment_ids.dtype == dtype
    for row, segments, (ids, expected) in zip(token_ids.tolist(), segment_ids.tolist(), rows):
        padding = [0] * (token_ids.shape[1] - len(ids))
        assert row == (ids + padding if side == "right" else padding + ids)
        assert segments == (expected + padding if side == "right" else padding + expected)
    if paired:
        again = TOKENIZER.encode_batch([a for a, _ in pairs], [b for _, b in pairs], maxlen=maxlen, padding_side=side)
        np.testing.assert_array_equal(again[0], token_ids)


def test_batches_of_a_given_length():
    token_ids, segment_ids = TOKENIZER.encode_batch(["a", "a b c d e"], length=5)
    assert token_ids.shape == segment_ids.shape == (2, 5)
    assert token_ids[1].tolist() == TOKENIZER.encode("a b c d e", maxlen=5)[0]
    assert TOKENIZER.encode_batch(["a b c d e"], maxlen=4, length=6)[0][0, 4:].tolist() == [0, 0]
    assert TOKENIZER.encode_batch([], length=6)[0].shape == (0, 6)
    np.testing.assert_array_equal(
        TOKENIZER.encode_batch([["[CLS]", "a"], "b"])[0][0], [*TOKENIZER.tokens_to_ids(["[CLS]", "a"]), 0]
    )


def test_padding_id():
    tokenizer = Tokenizer({"[UNK]": 0, "a": 1, "b": 2}, token_start=None, token_end=None)
    assert tokenizer.encode_batch(["a", "b"])[0].tolist() == [[1], [2]]
    with pytest.raises(KerasSuError, match="pad_id"):
        tokenizer.encode_batch(["a", "a b"])
    tokenizer.pad_id = 9
    assert tokenizer.encode_batch(["a", "a b"])[0].tolist() == [[1, 9], [1, 2]]


def test_wrong_batches():
    for arguments, message in (
        ({"texts": "abc"}, "encode takes a single one"),
        ({"texts": 5}, "list of texts"),
        ({"texts": [("a", "b", "c")]}, "tuples of two"),
        ({"texts": ["a", None]}, "first_text"),
        ({"texts": ["a"], "second_texts": ["b", "c"]}, "2 texts.*expected 1"),
        ({"texts": ["a"], "second_texts": "b"}, "second_texts"),
        ({"texts": ["a"], "padding_side": "top"}, "padding_side"),
        ({"texts": ["a"], "length": 0}, "length"),
    ):
        with pytest.raises(KerasSuError, match=message):
            TOKENIZER.encode_batch(**arguments)


@given(
    letters, letters | st.none(), st.integers(3, 20), st.sampled_from(["S*E*E", "S*ES*E"]), st.sampled_from(["right", "left", 2])
)
def test_offsets_follow_truncation(first, second, maxlen, pattern, side):
    if pattern == "S*ES*E":
        maxlen += 1
    arguments = {"maxlen": maxlen, "pattern": pattern, "truncate_from": side}
    token_ids, segment_ids, offsets = TOKENIZER.encode(first, second, **arguments, return_offsets=True)
    assert (token_ids, segment_ids) == TOKENIZER.encode(first, second, **arguments)
    assert len(offsets) == len(token_ids)
    for index, segment, (start, stop) in zip(token_ids, segment_ids, offsets):
        text, token = (first, second)[segment], TOKENIZER.id_to_token(index)
        assert text[start:stop] == ("" if token in ("[CLS]", "[SEP]") else token)
    with pytest.raises(KerasSuError, match="return_offsets"):
        TOKENIZER.encode(["a"], return_offsets=True)


def test_special_ids_assigned_from_outside():
    """Scripts do that after they have reduced a vocabulary."""
    tokenizer = Tokenizer({token: index for index, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "好"])})
    assert tokenizer.encode("好坏")[0] == [2, 4, 1, 3]
    tokenizer._token_unk_id = 0
    assert tokenizer.encode("好坏")[0] == [2, 4, 0, 3]
    assert tokenizer.encode_batch(["好坏", "好"])[0].tolist() == [[2, 4, 0, 3], [2, 4, 3, 0]]
