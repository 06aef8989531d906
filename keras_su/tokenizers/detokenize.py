"""Word pieces back to readable text: no blanks around Chinese, blanks between Western words."""

import re

from keras_su.tokenizers.text import CJK_PUNCTUATION, is_cjk_character, is_punctuation

CONTRACTION = re.compile("' (re|m|s|t|ve|d|ll) ")
CLOSED_UP = re.compile(f"([{re.escape(CJK_PUNCTUATION + '+-/={(<[')}]) ")
DECIMAL_POINT = re.compile(r"(\d\.) (\d)")


def join_pieces(tokens):
    """The text of word pieces, spaced as bert4keras spaces it.

    >>> join_pieces(["今", "天", "play", "##ing", "3", ".", "5", "%", "ok"])
    '今天playing 3.5% ok'
    """
    text = ""
    for token in tokens:
        if token.startswith("##"):
            text += token[2:]
        elif len(token) == 1 and is_cjk_character(token):
            text += token
        elif len(token) == 1 and is_punctuation(token):
            text += token + " "
        elif text and is_cjk_character(text[-1]):
            text += token
        else:
            text += " " + token
    text = re.sub(" +", " ", text)
    text = CONTRACTION.sub(r"'\1 ", text)
    text = CLOSED_UP.sub(r"\1", text)
    text = DECIMAL_POINT.sub(r"\1\2", text)
    return text.strip()
