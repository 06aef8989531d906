"""``open_checkpoint``: one door to every weight file."""

import os
from collections.abc import Mapping

from keras_su.errors import CheckpointError
from keras_su.weights.hdf5_file import HDF5_HEAD, open_hdf5, open_keras_archive
from keras_su.weights.locate import EXPECTED, locate
from keras_su.weights.npz_file import NpzReader
from keras_su.weights.raw_file import check_is_data
from keras_su.weights.reader import ArraysReader, Reader
from keras_su.weights.safetensors_file import SafetensorsReader, looks_like_safetensors
from keras_su.weights.sharded import ShardedReader
from keras_su.weights.tf_bundle import TFBundleReader
from keras_su.weights.torch_file import LEGACY_HEAD, TorchReader
from keras_su.weights.zip_archive import ZipArchive


def open_checkpoint(path):
    """Open weights of any known format for reading; neither TensorFlow nor PyTorch is needed, and no code in a file is run.

    Args:
        path: one of

            - a TensorFlow checkpoint prefix (``"bert_model.ckpt"``) or any of its files;
            - a ``.safetensors`` file, or the ``.index.json`` of a sharded one;
            - a PyTorch ``.bin``, ``.pt`` or ``.pth`` file, old or new container, or its ``.index.json``;
            - an HDF5 file of Keras 2 or 3 or Hugging Face, with any suffix, or a ``.keras`` file;
            - an ``.npz`` file;
            - a folder with one of these; safetensors are preferred to PyTorch, PyTorch to TensorFlow;
            - a dictionary ``{name: array}``, or an open ``Reader``, which is returned as it is.

    Returns:
        A ``Reader``; close it or use it in a ``with`` statement.

    Raises:
        CheckpointError: if nothing fits, the file is damaged, incomplete or no weight file, or a pickle wants to run code.

    Example:
        >>> import numpy as np
        >>> with open_checkpoint({"table": np.arange(6).reshape(3, 2)}) as reader:
        ...     print(reader.names(), reader.shape("table"), reader.read("table", rows=[2]))
        ['table'] (3, 2) [[4 5]]
    """
    if isinstance(path, Reader):
        return path
    if isinstance(path, Mapping):
        return ArraysReader(path)
    if not isinstance(path, (str, os.PathLike)):
        raise CheckpointError(f"A checkpoint is a path or a dictionary of arrays. Received: {type(path).__name__}.")
    path, is_prefix = locate(path)
    return TFBundleReader(path) if is_prefix else _open_file(path)


def _open_file(path):
    """The reader for one file, chosen by its first bytes; the suffix only helps where these are damaged."""
    check_is_data(path)
    with open(path, "rb") as file:
        head = file.read(len(LEGACY_HEAD))
    suffix = path.suffix.lower()
    if head.startswith(b"PK"):
        return _open_zip(path, suffix)
    if head.startswith(HDF5_HEAD) or suffix in (".h5", ".hdf5"):
        return open_hdf5(path)
    if head == LEGACY_HEAD or suffix in (".bin", ".pt", ".pth"):
        return TorchReader(path)
    if looks_like_safetensors(head) or suffix == ".safetensors":
        return SafetensorsReader(path)
    if head.lstrip().startswith(b"{"):
        return ShardedReader(path, _open_file)
    raise CheckpointError(f"{path} is no weight file of a known format: it begins with {head[:8]!r}. Known: {EXPECTED}.")


def _open_zip(path, suffix):
    archive = ZipArchive(path)
    names = archive.names()
    archive.close()
    if "model.weights.h5" in names:
        return open_keras_archive(path)
    if suffix == ".npz" or all(name.endswith(".npy") for name in names):
        return NpzReader(path)
    return TorchReader(path)
