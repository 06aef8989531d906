"""PyTorch weight files (``.bin``, ``.pt``, ``.pth``) in both containers, read without PyTorch and without running anything.

Since torch 1.6 a file is a zip archive: ``<any folder>/data.pkl`` describes the tensors, ``<any folder>/data/<key>`` are their
bytes. Older files, among them many Chinese uploads of 2019 to 2021, are a stream: five pickles (magic number, protocol, system,
object, storage keys), then for each key the number of values and the bytes.
"""

import numpy as np

from keras_su.errors import CheckpointError, listing
from keras_su.weights.raw_file import RawFile, damaged
from keras_su.weights.reader import Reader
from keras_su.weights.torch_pickle import Tensor, TensorUnpickler
from keras_su.weights.zip_archive import ZipArchive

LEGACY_HEAD = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled magic number
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params")
_DEEPEST = 4


class TorchReader(Reader):
    """The tensors of a PyTorch file.

    Attributes:
        container: where the tensors were found when the file wraps them, e.g. ``"state_dict"`` or ``"model.state_dict"``;
            ``""`` if they are at the top. Entries that are not tensors (epoch numbers, options) are skipped.
    """

    format = "torch"

    def __init__(self, path):
        super().__init__(path)
        with open(path, "rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"
        self._source = _ZipSource(path) if zipped else _LegacySource(path)
        try:
            found = _find_tensors(self.path, self._source.load())
        except BaseException:
            self._source.close()
            raise
        self.container, self._tensors = found

    def names(self):
        return list(self._tensors)

    def shape(self, name):
        self._check_name(name)
        return self._tensors[name].shape

    def dtype(self, name):
        self._check_name(name)
        return self._tensors[name].dtype

    def close(self):
        self._source.close()

    def _known(self):
        return self._tensors

    def _read(self, name, rows):
        storage, dtype, offset, shape, strides = self._tensors[name]
        if len(strides) != len(shape):
            raise damaged(self.path, f"{name!r} has {len(shape)} axes and {len(strides)} strides")
        if 0 in shape:
            return np.empty(shape if rows is None else (len(rows), *shape[1:]), dtype)
        begin = storage.start * storage.dtype.itemsize + offset * dtype.itemsize
        extent = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides))
        if offset * dtype.itemsize + extent * dtype.itemsize > storage.count * storage.dtype.itemsize:
            raise damaged(self.path, f"{name!r} reaches beyond its storage")
        place = self._source.place(storage)
        if place is not None and strides == _contiguous_strides(shape, strides):
            return self._source.raw.array(place + begin, dtype, shape, rows, name)
        if place is not None:
            values = self._source.raw.mapped(place + begin, dtype, extent, name)
        else:
            values = np.frombuffer(self._source.bytes_of(storage), dtype, extent, begin)
        view = np.lib.stride_tricks.as_strided(values, shape, [stride * dtype.itemsize for stride in strides], writeable=False)
        return np.array(view if rows is None else view[rows], order="C", subok=False)


class _ZipSource:
    """The zip container: unpickles ``data.pkl`` and finds storages as entries."""

    def __init__(self, path):
        self._archive = ZipArchive(path)
        self.raw = self._archive.raw
        self._folder = None

    def load(self):
        descriptions = [name for name in self._archive.names() if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(descriptions) != 1:
            found = listing(self._archive.names())
            raise CheckpointError(
                f"{self.raw.path} is a zip archive, but not of PyTorch: expected one data.pkl. Found: {found}. "
                "If it packs a checkpoint folder, unpack it first."
            )
        self._folder = descriptions[0][: -len("data.pkl")]
        order = f"{self._folder}byteorder"
        if order in self._archive and self._archive.read(order) != b"little":
            raise CheckpointError(f"{self.raw.path} was written on a big-endian machine, which is not supported.")
        with self._archive.open(descriptions[0]) as file:
            return TensorUnpickler(file, self.raw.path).load()

    def place(self, storage):
        return self._archive.offset(self._entry(storage))

    def bytes_of(self, storage):
        return self._archive.read(self._entry(storage))

    def close(self):
        self._archive.close()

    def _entry(self, storage):
        name = f"{self._folder}data/{storage.key}"
        needed = (storage.start + storage.count) * storage.dtype.itemsize
        if name not in self._archive or self._archive.size(name) < needed:
            raise damaged(self.raw.path, f"the entry {name!r} is missing or shorter than {needed} bytes")
        return name


class _LegacySource:
    """The stream container: five pickles, then the storages one after another."""

    def __init__(self, path):
        self.raw = RawFile(path)
        self._places = {}

    def load(self):
        path, file = self.raw.path, self.raw.file
        if TensorUnpickler(file, path).load() != _MAGIC:
            raise CheckpointError(f"{path} is a pickle, but not of PyTorch: it does not begin with the magic number.")
        protocol, system = TensorUnpickler(file, path).load(), TensorUnpickler(file, path).load()
        if protocol != _PROTOCOL or not isinstance(system, dict):
            raise CheckpointError(f"{path} has the PyTorch protocol {protocol!r}; only {_PROTOCOL} is known.")
        if not system.get("little_endian", True):
            raise CheckpointError(f"{path} was written on a big-endian machine, which is not supported.")
        unpickler = TensorUnpickler(file, path)
        content = unpickler.load()
        keys = TensorUnpickler(file, path).load()
        position = file.tell()
        for key in keys:
            file.seek(position)
            count = file.read(8)
            if len(count) < 8 or key not in unpickler.storages:
                raise damaged(path, f"the storage {key!r} cannot be found")
            self._places[key] = position + 8
            position += 8 + int.from_bytes(count, "little") * unpickler.storages[key].itemsize
        if position > self.raw.size:
            raise damaged(path, f"the tensors end at byte {position}, the file at byte {self.raw.size}")
        return content

    def place(self, storage):
        if storage.key not in self._places:
            raise damaged(self.raw.path, f"the storage {storage.key!r} cannot be found")
        return self._places[storage.key]

    def close(self):
        self.raw.close()


def _contiguous_strides(shape, strides):
    """Row-major strides; axes of size one keep the stride they have, because it does not matter."""
    expected, step = [], 1
    for size, stride in zip(reversed(shape), reversed(strides)):
        expected.append(stride if size == 1 else step)
        step *= size
    return tuple(reversed(expected))


def _find_tensors(path, content):
    """``(key, {name: Tensor})``: the tensors of a dictionary, or of the dictionary inside that wraps them."""
    found = _search(path, content, "", _DEEPEST)
    if found is None:
        raise CheckpointError(
            f"{path} holds no named tensors: got {type(content).__name__}, expected a state_dict (name -> tensor), "
            f"or a dictionary with one under {listing(_WRAPPERS)}."
        )
    return found


def _search(path, value, prefix, depth):
    if not isinstance(value, dict) or not depth:
        return None
    wrappers = [key for key in _WRAPPERS if key in value]
    for key in wrappers:
        found = _search(path, value[key], f"{prefix}{key}.", depth - 1)
        if found is not None:
            return found
    own = {str(name): item for name, item in value.items() if isinstance(item, Tensor)}
    if own:
        return prefix[:-1], own
    others = [key for key in value if key not in wrappers]
    inner = {key: _search(path, value[key], f"{prefix}{key}.", depth - 1) for key in others}
    inner = {key: found for key, found in inner.items() if found is not None}
    if len(inner) > 1:
        raise CheckpointError(
            f"{path} holds tensors under {listing(inner)}, and which are the weights is not clear. Save only them."
        )
    return next(iter(inner.values()), None)
