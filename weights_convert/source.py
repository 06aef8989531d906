"""What is converted: the weights, their configuration, and the files of the tokenizer beside them."""

import base64
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from keras_su import hub
from keras_su.errors import CheckpointError, KerasSuError, listing
from keras_su.models.config import read_json
from keras_su.weights import open_checkpoint

KEY = "keras_su"
"""Where the metadata of a ``.keras`` file say what it was converted from."""

_VOCABULARY = ("vocab.txt", "vocab.json", "merges.txt", "tokenizer.json", "added_tokens.json", "*.model")
_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "generation_config.json")
_SENTENCES = ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", "*_Pooling/config.json")
_NO_CONFIG = {*_SETTINGS, *_SENTENCES, "vocab.json", "tokenizer.json", "added_tokens.json", "preprocessor_config.json"}
_SIZES = {"hidden_size", "d_model", "n_embd", "num_hidden_layers", "num_layers", "n_layer"}


@dataclass
class Source:
    """A checkpoint that was found.

    Attributes:
        given: what the user wrote.
        weights: path for ``open_checkpoint``.
        format: dialect of its reader; ``"keras"`` and ``"keras3"`` are files of Keras.
        values: settings of the configuration.
        metadata: what an earlier conversion wrote into a ``.keras`` file.
        files: tokenizer files: relative name -> content.
    """

    given: str
    weights: str
    format: str
    values: dict
    metadata: dict = field(default_factory=dict)
    files: dict = field(default_factory=dict)

    def open(self):
        """An open reader of the weights."""
        return open_checkpoint(self.weights)


def find_source(given, config=None):
    """Find everything that belongs to a checkpoint.

    Args:
        given: ``hf://`` or ``ms://`` address, folder, file, or prefix of a TensorFlow checkpoint.
        config: configuration file, when it is not beside the weights.

    Returns:
        :class:`Source`.
    """
    local = Path(hub.resolve(str(given))).expanduser()
    try:
        with open_checkpoint(local) as reader:
            format = reader.format
    except CheckpointError as error:
        if not local.exists() and hub.looks_like_repository(given):
            raise CheckpointError(f"{error} A repository of Hugging Face is written hf://{given}.") from error
        raise
    folder = local if local.is_dir() else local.parent
    metadata = read_metadata(local) if local.is_file() else {}
    if config is not None:
        values = read_json(hub.resolve(str(config)))
    elif metadata:
        values = metadata["config"]
    else:
        values = read_json(_find_config(folder))
    files = unpack(metadata["files"]) if metadata else _files_beside(folder)
    return Source(str(given), str(local), format, values, metadata, files)


def read_metadata(path):
    """What a conversion left in a ``.keras`` file, or an empty dictionary."""
    if not str(path).endswith(".keras") or not zipfile.is_zipfile(path):
        return {}
    with zipfile.ZipFile(path) as archive:
        if "metadata.json" not in archive.namelist():
            return {}
        return json.loads(archive.read("metadata.json")).get(KEY, {})


def pack(files):
    """Files as JSON: text where it is text.

    >>> unpack(pack({"a": b"text", "b": bytes([255])}))
    {'a': b'text', 'b': b'\\xff'}
    """
    packed = {}
    for name, content in files.items():
        try:
            packed[name] = {"text": content.decode("utf-8")}
        except UnicodeDecodeError:
            packed[name] = {"base64": base64.b64encode(content).decode("ascii")}
    return packed


def unpack(packed):
    """The inverse of :func:`pack`."""
    decode = lambda item: item["text"].encode("utf-8") if "text" in item else base64.b64decode(item["base64"])  # noqa: E731
    return {name: decode(item) for name, item in packed.items()}


def _find_config(folder):
    for name in ("config.json", "bert_config.json"):
        if (folder / name).is_file():
            return folder / name
    found = [path for path in sorted(folder.glob("*.json")) if path.name not in _NO_CONFIG and _looks_like_config(path)]
    if len(found) == 1:
        return found[0]
    beside = listing(sorted(path.name for path in folder.glob("*.json"))) or "no JSON file"
    several = f"several configurations: {listing(path.name for path in found)}" if found else "no config.json or bert_config.json"
    raise KerasSuError(f"{folder} has {several}. Pass the right file with --config. It has: {beside}.")


def _looks_like_config(path):
    if path.name.endswith(".index.json") or path.stat().st_size > 1_000_000:
        return False
    try:
        return bool(_SIZES & read_json(path).keys())
    except KerasSuError:
        return False


def _files_beside(folder):
    files = {}
    for pattern in (*_VOCABULARY, *_SETTINGS, *_SENTENCES):
        for path in sorted(folder.glob(pattern)):
            if path.is_file() and not path.name.startswith("."):
                content = path.read_bytes()
                if content.startswith(b"version https://git-lfs"):
                    raise CheckpointError(f"{path} is a git-lfs pointer, not the file itself. Run `git lfs pull` in {folder}.")
                files[path.relative_to(folder).as_posix()] = content
    return files
