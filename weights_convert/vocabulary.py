"""Keeping some tokens of a vocabulary: the list of ids, and what it does to the files around the weights."""

import json
from fnmatch import fnmatch
from pathlib import Path

from keras_su.errors import KerasSuError, bad_value

_WHOLE = ("vocab.json", "merges.txt", "tokenizer.json", "added_tokens.json", "*.model")
"""Files that describe a whole vocabulary in a form that is not reduced here."""


def read_keep_tokens(path):
    """The ids in a file: a JSON list, or one id per line.

    Args:
        path: the file.

    Returns:
        list of int, in the order of the file, which becomes the order of the new vocabulary.

    Raises:
        KerasSuError: no such file, something that is no id, or an id twice.
    """
    path = Path(path)
    if not path.is_file():
        raise KerasSuError(f"--keep-tokens: there is no file {str(path)!r}.")
    text = path.read_text(encoding="utf-8")
    try:
        ids = json.loads(text)
    except json.JSONDecodeError:
        ids = [line.strip() for line in text.splitlines() if line.strip()]
    if isinstance(ids, int) and not isinstance(ids, bool):
        ids = [ids]
    if not isinstance(ids, list) or not ids:
        raise bad_value(f"--keep-tokens {path}", type(ids).__name__, "a JSON list of ids, or one id per line")
    result, seen = [], set()
    for place, item in enumerate(ids, 1):
        if isinstance(item, bool) or not str(item).lstrip("-").isdigit():
            raise bad_value(f"--keep-tokens {path}, entry {place}", item, "a token id")
        if int(item) in seen:
            raise KerasSuError(f"--keep-tokens {path}: id {int(item)} occurs twice (again as entry {place}).")
        seen.add(int(item))
        result.append(int(item))
    return result


def reduce_files(files, keep):
    """The tokenizer files that still hold for a reduced vocabulary.

    Args:
        files: name -> content.
        keep: ids to keep, in their new order.

    Returns:
        ``(files, left out)``, the second a dictionary name -> reason.
    """
    kept, left_out = {}, {}
    for name, content in files.items():
        if name == "vocab.txt":
            kept[name] = reduce_vocabulary(content, keep)
        elif name == "tokenizer_config.json":
            kept[name] = _reduce_tokenizer_config(content, keep)
        elif name == "generation_config.json":
            values, _ = remap_ids(json.loads(content), keep)
            kept[name] = _json(values)
        elif any(fnmatch(name, pattern) for pattern in _WHOLE):
            left_out[name] = "describes the whole vocabulary"
        else:
            kept[name] = content
    return kept, left_out


def reduce_vocabulary(content, keep):
    r"""The lines of a ``vocab.txt`` that are kept, in their new order.

    >>> reduce_vocabulary(b"[PAD]\n[UNK]\na\nb\n", [0, 3])
    b'[PAD]\nb\n'
    """
    tokens = content.decode("utf-8").split("\n")
    if tokens[-1] == "":
        tokens.pop()
    wrong = [i for i in keep if i >= len(tokens)]
    if wrong:
        raise bad_value("keep_tokens", wrong[0], f"ids of the vocab.txt beside the weights, which has {len(tokens)} tokens")
    return "".join(f"{tokens[i]}\n" for i in keep).encode("utf-8")


def remap_ids(values, keep):
    """A configuration with its ``..._token_id`` in the new numbering.

    Returns:
        ``(values, lost)``: the names whose token is not kept are left out, and listed.

    >>> remap_ids({"pad_token_id": 0, "eos_token_id": [102, 7], "bos_token_id": 1}, [0, 102])
    ({'pad_token_id': 0, 'eos_token_id': [1]}, ['bos_token_id'])
    """
    numbers = {old: new for new, old in enumerate(keep)}
    result, lost = {}, []
    for name, value in values.items():
        if not name.endswith(("_token_id", "_token_ids")) or value is None:
            result[name] = value
        elif isinstance(value, list):
            result[name] = [numbers[i] for i in value if i in numbers]
        elif value in numbers:
            result[name] = numbers[value]
        else:
            lost.append(name)
    return result, lost


def _reduce_tokenizer_config(content, keep):
    values, _ = remap_ids(json.loads(content), keep)
    if "added_tokens_decoder" in values:
        numbers = {str(old): str(new) for new, old in enumerate(keep)}
        tokens = {numbers[i]: token for i, token in values["added_tokens_decoder"].items() if i in numbers}
        values["added_tokens_decoder"] = tokens
    return _json(values)


def _json(values):
    return (json.dumps(values, ensure_ascii=False, indent=2) + "\n").encode("utf-8")
