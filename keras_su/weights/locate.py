"""From what a user types to the one file (or TensorFlow prefix) that is meant, with helpful errors when there is none."""

import re
from pathlib import Path

from keras_su.errors import CheckpointError, did_you_mean, listing

# Of each kind, best first: the standard names in order of preference, and the suffixes of files with other names.
_KINDS = (
    (("model.safetensors", "model.safetensors.index.json"), (".safetensors", ".safetensors.index.json")),
    (("pytorch_model.bin", "pytorch_model.bin.index.json"), (".bin", ".bin.index.json", ".pt", ".pth", ".ckpt")),
    ((), None),  # TensorFlow, where a checkpoint is a prefix and not a file
    (("tf_model.h5",), (".h5", ".hdf5", ".weights")),
    ((), (".keras",)),
    ((), (".npz",)),
)
_NOT_WEIGHTS = ("training_args.", "optimizer.", "scheduler.", "scaler.", "rng_state")  # what a trainer saves beside the weights
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")
_BUNDLE_FILE = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")

EXPECTED = (
    "a TensorFlow checkpoint prefix (bert_model.ckpt), .safetensors, .bin/.pt/.pth of PyTorch, .h5/.keras of Keras, .npz, "
    "or the .index.json of a sharded one"
)


def locate(path):
    """``(path, is TensorFlow prefix)`` for a file, a folder, or a prefix.

    Raises:
        CheckpointError: if nothing is there, or a folder holds several checkpoints of the preferred kind.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        path = _in_folder(path)
    prefix = Path(_BUNDLE_FILE.sub("", str(path)))
    if prefix != path or not path.is_file():
        if Path(f"{prefix}.index").is_file():
            return prefix, True
        if prefix != path and path.is_file():
            raise CheckpointError(f"{path} belongs to a TensorFlow checkpoint whose index {prefix.name}.index is missing.")
        raise _not_found(path)
    return path, False


def _in_folder(folder):
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    if not names:
        raise CheckpointError(f"The folder {folder} is empty. Expected in it: {EXPECTED}.")
    for standard, suffixes in _KINDS:
        for name in standard:
            if name in names:
                return folder / name
        candidates = _candidates(folder, names, suffixes)
        if len(candidates) == 1:
            return folder / candidates[0]
        if candidates:
            raise CheckpointError(f"{folder} holds several checkpoints: {listing(candidates)}. Pass the path of one of them.")
    shards = [name for name in names if _SHARD.search(name)]
    if shards:
        raise CheckpointError(f"{folder} holds pieces of a checkpoint ({listing(shards)}), but no .index.json that lists them.")
    raise CheckpointError(f"{folder} holds no weight file. Found: {listing(names)}. Expected: {EXPECTED}.")


def _candidates(folder, names, suffixes):
    if suffixes is None:
        prefixes = [name.removesuffix(".index") for name in names if name.endswith(".index")]
        latest = _latest_of_state_file(folder)
        return [latest] if latest in prefixes else prefixes
    return [name for name in names if name.endswith(suffixes) and not name.startswith(_NOT_WEIGHTS) and not _SHARD.search(name)]


def _latest_of_state_file(folder):
    """The newest checkpoint according to the text file ``checkpoint`` that TensorFlow keeps beside its checkpoints."""
    state = folder / "checkpoint"
    if not state.is_file():
        return None
    found = re.search(r'^model_checkpoint_path:\s*"(.*)"', state.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    return Path(found[1]).name if found else None


def _not_found(path):
    folder = path.parent
    if not folder.is_dir():
        return CheckpointError(f"There is no checkpoint {path}: the folder {folder} does not exist.")
    names = sorted(entry.name for entry in folder.iterdir())
    names += sorted({_BUNDLE_FILE.sub("", name) for name in names if name.endswith(".index")})
    return CheckpointError(
        f"There is no checkpoint {path}.{did_you_mean(path.name, names)} "
        f"The folder holds: {listing(names) or 'nothing'}. Expected: {EXPECTED}."
    )
