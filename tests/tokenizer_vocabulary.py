"""A small vocabulary for the tokenizer tests: special tokens, signs, letters as starts and continuations, some words."""

import string

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIGNS = list("，。！？、“”《》·…—,.!?'-+=%#[]()/<>") + ["\uff5e", "①", "½", "™"]
LETTERS = [c for c in string.ascii_letters + string.digits + "éßωσςѐ" if c not in "qQzZ7"]
WORDS = ["play", "##ing", "##ed", "un", "##able", "the", "The", "Hello", "World", "20", "##21", "##24", "café", "日本", "##的"]
IDEOGRAPHS = list("今天气真好我爱北京安门的是不了在人有中大国上") + ["\U00020bb7"]
OTHERS = ["カ", "##タ", "か", "\u1112", "##\u1161", "##\u11ab", "😀", "ⅷ", "ｈ", "##ｅ", "\u0308", "ñ"]


def token_list():
    """The tokens in the order of their ids."""
    tokens = SPECIALS + SIGNS + LETTERS + ["##" + letter for letter in LETTERS] + WORDS + IDEOGRAPHS + OTHERS
    return list(dict.fromkeys(tokens))


def token_dict():
    """``{token: id}``."""
    return {token: index for index, token in enumerate(token_list())}
