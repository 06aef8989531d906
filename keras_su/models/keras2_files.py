"""Weight files and saved models under any name. Keras 3 tells what is in a file by its suffix, Keras 2 did not."""

import contextlib
import shutil
import tempfile
import zipfile
from pathlib import Path

import h5py
import keras

from keras_su.errors import KerasSuError, did_you_mean

KERAS_3_SUFFIX = ".weights.h5"
MODEL_SUFFIXES = (".keras", ".h5", ".hdf5")


def load_model(filepath, custom_objects=None, compile=True, **kwargs):
    """``keras.models.load_model`` for a file of any name.

    Raises:
        KerasSuError: there is no such file.
    """
    path = existing(filepath)
    if path is None or path.suffix in MODEL_SUFFIXES:
        return keras.models.load_model(filepath, custom_objects=custom_objects, compile=compile, **kwargs)
    with under_suffix(path, ".keras" if zipfile.is_zipfile(path) else ".h5") as named:
        return keras.models.load_model(named, custom_objects=custom_objects, compile=compile, **kwargs)


def existing(filepath):
    """The path of a file; ``None`` for folders and addresses, which Keras may know; an error for what is not there."""
    path = Path(filepath)
    if path.is_file():
        return path
    if path.exists() or "://" in str(filepath):
        return None
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    raise KerasSuError(f"There is no file {str(path)!r}.{did_you_mean(path.name, beside)}")


@contextlib.contextmanager
def under_suffix(path, suffix):
    """A path with this suffix for the file ``path``: Keras tells formats by their suffixes."""
    if str(path).endswith(suffix):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / f"model{suffix}"
        try:
            named.symlink_to(path.resolve())
        except OSError:  # Windows asks for a privilege
            shutil.copyfile(path, named)
        yield named


def kind_of(path):
    """The suffix under which Keras expects what is in this file."""
    if zipfile.is_zipfile(path):
        return ".keras"
    if not h5py.is_hdf5(path):
        raise KerasSuError(f"{str(path)!r} holds no weights of Keras. Public checkpoints are read by build_transformer_model.")
    with h5py.File(path, "r") as file:
        is_keras_2 = "layer_names" in file.attrs or "model_weights" in file
    return ".h5" if is_keras_2 else KERAS_3_SUFFIX


def check_new(path, overwrite):
    """An error for a file that exists and must not be replaced."""
    if not overwrite and Path(path).exists():
        raise KerasSuError(f"{str(path)!r} exists already, and overwrite is False.")
