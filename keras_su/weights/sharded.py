"""Checkpoints in several files, listed by ``model.safetensors.index.json`` or ``pytorch_model.bin.index.json``."""

import json
from pathlib import Path

from keras_su.errors import CheckpointError, listing
from keras_su.weights.reader import Reader


class ShardedReader(Reader):
    """The tensors of all files that an index names. Files are opened when they are needed.

    Args:
        path: the index, JSON with ``weight_map: {tensor name: file name}``.
        open_file: opens one of the files, path -> ``Reader``.
    """

    def __init__(self, path, open_file):
        super().__init__(path)
        self._open_file = open_file
        self._files = _read_weight_map(Path(path))
        self._readers = {}
        folder = Path(path).parent
        missing = [name for name in dict.fromkeys(self._files.values()) if not (folder / name).is_file()]
        if missing:
            found = sorted(other.name for other in folder.iterdir())
            raise CheckpointError(
                f"{path} names files that are not there: {listing(missing)}. Found in the folder: {listing(found)}. "
                "Download the missing ones."
            )
        self.format = self._reader(next(iter(self._files))).format

    def names(self):
        return list(self._files)

    def shape(self, name):
        self._check_name(name)
        return self._reader(name).shape(name)

    def dtype(self, name):
        self._check_name(name)
        return self._reader(name).dtype(name)

    def close(self):
        for reader in self._readers.values():
            reader.close()

    def _known(self):
        return self._files

    def _read(self, name, rows):
        return self._reader(name).read(name, rows)

    def _reader(self, name):
        file = self._files[name]
        if file not in self._readers:
            self._readers[file] = self._open_file(Path(self.path).parent / file)
        return self._readers[file]


def _read_weight_map(path):
    try:
        weight_map = json.loads(path.read_text(encoding="utf-8")).get("weight_map")
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is no valid index: it cannot be read as a JSON object ({error}).") from None
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{path} is JSON, but not the index of a checkpoint: it has no 'weight_map' (tensor -> file).")
    if path.name.endswith(".weights.json"):
        raise CheckpointError(
            f"{path} lists weights that Keras saved in several files, which is not supported. Save them in one."
        )
    for file in weight_map.values():
        if not isinstance(file, str) or Path(file).name != file:
            raise CheckpointError(f"{path} names the file {file!r}; expected plain file names in the same folder.")
    return weight_map
