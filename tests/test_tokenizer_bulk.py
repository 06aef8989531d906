"""Ids that come straight from characters and words, one text or a batch of them, are those of the tokens."""

import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_vocabulary import token_dict

from keras_su.errors import KerasSuError
from keras_su.tokenizers import Tokenizer, bulk, pieces

VOCABULARY = token_dict()


class OneByOne(Tokenizer):
    """Takes the texts of a batch one after another."""

    def _texts_ids(self, texts):
        return None


BULK = {lower: Tokenizer(VOCABULARY, do_lower_case=lower) for lower in (False, True)}
SLOW = {lower: OneByOne(VOCABULARY, do_lower_case=lower) for lower in (False, True)}

# Signs next to which Greek sigma is final or not, marks that change places, characters that grow or vanish, and ordinary ones.
TRICKY = list("aΑςσΣß.'·: \u0301\u0345\u0308\u302e\u302f\u1b44\uaa82\U0001d165\U0001d16d\U0001d1bb\u0130한가각\ufe0f\u200d≠")
ORDINARY = list("playingedT0214\t\n\0\ufffd\uffff\ud800\xa0\u3000\u2028，。!'[]天气日本カタé豈\U00020bb7\U0002f800😀①")
texts = st.one_of(
    st.text(st.sampled_from(TRICKY), max_size=12),
    st.text(st.sampled_from(TRICKY + ORDINARY), max_size=30),
    st.text(max_size=12),
    st.lists(st.sampled_from(["今天", "playing", " The ", "，", "2021年", "한글 "]), max_size=8).map("".join),
)
rows = st.one_of(st.lists(texts, max_size=6), st.lists(st.tuples(texts, texts), max_size=6))
sides = st.one_of(st.sampled_from(["right", "left"]), st.integers(-9, 9))


def same(first, second):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


@given(texts, st.booleans())
def test_ids_of_a_text_are_those_of_its_tokens(text, lower):
    tokenizer = BULK[lower]
    assert tokenizer.encode(text)[0] == tokenizer.tokens_to_ids(tokenizer.tokenize(text))


@given(rows, st.booleans(), st.sampled_from(["S*E*E", "S*ES*E"]), st.one_of(st.none(), st.integers(4, 16)), sides, st.data())
def test_a_batch_is_its_texts_one_by_one(batch, lower, pattern, maxlen, truncate_from, data):
    arguments = {"maxlen": maxlen, "pattern": pattern, "truncate_from": truncate_from}
    arguments["length"] = data.draw(st.one_of(st.none(), st.integers(4, 20)))
    arguments["padding_side"] = data.draw(st.sampled_from(["right", "left"]))
    arguments["dtype"] = data.draw(st.sampled_from(["int32", "int64", "uint16"]))
    same(BULK[lower].encode_batch(batch, **arguments), SLOW[lower].encode_batch(batch, **arguments))


@pytest.mark.parametrize("around", [(None, None), ("[CLS]", None), (None, "[SEP]")])
@given(rows, st.sampled_from(["S*E*E", "S*ES*E"]), st.integers(4, 12), sides)
def test_batches_without_start_or_end(around, batch, pattern, maxlen, truncate_from):
    ours, slow = (kind(VOCABULARY, True, token_start=around[0], token_end=around[1]) for kind in (Tokenizer, OneByOne))
    arguments = {"maxlen": maxlen, "pattern": pattern, "truncate_from": truncate_from}
    same(ours.encode_batch(batch, **arguments), slow.encode_batch(batch, **arguments))


@pytest.mark.parametrize("lower", [False, True])
def test_every_character_of_the_table(lower):
    batch = [f"a{chr(code)}b {chr(code)}" for code in range(bulk.PLANE)] + ["a\U00020bb7b \U00020bb7", "a\U0001f600b"]
    tokenizer = Tokenizer(VOCABULARY, do_lower_case=lower)
    ids, _ = tokenizer.encode_batch(batch)
    for text, row in zip(batch, ids.tolist()):
        expected = tokenizer.tokens_to_ids(tokenizer.tokenize(text))
        assert row == expected + [0] * (len(row) - len(expected)), ascii(text)


@pytest.mark.parametrize("chunk", [1, 7, 50])
def test_borders_of_chunks_do_not_show(monkeypatch, chunk):
    batch = ["今天playing", "", "한글 text", "ΑΣ'Α", "天" * 60, " ", "The end"] * 3
    expected = BULK[True].encode_batch(batch)
    monkeypatch.setattr(bulk, "CHUNK", chunk)
    same(BULK[True].encode_batch(batch), expected)


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(pieces, "CACHED_WORDS", 10)
    tokenizer = Tokenizer(VOCABULARY)
    batch = [f"a{n}天b{n}" for n in range(200)] + ["ab" * 60]
    same(tokenizer.encode_batch(batch), OneByOne(VOCABULARY).encode_batch(batch))
    memory = tokenizer._remembered
    assert 0 < len(memory.texts_ids.of_runs) <= 10 and "ab" * 60 not in memory.texts_ids.of_runs
    assert memory.texts_ids.table.nbytes == 4 * bulk.PLANE
    assert pickle.loads(pickle.dumps(tokenizer))._memory is None


