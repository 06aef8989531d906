"""The per-character tables against a plain statement of the rules, over all code points and over random texts."""

import sys
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from keras_su.tokenizers import lowercase_and_normalize
from keras_su.tokenizers.text import (
    CJK_RANGES,
    COMPOSED,
    CONTEXTUAL,
    SELF_STANDING,
    is_cjk_character,
    is_punctuation,
    is_space,
    normalize_with_positions,
    words,
)


def plain_normal(text):
    return "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")


def plain_words(text, lower):
    """Google's rules on the whole text at once."""
    spaced = []
    for character in plain_normal(text) if lower else text:
        category = unicodedata.category(character)
        ascii_sign = 33 <= ord(character) <= 47 or 58 <= ord(character) <= 64 or 91 <= ord(character) <= 96
        if (
            ascii_sign
            or 123 <= ord(character) <= 126
            or category[0] == "P"
            or any(a <= ord(character) <= b for a, b in CJK_RANGES)
        ):
            spaced.append(f" {character} ")
        elif character in " \t\n\r" or category == "Zs":
            spaced.append(" ")
        elif category not in ("Cc", "Cf") and character != "\ufffd":
            spaced.append(character)
    return "".join(spaced).split()


# Characters that depend on their neighbours, next to ordinary ones.
tricky = st.sampled_from(
    "aΑςσΣ.'· \u0301\u0345\u0308\u302e\u302f\u1b44\uaa82\U0001d165\U0001d16d\U0001d1bb\u0130한가\ufe0f\u200d天，"
)
texts = st.one_of(st.text(max_size=40), st.text(tricky, max_size=20), st.text(st.characters(max_codepoint=0x600), max_size=40))


@given(texts, st.booleans())
def test_words_follow_the_rules(text, lower):
    assert words(text, lower) == plain_words(text, lower)


def test_every_character_between_letters():
    for code in range(sys.maxunicode + 1):
        if code % 101 and unicodedata.category(chr(code)) in ("Cn", "Co"):  # a million alike: a sample of them will do
            continue
        text = f"a{chr(code)}B"
        for lower in (False, True):
            assert words(text, lower) == plain_words(text, lower), hex(code)


def test_contextual_characters_are_all_listed():
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.category(character) == "Cn":
            continue  # later versions of Unicode may have a character here
        form = unicodedata.normalize("NFD", character.lower())
        moves = any(unicodedata.combining(c) and unicodedata.category(c) != "Mn" for c in form)
        assert bool(CONTEXTUAL.search(character)) == (moves or character == "Σ"), hex(code)


def test_self_standing_characters_are_one_word_everywhere():
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if SELF_STANDING.search(character):
            for lower in (False, True):
                assert len(words(f"a{character}b", lower)) == 3 and len(words(character, lower)[0]) == 1, hex(code)
        else:
            assert not is_cjk_character(character), hex(code)


def test_only_composed_characters_have_another_form_than_their_lower_case():
    for code in range(sys.maxunicode + 1):
        if not COMPOSED.search(chr(code).lower()):
            assert plain_normal(chr(code)) == chr(code).lower(), hex(code)


@given(texts)
def test_lowercase_and_normalize(text):
    normal = lowercase_and_normalize(text)
    assert normal == plain_normal(text)
    if not CONTEXTUAL.search(text):
        assert lowercase_and_normalize(normal) == normal


@given(texts, st.booleans())
def test_positions_lead_back_to_the_character(text, lower):
    normal, positions = normalize_with_positions(text, lower)
    dropped = {c for c in normal if not is_space(c) and unicodedata.category(c) in ("Cc", "Cf")}
    assert not dropped and len(normal) == len(positions)
    whole = plain_normal(text) if lower else text
    assert normal == "".join(c for c in whole if is_space(c) or not (c == "\ufffd" or unicodedata.category(c) in ("Cc", "Cf")))
    for character, position in zip(normal, positions):
        source = text[position]
        assert character in (plain_normal(source) + "ς" * (source == "Σ") if lower else source)


def test_character_classes():
    assert [c for c in map(chr, range(128)) if is_punctuation(c)] == list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
    assert is_punctuation("，") and is_punctuation("—") and not is_punctuation("€") and not is_punctuation("一")
    assert is_cjk_character("一") and is_cjk_character("\U00020bb7") and not is_cjk_character("カ") and not is_cjk_character("한")
    assert is_space("\u3000") and is_space("\xa0") and not is_space("\u200b") and not is_space("\u2028")
