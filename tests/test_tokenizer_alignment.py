"""Where tokens stand in their text: `rematch` and `offsets` under everything that lower-casing and NFD do to lengths."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from tokenizer_vocabulary import token_dict

from keras_su.tokenizers import Tokenizer
from keras_su.tokenizers.alignment import align
from keras_su.tokenizers.text import lowercase_and_normalize

VOCABULARY = token_dict()
CASED, LOWER = Tokenizer(VOCABULARY), Tokenizer(VOCABULARY, do_lower_case=True)
difficult = st.sampled_from(
    list("aBdéÉeİıßẞΣςΩσ天日，[]'. \n\t\u3000\u00a0\u2028\u200d\u200b\u00ad\ufe0f\ufffd\0")
    + [
        "한",
        "가",
        "が",
        "ガ",
        "ｈＥ",
        "ⅷ",
        "Ⅷ",
        "ﬁ",
        "😀",
        "👨\u200d👩\u200d👧",
        "❤\ufe0f",
        "e\u0301",
        "\u0308",
        "\U00020bb7",
        "\u302e\u1b44",
        "playing",
        "[MASK]",
        "##ing",
    ]
)
texts = st.one_of(st.lists(difficult, max_size=25).map("".join), st.text(max_size=40))


def normal(text, lower):
    text = lowercase_and_normalize(text) if lower else text
    return "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cf") and c != "\ufffd")


@given(texts, st.booleans())
def test_every_token_is_found_in_order(text, lower):
    tokenizer = LOWER if lower else CASED
    tokens = tokenizer._tokenize(text)
    offsets = tokenizer.offsets(text)
    assert offsets[0] == offsets[-1] == (0, 0) and len(offsets) == len(tokens) + 2
    previous = 0
    for token, (start, stop) in zip(tokens, offsets[1:-1]):
        assert 0 <= start < stop <= len(text)
        piece = tokenizer.stem(token)
        if "\u302e" not in text and "\u1b44" not in text:  # marks that NFD exchanges stand the other way round
            assert start >= previous - 1  # a syllable or a ligature may be shared by two pieces
            previous = stop
            lowered = normal(text[start:stop], lower)
            assert piece in lowered or piece == lowered.replace("σ", "ς") or "Σ" in text
    covered = {position for start, stop in offsets for position in range(start, stop)}
    for position, character in enumerate(text):  # and every visible character belongs to a token
        if normal(character, lower).strip():
            assert position in covered


@given(texts, st.booleans())
def test_rematch_counts_in_the_lowered_text(text, lower):
    tokenizer = LOWER if lower else CASED
    tokens = tokenizer.tokenize(text)
    mapping = tokenizer.rematch(text, tokens)
    lowered = text.lower() if lower else text
    assert len(mapping) == len(tokens) and mapping[0] == mapping[-1] == []
    for token, positions in zip(tokens[1:-1], mapping[1:-1]):
        assert positions and all(0 <= p < len(lowered) for p in positions)
        if "\u0130" not in text:
            start, stop = min(positions), max(positions) + 1
            assert len(lowered) == len(text)
            assert len(positions) == len(tokenizer.stem(token))
            assert set(positions) <= set(range(start, stop))


@given(texts, st.lists(st.one_of(st.text(max_size=4), st.sampled_from(list(VOCABULARY))), max_size=12), st.booleans())
def test_rematch_never_raises(text, tokens, lower):
    tokenizer = LOWER if lower else CASED
    mapping = tokenizer.rematch(text, tokens)
    lowered = text.lower() if lower else text
    assert len(mapping) == len(tokens)
    assert all(0 <= p < len(lowered) for positions in mapping for p in positions)
    assert all(not positions for token, positions in zip(tokens, mapping) if tokenizer._is_special(token))


def test_examples():
    assert CASED.rematch("playing 天", ["[CLS]", "play", "##ing", "天", "[SEP]"]) == [[], [0, 1, 2, 3], [4, 5, 6], [8], []]
    assert LOWER.rematch("한국", ["\u1112", "##\u1161\u11ab"]) == [[0], [0, 0]]
    assert CASED.rematch("👨\u200d👩天", ["👨👩", "天"]) == [[0, 2], [3]]
    assert CASED.rematch("[CLS] a", ["[CLS]", "[", "CLS", "]", "a", "[SEP]"]) == [[], [0], [1, 2, 3], [4], [6], []]
    assert LOWER.rematch("ab", ["x", "b", "a", "##b"]) == [[], [1], [], []]


def test_growing_characters():
    text = "İa İb"
    assert LOWER._tokenize(text) == ["i", "##a", "i", "##b"]
    assert LOWER.offsets(text) == [(0, 0), (0, 1), (1, 2), (3, 4), (4, 5), (0, 0)]
    assert LOWER.rematch(text, LOWER.tokenize(text)) == [[], [0], [2], [4], [6], []]  # as bert4keras: in "i̇a i̇b"
    assert LOWER.offsets("ΑΣ天") == [(0, 0), (0, 2), (2, 3), (0, 0)]  # the word "ας" is unknown and whole


def test_marks_in_canonical_order():
    text = "a\u1b44\u302e天"  # NFD puts U+1B44 (class 9) before U+302E (class 224); here they stand so already
    swapped = "a\u302e\u1b44天"
    tokens = Tokenizer({"[UNK]": 0}, do_lower_case=True)._tokenize(text)
    assert Tokenizer({"[UNK]": 0}, do_lower_case=True)._tokenize(swapped) == tokens
    assert align(text, tokens, lower=True) == [[0, 1, 2], [3]]
    assert align(swapped, tokens, lower=True) == [[0, 2, 1], [3]]


def test_translated_tokens_keep_their_place():
    tokenizer = Tokenizer(VOCABULARY, token_translate={"天": "好"})
    assert tokenizer.rematch("a天b", tokenizer.tokenize("a天b")) == [[], [0], [1], [2], []]
    assert tokenizer.offsets("a天b") == [(0, 0), (0, 1), (1, 2), (2, 3), (0, 0)]
