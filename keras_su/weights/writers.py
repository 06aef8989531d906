"""Writing weights: safetensors (in shards when large), TensorFlow checkpoints, ``.npz``, and whole Hugging Face folders.

Every writer takes ``{name: array}`` or an iterable of pairs, and a file appears under its name only when it is complete: after an
exception the old file is still there, or none.
"""

import contextlib
import json
import os
import shutil
from pathlib import Path

from keras_su.errors import CheckpointError
from keras_su.weights.npz_file import write_npz_file
from keras_su.weights.output import named_arrays, replacing, temporary_path
from keras_su.weights.safetensors_file import write_safetensors_file
from keras_su.weights.tf_bundle import write_tf_bundle

__all__ = ["write_hf_folder", "write_npz", "write_safetensors", "write_tf_bundle"]

_SHARD_BYTES = 5_000_000_000


def write_safetensors(path, tensors, metadata=None, max_shard_bytes=_SHARD_BYTES):
    """Write a ``.safetensors`` file, or several with an index as Hugging Face names them.

    Args:
        path: ``"folder/model.safetensors"``. Above the limit the files are ``model-00001-of-0000N.safetensors`` and
            ``model.safetensors.index.json``. What an earlier call wrote under the same ``path`` is replaced, shards included.
        tensors: ``{name: array}``, or an iterable of pairs, of which one shard at a time is in memory.
        metadata: dictionary of strings for the header; default ``{"format": "pt"}``, which transformers requires. Use
            ``{"format": "tf"}`` for TensorFlow's names and layouts: then ``open_checkpoint`` says so too.
        max_shard_bytes: largest size of the tensors in one file; a larger single tensor gets a file of its own.

    Returns:
        The list of paths written; the last is the one to open.

    Example:
        >>> import tempfile, numpy as np
        >>> from keras_su.weights import open_checkpoint, write_safetensors
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = write_safetensors(f"{folder}/model.safetensors", {"a": np.zeros(2), "b": np.ones(2)}, max_shard_bytes=16)
        ...     print([path.name for path in paths][1:], open_checkpoint(folder).read("b"))
        ['model-00002-of-00002.safetensors', 'model.safetensors.index.json'] [1. 1.]
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"format": "pt"} if metadata is None else dict(metadata)
    temporaries, names, total = [], [], 0
    try:
        for shard in _shards(named_arrays(tensors), max_shard_bytes):
            temporaries.append(temporary_path(path))
            write_safetensors_file(temporaries[-1], shard, metadata)
            names.append([name for name, _ in shard])
            total += sum(array.nbytes for _, array in shard)
        return _publish(path, temporaries, names, total)
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)


def write_npz(path, tensors):
    """Write an uncompressed ``.npz`` with exactly the given names; returns the path.

    numpy itself reads bfloat16 back as nameless two-byte items, ``open_checkpoint`` as bfloat16.

    Args:
        path: the file, written under exactly this name.
        tensors: ``{name: array}``, or an iterable of pairs, of which one at a time is in memory.

    Example:
        >>> import tempfile, numpy as np
        >>> from keras_su.weights import open_checkpoint, write_npz
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     print(open_checkpoint(write_npz(f"{folder}/m.npz", {"bert/pooler/dense/bias": np.ones(2)})).names())
        ['bert/pooler/dense/bias']
    """
    with replacing(path) as temporary:
        write_npz_file(temporary, tensors)
    return Path(path)


def write_hf_folder(folder, config, tensors, vocab=None, files=(), max_shard_bytes=_SHARD_BYTES):
    """Write a folder that transformers and ``build_transformer_model`` load: ``config.json``, safetensors, vocabulary.

    Args:
        folder: created if missing.
        config: dictionary for ``config.json``, or the path of a JSON file to copy.
        tensors: as for ``write_safetensors``, with PyTorch's names and layouts.
        vocab: list of tokens in the order of their ids, a dictionary token -> id without gaps, or the path of a ``vocab.txt``;
            ``None`` for none.
        files: further files to copy under their own names, e.g. ``tokenizer_config.json`` or a SentencePiece model.
        max_shard_bytes: as for ``write_safetensors``.

    Returns:
        The folder as a ``Path``.

    Example:
        >>> import tempfile, numpy as np
        >>> from keras_su.weights import write_hf_folder
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tensors = {"pooler.dense.bias": np.ones(2)}
        ...     written = write_hf_folder(folder, {"model_type": "bert"}, tensors, vocab=["[PAD]", "[UNK]"])
        ...     print(sorted(file.name for file in written.iterdir()))
        ['config.json', 'model.safetensors', 'vocab.txt']
    """
    folder = Path(folder)
    config = json.loads(Path(config).read_text(encoding="utf-8")) if isinstance(config, (str, os.PathLike)) else dict(config)
    contents = {"config.json": (json.dumps(config, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode("utf-8")}
    if vocab is not None:
        contents["vocab.txt"] = _vocabulary_file(vocab)
    write_safetensors(folder / "model.safetensors", tensors, max_shard_bytes=max_shard_bytes)
    for name, content in contents.items():
        with replacing(folder / name) as temporary:
            temporary.write_bytes(content)
    for file in map(Path, files):
        with replacing(folder / file.name) as temporary:
            shutil.copyfile(file, temporary)
    return folder


def _shards(pairs, most):
    """Groups of consecutive pairs of at most ``most`` bytes; always at least one group."""
    group, size = [], 0
    for name, array in pairs:
        if group and size + array.nbytes > most:
            yield group
            group, size = [], 0
        group.append((name, array))
        size += array.nbytes
    yield group


def _publish(path, temporaries, names, total):
    """Give complete temporary files their names, then remove what an earlier call left under other names."""
    index = path.with_name(path.name + ".index.json")
    old = _files_of_index(index)
    if len(temporaries) == 1:
        os.replace(temporaries[0], path)
        written, stale = [path], [index]
    else:
        count = len(temporaries)
        written = [path.with_name(f"{path.stem}-{number:05d}-of-{count:05d}{path.suffix}") for number in range(1, count + 1)]
        for temporary, shard in zip(temporaries, written):
            os.replace(temporary, shard)
        weight_map = {name: shard.name for shard, inside in zip(written, names) for name in inside}
        with replacing(index) as temporary:
            content = {"metadata": {"total_size": total}, "weight_map": weight_map}
            temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        written, stale = [*written, index], [path]
    for file in {*stale, *old} - set(written):
        file.unlink(missing_ok=True)
    return written


def _files_of_index(index):
    with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
        files = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return [index.with_name(Path(file).name) for file in files]
    return []


def _vocabulary_file(vocab):
    if isinstance(vocab, (str, os.PathLike)):
        return Path(vocab).read_bytes()
    if isinstance(vocab, dict):
        tokens = sorted(vocab, key=vocab.get)
        if [vocab[token] for token in tokens] != list(range(len(tokens))):
            raise CheckpointError("A vocab.txt needs the ids 0, 1, 2, ... without gaps or repetitions, one token per line.")
        vocab = tokens
    for token in vocab:
        if "\n" in token:
            raise CheckpointError(f"A vocab.txt holds one token per line; {token!r} contains a line break.")
    return "".join(f"{token}\n" for token in vocab).encode("utf-8")
