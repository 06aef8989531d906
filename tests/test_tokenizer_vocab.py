"""Vocabulary files: ids are line numbers, whatever the lines hold."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_su.errors import KerasSuError
from keras_su.tokenizers import Tokenizer, load_vocab, save_vocab


def write(folder, text, name="vocab.txt", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return str(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\n", {"a": 0, "b": 1}),
        ("a\nb", {"a": 0, "b": 1}),
        ("a\r\nb\r\n", {"a": 0, "b": 1}),
        ("a\nb\na\nc\n", {"a": 0, "b": 1, "c": 3}),  # a repeated line keeps the first id and shifts nothing
        ("a\n\nb\n", {"a": 0, "b": 2}),
        ("a\n\u2028\nb\n", {"a": 0, "\u2028": 1, "b": 2}),  # a line of Google's Chinese vocabulary
        ("a\n\x85\n\x0b\n\u3000\n\xa0\nb\n", {"a": 0, "\x85": 1, "\x0b": 2, "\u3000": 3, "\xa0": 4, "b": 5}),
        ("a\t17\nb 4\n", {"a": 0, "b": 1}),
        ("\ufeffa\nb\n", {"a": 0, "b": 1}),
        ("[PAD]\n{\n[\n", {"[PAD]": 0, "{": 1, "[": 2}),
    ],
)
def test_ids_are_line_numbers(tmp_path, text, expected):
    assert load_vocab(write(tmp_path, text)) == expected


def test_encoding(tmp_path):
    assert load_vocab(write(tmp_path, "天\n气\n", encoding="gbk"), encoding="gbk") == {"天": 0, "气": 1}
    with pytest.raises(KerasSuError, match="utf-8 text .*encoding="):
        load_vocab(write(tmp_path, "天\n气\n", encoding="gbk"))


def test_simplified_keeps_what_a_text_can_yield(tmp_path):
    tokens = ["[PAD]", "[unused1]", "天", "##天", "日本", "play", "##ing", "##,", ",", "[UNK]", "[MASK]", "a", "a", "don't"]
    path = write(tmp_path, "\n".join(tokens) + "\n")
    token_dict, keep_tokens = load_vocab(path, simplified=True, startswith=["[UNK]", "[PAD]"])
    assert token_dict == {t: i for i, t in enumerate(["[UNK]", "[PAD]", "天", "play", "##ing", ",", "a"])}
    assert [tokens[i] for i in keep_tokens] == list(token_dict)
    assert load_vocab(path, simplified=True)[0] == {t: i for i, t in enumerate(["天", "play", "##ing", ",", "a"])}


def test_simplified_vocabulary_gives_the_same_tokens(tmp_path):
    path = write(tmp_path, "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "##天", "天", "a", "##b"]))
    full = Tokenizer(path)
    token_dict, keep_tokens = load_vocab(path, simplified=True, startswith=["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    small = Tokenizer(token_dict)
    text = "天ab天 x"
    assert small.tokenize(text) == full.tokenize(text)
    assert [keep_tokens[i] for i in small.encode(text)[0]] == full.encode(text)[0]


def test_errors_say_what_lies_there(tmp_path):
    path = write(tmp_path, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n")
    with pytest.raises(KerasSuError, match=r"no token '\[CLS'.*Did you mean '\[CLS\]'"):
        load_vocab(path, simplified=True, startswith=["[CLS"])
    with pytest.raises(KerasSuError, match="each token once"):
        load_vocab(path, simplified=True, startswith=["[CLS]", "[CLS]"])
    with pytest.raises(KerasSuError, match="simplified=True"):
        load_vocab(path, startswith=["[CLS]"])
    with pytest.raises(KerasSuError, match="no vocabulary file.*Did you mean 'vocab.txt'"):
        load_vocab(str(tmp_path / "vocabs.txt"))
    with pytest.raises(KerasSuError, match="no vocabulary file"):
        load_vocab(str(tmp_path / "nowhere" / "vocab.txt"))
    with pytest.raises(KerasSuError, match=r"is a folder.*vocab\.txt"):
        load_vocab(str(tmp_path))
    with pytest.raises(KerasSuError, match="JSON"):
        load_vocab(write(tmp_path, json.dumps({"[PAD]": 0}), "vocab.json"))
    with pytest.raises(KerasSuError, match="names no token"):
        load_vocab(write(tmp_path, "\n \n", "blank.txt"))


tokens = st.text(min_size=1, max_size=6).filter(lambda t: not set(t) & set(" \t\r\n\ufeff") and t.isprintable())


@given(st.lists(tokens, min_size=1, max_size=30, unique=True), st.randoms(use_true_random=False))
def test_save_and_load(tmp_path_factory, names, random):
    ids = sorted(random.sample(range(2 * len(names)), len(names)))
    path = str(tmp_path_factory.mktemp("vocab") / "vocab.txt")
    expected = dict(zip(names, ids))
    save_vocab(path, expected)
    assert load_vocab(path) == expected


def test_save_refuses_what_would_not_come_back(tmp_path):
    path = tmp_path / "vocab.txt"
    for token_dict, message in (
        ({"a": 0, "b": 0}, "'a' and 'b'"),
        ({"a": -1}, "zero or more"),
        ({"a b": 0}, "one line"),
        ({"a\nb": 0}, "one line"),
        ({"": 0}, "one line"),
    ):
        with pytest.raises(KerasSuError, match=message):
            save_vocab(path, token_dict)
    with pytest.raises(UnicodeEncodeError):
        save_vocab(path, {"天": 0}, encoding="ascii")
    assert list(tmp_path.iterdir()) == []
    save_vocab(path, {"a": 0})
    assert [p.name for p in tmp_path.iterdir()] == ["vocab.txt"]
