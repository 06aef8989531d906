"""Finding the files of a tokenizer, with errors that say what lies there instead."""

import json
import os

from keras_su import errors


def existing_file(path, kind):
    """``path`` itself, or the error for a missing file or a folder; ``kind`` names the expected file in the message."""
    if os.path.isdir(path):
        raise errors.KerasSuError(
            f"{path!r} is a folder. Expected a {kind}. It holds: {errors.listing(sorted(os.listdir(path)))}."
        )
    if not os.path.isfile(path):
        folder = os.path.dirname(path) or "."
        near = errors.did_you_mean(os.path.basename(path), os.listdir(folder)) if os.path.isdir(folder) else ""
        raise errors.KerasSuError(f"There is no {kind} {path!r}.{near}")
    return path


def only_model_file(path):
    """A SentencePiece model: the file ``path``, or the one ``*.model`` in the folder ``path``."""
    if os.path.isdir(path):
        models = [name for name in os.listdir(path) if name.endswith(".model")]
        if len(models) == 1:
            return os.path.join(path, models[0])
    return existing_file(path, "SentencePiece model (or a folder with exactly one *.model)")


def folder_lower_case(folder):
    """Whether ``tokenizer_config.json`` of a folder asks for lower-casing; preparation unlike BERT's is an error.

    Without that file ``False``, as for bert4keras; a file that is silent means ``True``, as for Hugging Face's ``BertTokenizer``.
    """
    path = os.path.join(folder, "tokenizer_config.json")
    if not os.path.isfile(path):
        return False
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    lower = config.get("do_lower_case", True)
    for key, expected in (("tokenize_chinese_chars", True), ("do_basic_tokenize", True), ("strip_accents", lower)):
        if config.get(key) not in (expected, None):
            raise errors.bad_value(f"{key} in {path}", config[key], f"{expected}: this tokenizer prepares text as BERT does")
    return lower
