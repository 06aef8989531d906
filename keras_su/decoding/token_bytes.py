"""What each token of a vocabulary writes, as bytes: grammars are about text, models about ids."""

import json
import re

from keras_su.errors import bad_value

_BRACKETED = re.compile(r"\[[^\[\]]+\]")  # [CLS], [unused7]
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def token_bytes(vocabulary):
    """The bytes that every id writes; empty for ids without text, such as ``[CLS]``.

    Args:
        vocabulary: a tokenizer of this package, or the texts of the tokens in the order of ids, each ``str`` or ``bytes``. For
            a ``Tokenizer`` (WordPiece) a piece writes its characters, without ``##``: blanks between words are not part of a
            vocabulary, so the text of a grammar has none. In other vocabularies blanks are part of the tokens, often of the
            first one of a text as well.

    Returns:
        list of ``bytes``, one for each id.

    Raises:
        KerasSuError: something else was given.

    >>> token_bytes(["play", "天", b"\\xe5"])
    [b'play', b'\\xe5\\xa4\\xa9', b'\\xe5']
    """
    if isinstance(vocabulary, (list, tuple)) and all(isinstance(token, (str, bytes)) for token in vocabulary):
        return [token if isinstance(token, bytes) else token.encode() for token in vocabulary]
    if not hasattr(vocabulary, "ids_to_tokens") or not hasattr(vocabulary, "vocab_size"):
        raise bad_value("vocabulary", vocabulary, "a tokenizer, or a list of str or bytes in the order of ids")
    ids = range(vocabulary.vocab_size)
    silent = {getattr(vocabulary, f"{role}_id", None) for role in ("pad", "unk", "mask", "start", "end")}
    write = _writer(vocabulary, silent)
    return [b"" if index in silent else write(token) for index, token in zip(ids, _tokens(vocabulary, ids))]


def _tokens(tokenizer, ids):
    """Tokens of ids; empty where a vocabulary has gaps."""
    known = getattr(tokenizer, "_token_dict_inv", None)
    return tokenizer.ids_to_tokens(ids) if known is None else [known.get(index, "") for index in ids]


def _writer(tokenizer, silent):
    """The function from a token's name to what it writes; ids that write nothing are added to ``silent``."""
    if hasattr(tokenizer, "sp_model"):
        model = tokenizer.sp_model
        kinds = (model.is_control, model.is_unknown, model.is_unused)
        silent.update(index for index in range(tokenizer.vocab_size) if any(is_kind(index) for is_kind in kinds))
        return _sentencepiece
    if not hasattr(tokenizer, "tokenizer"):
        return _word_piece
    description = json.loads(tokenizer.tokenizer.to_str())
    added = description.get("added_tokens") or []
    silent.update(entry["id"] for entry in added if entry.get("special"))
    literal = {entry["content"] for entry in added}
    decoder = description.get("decoder") or {}
    types = {part["type"] for part in decoder.get("decoders", [decoder]) if "type" in part}
    write = _byte_level if "ByteLevel" in types else _word_piece if "WordPiece" in types else _sentencepiece
    return lambda token: token.encode() if token in literal else write(token)


def _word_piece(token):
    return b"" if _BRACKETED.fullmatch(token) else token.removeprefix("##").encode()


def _sentencepiece(token):
    byte = _BYTE.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else token.replace("\u2581", " ").encode()


def _disguises():
    """Byte-level vocabularies show every byte as a visible character: ``{character: byte}``.

    Bytes that are visible in Latin-1 stand for themselves, the others, in order, for the characters from 256 on. The soft hyphen
    (173) counts as invisible.
    """
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = sorted(set(range(256)) - set(visible))
    return {chr(byte): byte for byte in visible} | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTES = _disguises()


def _byte_level(token):
    return bytes(_BYTES[character] for character in token) if all(c in _BYTES for c in token) else token.encode()
