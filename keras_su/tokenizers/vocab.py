"""Vocabulary files: one token per line, and the line number is the token's id."""

import json
import os
import re

from keras_su import errors
from keras_su.tokenizers.paths import existing_file
from keras_su.tokenizers.text import is_cjk_character, is_punctuation


def stem(token):
    """The text of a word piece: without the ``##`` that marks a continuation.

    >>> stem("##ing"), stem("play")
    ('ing', 'play')
    """
    return token[2:] if token.startswith("##") else token


def is_redundant(token):
    """Whether no text ever yields this token: more than one character with an ideograph or punctuation mark among them.

    Continuations of ideographs (``##的``), words that hold one and bracketed specials are redundant.
    """
    return len(token) > 1 and any(is_cjk_character(c) or is_punctuation(c) for c in stem(token))


def load_vocab(dict_path, encoding="utf-8", simplified=False, startswith=None):
    """Read a vocabulary file into ``{token: id}``.

    A line's number is its token's id, whatever the lines before it hold: of equal lines the first keeps the token, blank lines
    name none, and only ``"\\n"`` ends a line (Google's Chinese vocabulary has a line with U+2028). On a line with
    several fields (token, tab or blank, count) the first is the token.

    Args:
        dict_path: path of the file, such as ``vocab.txt``.
        encoding: encoding of the file; a byte order mark is ignored.
        simplified: leave out the tokens that no text ever yields, and number the others anew.
        startswith: with ``simplified``, tokens that come first, in this order. Specials such as ``"[MASK]"`` survive only here.

    Returns:
        ``token_dict``, or with ``simplified`` the pair ``(token_dict, keep_tokens)``: ``keep_tokens`` lists the old id of
        each new one, for ``build_transformer_model(..., keep_tokens=keep_tokens)``.

    Raises:
        KerasSuError: no readable vocabulary at that path, or ``startswith`` names tokens that it lacks.

    Example:
        ```
        token_dict, keep_tokens = load_vocab("vocab.txt", simplified=True, startswith=["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
        ```
    """
    token_dict = _parse(_read(dict_path, encoding))
    if not token_dict:
        raise errors.KerasSuError(f"{os.fspath(dict_path)!r} names no token. Expected a vocabulary file with one token per line.")
    if simplified:
        return _simplify(token_dict, list(startswith or []))
    if startswith is not None:
        raise errors.bad_value("startswith", startswith, "None, or simplified=True beside it")
    return token_dict


def save_vocab(dict_path, token_dict, encoding="utf-8"):
    """Write ``{token: id}`` as a vocabulary file that `load_vocab` reads back unchanged; ids without a token become blank lines.

    The file appears at once, or not at all.

    Raises:
        KerasSuError: two tokens share an id, an id is negative, or a token cannot be written as a line.
    """
    lines = {}
    for token, index in token_dict.items():
        if index in lines:
            raise errors.KerasSuError(
                f"Two tokens have the id {index}: {lines[index]!r} and {token!r}. Expected one token per id."
            )
        if index < 0:
            raise errors.bad_value(f"id of token {token!r}", index, "zero or more")
        if not token or _first_field(token) != token or "\n" in token:
            raise errors.bad_value("token", token, "text without blanks, tabs and line ends, so that it fits on one line")
        lines[index] = token
    text = "".join(lines.get(index, "") + "\n" for index in range(max(lines, default=-1) + 1))
    content = text.encode(encoding)
    temporary = f"{os.fspath(dict_path)}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(content)
        os.replace(temporary, dict_path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _read(path, encoding):
    path = existing_file(os.fspath(path), "vocabulary file")
    with open(path, "rb") as file:
        content = file.read()
    try:
        text = content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise errors.KerasSuError(
            f"{path!r} is not {encoding} text ({error.reason} at byte {error.start}). "
            "Expected a vocabulary file with one token per line; pass encoding= if it is written in another one."
        ) from error
    if _is_json(text):
        raise errors.KerasSuError(f"{path!r} holds JSON. Expected a vocabulary file (vocab.txt) with one token per line.")
    return text


def _is_json(text):
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(text)
    except ValueError:  # a vocabulary may well begin with "[PAD]"
        return False
    return True


def _first_field(line):
    return re.split("[ \t\r]", line.strip(" \t\r"), maxsplit=1)[0]


def _parse(text):
    token_dict = {}
    for number, line in enumerate(text.split("\n")):
        token = _first_field(line)
        if token:
            token_dict.setdefault(token, number)
    return token_dict


def _simplify(token_dict, startswith):
    for token in startswith:
        if token not in token_dict:
            raise errors.KerasSuError(
                f"startswith: the vocabulary has no token {token!r}.{errors.did_you_mean(token, token_dict)} "
                f"It has {len(token_dict)} tokens: {errors.listing(token_dict, 6)}."
            )
    if len(set(startswith)) < len(startswith):
        raise errors.bad_value("startswith", startswith, "each token once")
    pinned = set(startswith)
    ordered = sorted(token_dict, key=token_dict.get)
    tokens = startswith + [token for token in ordered if token not in pinned and not is_redundant(token)]
    return {token: index for index, token in enumerate(tokens)}, [token_dict[token] for token in tokens]