def test_threads_share_a_tokenizer(monkeypatch):
    monkeypatch.setattr(pieces, "CACHED_WORDS", 20)
    batch = [f"天{chr(0x4E00 + n)}play{n} 한{n}，" for n in range(300)]
    expected = SLOW[True].encode_batch(batch)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        tokenizer = Tokenizer(VOCABULARY, do_lower_case=True)
        with ThreadPoolExecutor(4) as pool:
            for found in pool.map(lambda _: tokenizer.encode_batch(batch), range(8)):
                same(found, expected)
    finally:
        sys.setswitchinterval(interval)


def first_ids(tokenizer, text):
    """Ids of a text by `encode`, after checking that those of a batch are the same."""
    ids = tokenizer.encode(text)[0]
    assert tokenizer.encode_batch([text, ""])[0][0].tolist() == ids
    return ids


def test_whatever_is_assigned_from_outside_counts():
    tokenizer = Tokenizer({"[PAD]": 0, "[UNK]": 1, "a": 2, "##b": 3, "天": 4}, token_start=None, token_end=None)
    assert first_ids(tokenizer, "ab 天 x") == [2, 3, 4, 1]
    for unknown in (0, 7, -1):
        tokenizer._token_unk_id = unknown
        assert first_ids(tokenizer, "ab 天 x") == [2, 3, 4, unknown]
    tokenizer._word_maxlen = 1
    assert first_ids(tokenizer, "ab 天 x") == [-1, 4, -1]
    tokenizer._token_dict = {"[PAD]": 0, "[UNK]": 1, "A": 2, "##B": 3, "天": 5}
    assert first_ids(tokenizer, "A 天 a") == [2, 5, -1]
    tokenizer._do_lower_case = True
    assert first_ids(tokenizer, "A 天 a") == [-1, 5, -1]
    tokenizer._token_start = "天"
    assert first_ids(tokenizer, "天") == [5, 5]
    tokenizer._pre_tokenize = lambda text: [text[::-1]]
    assert first_ids(tokenizer, "a天") == [5, 5, -1]
    tokenizer._tokenize = lambda text: ["天", "A"]
    assert first_ids(tokenizer, "x") == [5, 5, 2]


@pytest.mark.parametrize("segment", [None, lambda text: text.split()])
def test_methods_of_bert4keras_may_be_replaced(segment):
    class Letters(Tokenizer):
        def _word_piece_tokenize(self, word):
            return super()._word_piece_tokenize(word) if word == "the" else list(word)

    class Unsegmented(Tokenizer):
        def _tokenize(self, text, pre_tokenize=True):
            return super()._tokenize(text, False)[::-1]

    class Shifted(Tokenizer):
        def encode(self, *arguments, **keywords):
            token_ids, segment_ids = super().encode(*arguments, **keywords)
            return [index + 1 for index in token_ids], segment_ids

    text = "plays the 天"
    plain = first_ids(Tokenizer(VOCABULARY, pre_tokenize=segment), text)
    letters = Letters(VOCABULARY, pre_tokenize=segment)
    assert letters.tokenize(text)[1:-1] == [*"plays", "the", "天"]
    assert first_ids(letters, text) == letters.tokens_to_ids(letters.tokenize(text))
    assert first_ids(Unsegmented(VOCABULARY, pre_tokenize=segment), text) == [plain[0], *plain[-2:0:-1], plain[-1]]
    assert first_ids(Shifted(VOCABULARY, pre_tokenize=segment), text) == [index + 1 for index in plain]


@given(texts)
def test_segmented_ids_are_those_of_the_tokens(text):
    tokenizer = Tokenizer({**VOCABULARY, "今天": 500}, do_lower_case=True, pre_tokenize=lambda text: text.split("a"))
    assert tokenizer.encode(text)[0] == tokenizer.tokens_to_ids(tokenizer.tokenize(text))


def test_errors_of_batches():
    tokenizer = Tokenizer({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "天": 300})
    for arguments, message in (
        ({"maxlen": 1}, "at least 2"),
        ({"maxlen": 2, "second_texts": ["天"]}, "at least 3"),
        ({"maxlen": 1.5}, "positive integer"),
        ({"maxlen": 5, "truncate_from": "middle"}, "'right', 'left' or an integer"),
        ({"pattern": "S*E"}, "pattern"),
        ({"dtype": "int8"}, "dtype.*300"),
    ):
        with pytest.raises(KerasSuError, match=message):
            tokenizer.encode_batch(["天"], **arguments)
    with pytest.raises(KerasSuError, match=r"no '\[CLS\]'"):
        Tokenizer({"[UNK]": 0, "[SEP]": 1}).encode_batch(["a"])
