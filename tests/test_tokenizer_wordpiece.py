"""Pieces, ids, decoding: the rules of bert4keras' Tokenizer."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_vocabulary import token_dict

from keras_su.errors import KerasSuError
from keras_su.tokenizers import Tokenizer, pieces, save_vocab
from keras_su.tokenizers.text import words

VOCABULARY = token_dict()
CASED, LOWER = Tokenizer(VOCABULARY), Tokenizer(VOCABULARY, do_lower_case=True)
mixed = st.text(
    st.one_of(
        st.sampled_from(list("abplyingunedTHd0214，。!' 天气日本的カタ한éÉΣ\u0301")), st.characters(exclude_categories=["Cs"])
    )
)


def greedy(word, vocabulary, maxlen=200):
    """Longest match first, by brute force."""
    if len(word) > maxlen:
        return [word]
    found, rest, mark = [], word, ""
    while rest:
        fitting = [mark + rest[:n] for n in range(1, len(rest) + 1) if mark + rest[:n] in vocabulary]
        if not fitting:
            return [word]
        found.append(max(fitting, key=len))
        rest, mark = rest[len(found[-1]) - len(mark) :], "##"
    return found


@given(mixed, st.booleans())
def test_pieces_are_the_greedy_ones(text, lower):
    tokenizer = LOWER if lower else CASED
    expected = [piece for word in words(text, lower) for piece in greedy(word, VOCABULARY)]
    assert tokenizer.tokenize(text) == ["[CLS]", *expected, "[SEP]"]
    assert tokenizer._tokenize(text) == expected
    assert tokenizer.encode(text)[0] == [VOCABULARY.get(t, VOCABULARY["[UNK]"]) for t in ["[CLS]", *expected, "[SEP]"]]


def test_a_text_is_normalized_once():
    # After the first time the two marks are neighbours (U+FE00 between them is gone), and a second time would exchange them.
    vocabulary = {token: index for index, token in enumerate(["[UNK]", "\u302e\U0001d165", "\U0001d165\u302e"])}
    tokenizer = Tokenizer(vocabulary, do_lower_case=True, token_start=None, token_end=None)
    text = "\u302e\ufe00\U0001d165"
    assert tokenizer.tokenize(text) == ["\u302e\U0001d165"] and tokenizer.encode(text)[0] == [1]
    assert tokenizer.rematch(text, tokenizer.tokenize(text)) == [[0, 2]]


def test_examples():
    assert CASED._tokenize("unplayable Hello世界") == ["un", "##p", "##l", "##a", "##y", "##able", "Hello", "世", "界"]
    assert LOWER._tokenize("The CAFÉ plays 2021年") == ["the", "c", "##a", "##f", "##e", "play", "##s", "20", "##21", "年"]
    assert CASED._tokenize("[MASK] 天") == ["[", "M", "##A", "##S", "##K", "]", "天"]
    assert CASED._tokenize("quiz 7") == ["quiz", "7"]  # no q in the vocabulary: the word stays raw
    assert CASED.encode("quiz 7")[0][1:-1] == [VOCABULARY["[UNK]"]] * 2
    assert CASED._tokenize("a\u200bb\x00c\ufffdd\u00ade") == ["a", "##b", "##c", "##d", "##e"]


def test_long_words_are_not_cut():
    assert Tokenizer(VOCABULARY, word_maxlen=4)._tokenize("aaaa aaaaa") == ["a", "##a", "##a", "##a", "aaaaa"]
    assert CASED._tokenize("a" * 201) == ["a" * 201]


def test_the_memory_of_words_is_bounded(monkeypatch):
    monkeypatch.setattr(pieces, "CACHED_WORDS", 10)
    tokenizer = Tokenizer(VOCABULARY)
    many = " ".join(f"a{n}" for n in range(1000))
    assert tokenizer.encode(many)[0] == tokenizer.tokens_to_ids(tokenizer.tokenize(many))
    memory = tokenizer._remembered
    assert all(0 < len(d) <= 10 for d in (memory.pieces, memory.text_ids.of_runs, memory.text_ids.of_runs.word_ids))


def test_special_ids_and_public_names():
    tokenizer = Tokenizer({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 7})
    assert (tokenizer._token_pad_id, tokenizer._token_unk_id, tokenizer._token_start_id, tokenizer._token_end_id) == (0, 1, 2, 3)
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.start_id, tokenizer.end_id, tokenizer.mask_id) == (0, 1, 2, 3, None)
    assert tokenizer._vocab_size == tokenizer.vocab_size == 8
    tokenizer._token_end_id = 5
    tokenizer.mask_id = 6
    tokenizer._vocab_size = 9
    assert (tokenizer.end_id, tokenizer._token_mask_id, tokenizer.vocab_size) == (5, 6, 9)


def test_changes_from_outside_take_effect():
    tokenizer = Tokenizer({"[UNK]": 0, "a": 1}, token_start=None, token_end=None)
    assert tokenizer.encode("a 天 b")[0] == [1, 0, 0]
    tokenizer._token_unk_id = 5
    assert tokenizer.encode("a 天 b")[0] == [1, 5, 5]
    tokenizer._token_dict["天"] = 9
    assert tokenizer.encode("a 天 b")[0] == [1, 9, 5] and tokenizer.tokenize("a 天 b") == ["a", "天", "b"]


def test_without_an_unknown_token():
    tokenizer = Tokenizer({"[CLS]": 0, "[SEP]": 1, "a": 2})
    assert tokenizer.encode("a")[0] == [0, 2, 1]
    for text in ("b", "天"):
        with pytest.raises(KerasSuError, match=rf"{text}.*unk_id"):
            tokenizer.encode(text)
    tokenizer.unk_id = 0
    assert tokenizer.encode("b")[0] == [0, 0, 1]


def test_subclasses_are_heard():
    class Reversed(Tokenizer):
        def _tokenize(self, text):
            return super()._tokenize(text)[::-1]

    class Shifted(Tokenizer):
        def token_to_id(self, token):
            return super().token_to_id(token) + 100

    class Shouting(Tokenizer):
        def tokenize(self, text, maxlen=None):
            return [*super().tokenize(text), "!"]

    plain = CASED.encode("a 天")[0]
    assert Reversed(VOCABULARY).encode("a 天")[0] == [plain[0], plain[2], plain[1], plain[3]]
    assert Shifted(VOCABULARY).encode("a 天")[0] == [i + 100 for i in plain]
    assert Shouting(VOCABULARY).encode("a 天")[0] == [*plain, VOCABULARY["!"]]


def test_pre_tokenize_keeps_words_of_the_vocabulary():
    vocabulary = {t: i for i, t in enumerate(["[UNK]", "日本", "日", "人", "日本人", "new york", "y"])}
    tokenizer = Tokenizer(
        vocabulary, do_lower_case=True, pre_tokenize=lambda text: text.split("|"), token_start=None, token_end=None
    )
    assert tokenizer.tokenize("日本|人|日本人|人日|New York|Y Y") == ["日本", "人", "日本人", "人", "日", "new york", "y", "y"]
    assert tokenizer.encode("日本|人")[0] == [1, 3]
    assert tokenizer.rematch("日本|人日", ["日本", "人", "日"]) == [[0, 1], [3], [4]]
    with pytest.raises(KerasSuError, match="pre_tokenize"):
        Tokenizer(vocabulary, pre_tokenize="jieba")


def test_token_translate():
    tokenizer = Tokenizer(VOCABULARY, token_translate={"天": "[MASK]", "##ing": "##ed"})
    assert tokenizer.tokenize("天playing") == ["[CLS]", "[MASK]", "play", "##ed", "[SEP]"]
    assert tokenizer.encode("天playing")[0] == CASED.tokens_to_ids(["[CLS]", "[MASK]", "play", "##ed", "[SEP]"])


def test_special_tokens_inside_a_text():
    tokenizer = Tokenizer(VOCABULARY, do_lower_case=True, special_tokens=["[MASK]", "[SEP]"])
    text = "天[MASK]a[mask][SEP]"
    tokens = ["天", "[MASK]", "a", "[", "m", "##a", "##s", "##k", "]", "[SEP]"]
    assert tokenizer._tokenize(text) == tokens
    assert tokenizer.encode(text)[0] == tokenizer.tokens_to_ids(["[CLS]", *tokens, "[SEP]"])
    assert [text[a:b] for a, b in tokenizer.offsets(text)[1:-1]] == ["天", "[MASK]", "a", "[", *"mask", "]", "[SEP]"]
    with pytest.raises(KerasSuError, match=r"'\[MASKS\]'.*Did you mean '\[MASK\]'"):
        Tokenizer(VOCABULARY, special_tokens=["[MASKS]"])


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["今", "天", "play", "##ing"], "今天playing"),
        (["Hello", "World", "!"], "Hello World!"),
        (["[CLS]", "it", "'", "s", "3", ".", "14", "[SEP]"], "it's 3.14"),
        (["a", ",", "b", "。", "c", "-", "d"], "a, b。c-d"),
        (["《", "天", "》", "(", "a", ")"], "《天》(a)"),
        (["##"], ""),
        (["##", "天"], "天"),
        ([], ""),
    ],
)
def test_decode(tokens, text):
    assert CASED.decode([], tokens=tokens) == text


def test_decode_takes_numpy_and_refuses_ids_out_of_range():
    ids = np.array(CASED.encode("今天playing")[0], dtype="int64")
    assert CASED.decode(ids) == CASED.decode(list(ids)) == CASED.decode(ids.tolist()) == "今天playing"
    assert CASED.id_to_token(np.int32(2)) == "[CLS]" and CASED.ids_to_tokens(ids)[1] == "今"
    for wrong, message in ((CASED.vocab_size, "0 to"), (-1, "0 to"), (1.5, "an integer"), (None, "an integer")):
        with pytest.raises(KerasSuError, match=message):
            CASED.decode([1, wrong])


def test_ids_of_repeated_lines_decode_to_nothing(tmp_path):
    (tmp_path / "vocab.txt").write_text("[UNK]\na\na\n\nb\n", encoding="utf-8")
    tokenizer = Tokenizer(tmp_path / "vocab.txt")
    assert tokenizer.vocab_size == 5 and tokenizer.ids_to_tokens([1, 2, 3, 4]) == ["a", "[UNK]", "[UNK]", "b"]


@given(st.lists(st.sampled_from(["今", "天", "play", "the", "20", "，"]), min_size=1, max_size=12))
def test_decoded_text_has_the_same_ids(tokens):
    ids = CASED.tokens_to_ids(tokens)
    again = CASED.encode(CASED.decode(ids))[0][1:-1]
    assert CASED.decode(again) == CASED.decode(ids)
    if all(len(t) == 1 or t == tokens[0] for t in tokens[1:]) and len(tokens[0]) == 1:
        assert again == ids


@pytest.mark.parametrize("lower", [False, True])
def test_pickle(lower):
    tokenizer = Tokenizer(VOCABULARY, do_lower_case=lower, special_tokens=["[MASK]"])
    tokenizer.encode("天 playing")
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy.encode("The 天[MASK] playing") == tokenizer.encode("The 天[MASK] playing")
    assert pickle.loads(pickle.dumps(LOWER)).encode("天 playing") == LOWER.encode("天 playing")


def test_folders_of_models(tmp_path):
    save_vocab(tmp_path / "vocab.txt", VOCABULARY)
    assert not Tokenizer(tmp_path)._do_lower_case
    config = tmp_path / "tokenizer_config.json"
    for content, lower in (('{"do_lower_case": false}', False), ('{"do_lower_case": true}', True), ("{}", True)):
        config.write_text(content)
        assert Tokenizer(str(tmp_path))._do_lower_case is lower
        assert Tokenizer(str(tmp_path), do_lower_case=not lower)._do_lower_case is not lower
        assert not Tokenizer(str(tmp_path / "vocab.txt"))._do_lower_case
    config.write_text('{"tokenize_chinese_chars": false}')
    with pytest.raises(KerasSuError, match="tokenize_chinese_chars"):
        Tokenizer(tmp_path)


def test_wrong_vocabularies(tmp_path):
    for wrong in ({}, None, 5, ["[PAD]"]):
        with pytest.raises(KerasSuError, match="token_dict"):
            Tokenizer(wrong)
    with pytest.raises(KerasSuError, match="is a folder"):
        Tokenizer(tmp_path)
    with pytest.raises(KerasSuError, match="no vocabulary file"):
        Tokenizer(str(tmp_path / "vocab.txt"))


def test_helpers_that_scripts_use():
    assert Tokenizer.stem("##ing") == "ing" and CASED.stem("天") == "天"
    assert CASED._is_special("[CLS]") and not CASED._is_special("[") and not CASED._is_special("")
    assert Tokenizer._is_punctuation("，") and Tokenizer._is_cjk_character("天") and Tokenizer._is_space("\t")
    assert Tokenizer._is_control("\u200b") and Tokenizer._is_redundant("##天") and "，" in Tokenizer._cjk_punctuation()
