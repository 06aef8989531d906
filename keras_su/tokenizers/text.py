"""Unicode rules of BERT's text preparation, and the tables that apply them one code point at a time.

Lower-casing, canonical decomposition (NFD), removal of accents and classification all look at a single code point, so each rule
is computed once per character and remembered: ``str.translate`` then prepares a whole text. Two things do look at neighbours,
the final sigma of Greek and the order of some combining marks; texts that hold them take the plain road first (`CONTEXTUAL`).

The rules are those of google-research/bert (`tokenization.py`) as bert4keras applies them. Private-use and unassigned
code points stay (Hugging Face's tokenizers drop them).
"""

import functools
import re
import unicodedata

# Ideographs that stand alone as words; Kana, Hangul and punctuation do not belong here.
CJK_RANGES = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)

# Punctuation that is set without a space after it (zhon's list of Chinese punctuation).
CJK_PUNCTUATION = (
    "＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟｠｢｣､\u3000、〃〈〉《》「」『』【】〔〕〖〗〘〙〚〛〜〝〞〟〰〾〿"
    "–—‘’‛“”„‟…‧﹏﹑﹔·！？｡。"
)

# Characters whose normal form depends on their neighbours: capital sigma (lower-cased by position in its word), and
# everything that decomposes into a mark that is reordered among other marks but is no accent (category Mc, class above 0).
# Those of Unicode 18: this Python may not know all of them yet, and the next one should not be surprised.
CONTEXTUAL = re.compile(
    "[\u03a3\u1715\u1734\u1b44\u1baa\u1bf2\u1bf3\u302e\u302f\ua953\ua9c0\U000111c0\U00011235\U0001134d\U000113cf\U000116b6"
    "\U0001193d\U00011f41\U00016ff0\U00016ff1\U0001d15e-\U0001d166\U0001d16d-\U0001d172\U0001d1bb-\U0001d1c0"
    "\U0001d250-\U0001d252\U0001d25f\U0001d280\U0001d281]"
)

# Characters that may decompose or be accents: all but ASCII, ideographs, and the usual Chinese punctuation and full-width forms.
COMPOSED = re.compile("[^\0-\x7f\u2010-\u2027\u3000-\u3029\u3400-\u4dbf\u4e00-\u9fff\uff01-\uff5e]")

# Characters that are words of their own wherever they stand: ideographs, the usual Chinese punctuation, ASCII signs.
_ALONE = "".join(f"{chr(a)}-{chr(b)}" for a, b in CJK_RANGES) + "，。！？：；、“”‘’《》（）…—【】「」" + r"!-/:-@\[-`{-~"
SELF_STANDING = re.compile(f"[{_ALONE}]")

# Runs of them and of blanks, with which `APART.split(text)` fills every second place.
APART = re.compile(f"([{_ALONE} ]+)")


def is_cjk_character(character):
    """Whether the character is a Chinese ideograph, which BERT makes a word of its own."""
    code = ord(character)
    return any(first <= code <= last for first, last in CJK_RANGES)


def is_punctuation(character):
    """Whether the character separates words: Unicode punctuation and every ASCII sign (``$`` and ``+`` as well)."""
    if character.isascii():
        return character.isprintable() and not character.isalnum() and character != " "
    return unicodedata.category(character)[0] == "P"


def is_space(character):
    """Whether the character separates words without being one: blank, tab, line ends and category Zs."""
    return character in " \n\r\t" or unicodedata.category(character) == "Zs"


def is_control(character):
    """Whether the character is invisible: categories Cc and Cf (tabs and line ends too: ask `is_space` first)."""
    return unicodedata.category(character) in ("Cc", "Cf")


def lowercase_and_normalize(text):
    """Lower-case, decompose (NFD) and drop the accents (category Mn).

    Hangul syllables decompose into their letters and Japanese voiced Kana lose their marks, as the vocabularies of
    lower-cased BERT models expect.

    >>> lowercase_and_normalize("Café İstanbul")
    'cafe istanbul'
    """
    text = text.lower()
    if not COMPOSED.search(text):
        return text
    return "".join(character for character in unicodedata.normalize("NFD", text) if unicodedata.category(character) != "Mn")


def visible(characters):
    """The characters without control characters, NUL and the replacement character U+FFFD; white space stays."""
    return "".join(c for c in characters if is_space(c) or not (c in "\0\ufffd" or is_control(c)))


class NormalForms(dict):
    """Code point -> its normal form, computed when first asked for."""

    def __init__(self, lower):
        super().__init__()
        self.lower = lower

    def __missing__(self, code):
        character = chr(code)
        form = self[code] = visible(lowercase_and_normalize(character) if self.lower else character)
        return form


class SpacedForms(dict):
    """Code point -> its normal form with blanks around every ideograph and punctuation mark, for ``str.translate``."""

    def __init__(self, normal):
        super().__init__()
        self.normal = normal

    def __missing__(self, code):
        form = self[code] = "".join(
            f" {c} " if is_punctuation(c) or is_cjk_character(c) else " " if is_space(c) else c for c in self.normal[code]
        )
        return form


@functools.cache
def normal_forms(lower):
    """The shared `NormalForms` table, with or without lower-casing."""
    return NormalForms(lower)


@functools.cache
def spaced_forms(lower):
    """The shared `SpacedForms` table, with or without lower-casing."""
    return SpacedForms(normal_forms(lower))


def words(text, lower):
    """The words of a text: runs between white space, with every ideograph and punctuation mark on its own.

    >>> words("Don't 生气!", lower=True)
    ['don', "'", 't', '生', '气', '!']
    """
    if lower and CONTEXTUAL.search(text):
        text = lowercase_and_normalize(text)  # once only: a second time could change it again
    return text.translate(spaced_forms(lower)).split()


def normalize_with_positions(text, lower):
    """The normal form of a text, and for each of its characters the position in ``text`` that it came from.

    >>> normalize_with_positions("É\\u200bß가", lower=True)
    ('eß\u1100\u1161', [0, 2, 3, 3])
    """
    if lower and CONTEXTUAL.search(text):
        forms, positions = _ordered(text)
        forms = [visible(form) for form in forms]
    else:
        table = normal_forms(lower)
        forms, positions = [table[ord(character)] for character in text], range(len(text))
    return "".join(forms), [position for position, form in zip(positions, forms) for _ in form]


def _ordered(text):
    """Characters of `lowercase_and_normalize` with the positions they came from, in the order that NFD gives them."""
    lowered, pairs, start = text.lower(), [], 0
    for position, character in enumerate(text):
        stop = start + len(character.lower())  # the length does not depend on the neighbours
        pairs += [(c, position) for c in unicodedata.normalize("NFD", lowered[start:stop])]
        start = stop
    ordered, run = [], []
    for pair in pairs:
        if unicodedata.combining(pair[0]):
            run.append(pair)
        else:
            ordered += sorted(run, key=lambda mark: unicodedata.combining(mark[0])) + [pair]
            run = []
    ordered += sorted(run, key=lambda mark: unicodedata.combining(mark[0]))
    kept = [(c, position) for c, position in ordered if unicodedata.category(c) != "Mn"]
    return [c for c, _ in kept], [position for _, position in kept]
