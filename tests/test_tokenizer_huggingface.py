"""The ids of Hugging Face's BertWordPieceTokenizer, apart from the exceptions that `Tokenizer` documents."""

import sys
import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizer_vocabulary import token_dict
from tokenizers import BertWordPieceTokenizer

from keras_su.tokenizers import Tokenizer

VOCABULARY = token_dict()
OURS = {lower: Tokenizer(VOCABULARY, do_lower_case=lower) for lower in (False, True)}
THEIRS = {lower: BertWordPieceTokenizer(dict(VOCABULARY), lowercase=lower) for lower in (False, True)}


def classed_alike(character):
    """Whether both sides are known to treat the character alike: no documented exception."""
    category = unicodedata.category(character)
    if category in ("Cn", "Co", "Cs") or 0x2B820 <= ord(character) <= 0x2B91F:
        return False
    # Hugging Face's tables are of several ages: take marks, punctuation and controls that are as old as Unicode 3.2.
    young = unicodedata.ucd_3_2_0.category(character) != category
    forms = unicodedata.normalize("NFD", character)
    return not (young and category[0] in "PCM") and character != "\u166d" and (len(forms) == 1 or all(map(classed_alike, forms)))


ALIKE = [chr(code) for code in range(sys.maxunicode + 1) if classed_alike(chr(code))]
FAMILIAR = list("playingunedTHeworld0214 ，。!'[]天气日本カタ한éÉßİ\u0301\u200d\u3000\t\n\0\ufffd😀①")
texts = st.lists(st.one_of(st.sampled_from(FAMILIAR), st.sampled_from(ALIKE)), max_size=40).map("".join)
chinese = st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF), max_size=40)
sentences = st.lists(
    st.one_of(chinese, st.sampled_from(["，", "playing", " The ", "2021", "café", "Hello World! "])), max_size=12
).map("".join)


def documented(text):
    """Whether the text falls under an exception that depends on more than single characters."""
    return (
        "Σ" in text
        or any(len(word) > 100 for word in text.split())
        or any(t in text for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))
    )


@pytest.mark.parametrize("lower", [False, True])
@given(st.one_of(texts, sentences))
def test_same_ids(lower, text):
    assume(not documented(text))
    assert OURS[lower].encode(text)[0] == THEIRS[lower].encode(text).ids


@pytest.mark.parametrize("lower", [False, True])
@given(sentences, sentences)
def test_same_pairs(lower, first, second):
    token_ids, segment_ids = OURS[lower].encode(first, second)
    theirs = THEIRS[lower].encode(first, second)
    assert (token_ids, segment_ids) == (theirs.ids, theirs.type_ids)


@pytest.mark.parametrize("lower", [False, True])
def test_same_ids_for_every_character(lower):
    vocabulary = {
        token: index
        for index, token in enumerate(
            dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b", "b", "ab", *ALIKE])
        )
    }
    ours, theirs = Tokenizer(vocabulary, do_lower_case=lower), BertWordPieceTokenizer(dict(vocabulary), lowercase=lower)
    assert len(ALIKE) > 100_000
    for start in range(0, len(ALIKE), 500):
        text = " ".join(f"a{character}b {character}" for character in ALIKE[start : start + 500] if character != "Σ")
        if ours.encode(text)[0] != theirs.encode(text).ids:
            different = [c for c in ALIKE[start : start + 500] if ours.encode(f"a{c}b {c}")[0] != theirs.encode(f"a{c}b {c}").ids]
            raise AssertionError([(hex(ord(c)), unicodedata.category(c)) for c in different])


def test_same_offsets():
    text = "The café，今天playing 2021年!"
    ours, theirs = OURS[True].offsets(text), THEIRS[True].encode(text).offsets
    assert ours == theirs


def test_documented_exceptions():
    tokenizer = Tokenizer(
        {"[UNK]": 0, "ας": 1, "天": 2, "\ue000": 3, "\U0002b820": 4, "a": 5}, True, token_start=None, token_end=None
    )
    assert tokenizer.encode("\ue000天 ΑΣ天 a\U0002b820")[0] == [3, 2, 1, 2, 5, 4]
    assert Tokenizer({"[UNK]": 0, "a": 1, "##a": 2}, token_start=None, token_end=None).encode("a" * 101)[0] == [1] + [2] * 100
    brackets = OURS[True].tokens_to_ids(["[CLS]", "[", "m", "##a", "##s", "##k", "]", "[SEP]"])
    assert OURS[True].encode("[MASK]")[0] == brackets
    assert Tokenizer(VOCABULARY, True, special_tokens=["[MASK]"]).encode("[MASK]")[0] == THEIRS[True].encode("[MASK]").ids
