"""Keras models that also understand what scripts for Keras 2 say to them.

:func:`keras_su.models.build_transformer_model` returns such a model. Everything that Keras 3 knows works as in Keras 3; Keras
itself is not changed.
"""

import os
import tempfile
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np

from keras_su.errors import KerasSuError, bad_value
from keras_su.registration import register
from keras_su.weights.output import replacing

_KERAS_3_SUFFIX = ".weights.h5"
_WORKERS = ("workers", "use_multiprocessing", "max_queue_size")  # of Keras 2; a PyDataset has them of its own in Keras 3


class Keras2Spellings:
    """What is different in a model of Keras 2: names of files, lists where Keras 3 wants tuples or arrays, old methods."""

    def fit(self, x=None, *args, validation_data=None, **kwargs):
        """As in Keras; batches of a generator may also be lists, and ``workers`` and its companions are ignored."""
        _drop_workers(kwargs)
        return super().fit(_batches(x), *args, validation_data=_batches(validation_data), **kwargs)

    def evaluate(self, x=None, *args, **kwargs):
        """As in Keras; batches of a generator may also be lists, inputs nested lists."""
        _drop_workers(kwargs)
        return super().evaluate(self._arrays(_batches(x)), *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        """As in Keras; inputs may also be nested Python lists, ``model.predict([[ids], [segment_ids]])``, and nothing is printed.

        ``verbose=1`` shows the progress.
        """
        _drop_workers(kwargs)
        if len(args) < 2:
            kwargs.setdefault("verbose", 0)
        return super().predict(self._arrays(_batches(x)), *args, **kwargs)

    def predict_on_batch(self, x):
        """As in Keras; inputs may also be nested Python lists."""
        return super().predict_on_batch(self._arrays(x))

    def train_on_batch(self, x, *args, **kwargs):
        """As in Keras; inputs may also be nested Python lists."""
        return super().train_on_batch(self._arrays(x), *args, **kwargs)

    def test_on_batch(self, x, *args, **kwargs):
        """As in Keras; inputs may also be nested Python lists."""
        return super().test_on_batch(self._arrays(x), *args, **kwargs)

    def fit_generator(self, generator, steps_per_epoch=None, epochs=1, verbose=1, callbacks=None, **kwargs):
        """The name of :meth:`fit` in Keras 2 for generators."""
        return self.fit(generator, steps_per_epoch=steps_per_epoch, epochs=epochs, verbose=verbose, callbacks=callbacks, **kwargs)

    def evaluate_generator(self, generator, steps=None, callbacks=None, verbose=0, **kwargs):
        """The name of :meth:`evaluate` in Keras 2 for generators."""
        return self.evaluate(generator, steps=steps, callbacks=callbacks, verbose=verbose, **kwargs)

    def predict_generator(self, generator, steps=None, callbacks=None, verbose=0, **kwargs):
        """The name of :meth:`predict` in Keras 2 for generators."""
        return self.predict(generator, steps=steps, callbacks=callbacks, verbose=verbose, **kwargs)

    def save_weights(self, filepath, overwrite=True, save_format=None, **kwargs):
        """Save the weights in a file of exactly this name, in Keras 3's format whatever the suffix.

        Args:
            filepath: e.g. ``"best_model.weights"``. A file that exists is replaced when the new one is complete.
            overwrite: ``False`` is an error when the file exists.
            save_format: of Keras 2; there is one format now.
            **kwargs: of ``keras.Model.save_weights``.
        """
        if kwargs:
            return super().save_weights(filepath, overwrite=overwrite, **kwargs)
        _check_new(filepath, overwrite)
        with replacing(filepath) as temporary, tempfile.TemporaryDirectory(dir=temporary.parent) as folder:
            named = Path(folder) / f"model{_KERAS_3_SUFFIX}"
            super().save_weights(named)
            os.replace(named, temporary)
        return None

    def load_weights(self, filepath, by_name=False, skip_mismatch=False, **kwargs):
        """Load weights from a file of any name: of Keras 3 (also a whole ``.keras`` model) or of Keras 2.

        Args:
            filepath: what :meth:`save_weights` of this or an older model wrote.
            by_name: for files of Keras 2: find the layers by name, leave those alone that the file lacks.
            skip_mismatch: leave variables alone whose shapes differ.
            **kwargs: of ``keras.Model.load_weights``.
        """
        path = Path(filepath)
        if not path.is_file():
            return super().load_weights(filepath, skip_mismatch=skip_mismatch, **kwargs)  # with Keras' own error
        suffix = _kind_of(path)
        if by_name:
            kwargs["by_name"] = True
        with tempfile.TemporaryDirectory() as folder:
            named = Path(folder) / f"model{suffix}"
            named.symlink_to(path.resolve())
            return super().load_weights(named, skip_mismatch=skip_mismatch, **kwargs)

    def save(self, filepath, overwrite=True, **kwargs):
        """Save the whole model in a file of exactly this name: HDF5 for ``.h5``, otherwise Keras' format.

        ``include_optimizer`` and ``save_format`` of Keras 2 are accepted; there is one format for each suffix now.
        """
        kwargs.pop("save_format", None)
        path = Path(filepath)
        if path.suffix in (".keras", ".h5", ".hdf5") or kwargs.get("zipped") is False or "://" in str(filepath):
            return super().save(filepath, overwrite=overwrite, **kwargs)
        kwargs.pop("include_optimizer", None)
        _check_new(path, overwrite)
        with replacing(path) as temporary, tempfile.TemporaryDirectory(dir=temporary.parent) as folder:
            named = Path(folder) / "model.keras"
            super().save(named, **kwargs)
            os.replace(named, temporary)
        return None

    def _arrays(self, x):
        """Nested lists of numbers as arrays, one for each input of the model; everything else as it is."""
        if not isinstance(x, (list, tuple)) or not any(_is_nested(entry) for entry in x):
            return x
        count = len(self.inputs) if getattr(self, "inputs", None) else 1
        if count == 1:
            return np.array(x[0] if len(x) == 1 and np.ndim(x[0]) > 1 else x)
        if len(x) != count:
            raise bad_value("inputs of the model", f"a list of {len(x)}", f"a list of {count}, one entry for each input")
        return [np.array(entry) if _is_nested(entry) else entry for entry in x]


class _AnyKerasModel(type(keras.Model)):
    """``isinstance(model, Model)`` is true for every Keras model, as scripts expect that ask whether a layer is one."""

    def __instancecheck__(cls, instance):
        return type.__instancecheck__(cls, instance) or (cls is Model and isinstance(instance, keras.Model))


class Model(Keras2Spellings, keras.Model, metaclass=_AnyKerasModel):
    """``keras.Model`` that also takes the spellings of Keras 2.

    ``Model(inputs, outputs)`` is a functional model; subclass it to write ``call`` or ``train_step`` yourself.

    >>> x = keras.Input((3,))
    >>> model = Model(x, keras.layers.Dense(2)(x))
    >>> model.predict([[1, 2, 3]]).shape
    (1, 2)
    """

    def __new__(cls, *args, **kwargs):
        is_functional = len(args) >= 2 or (len(args) == 1 and "outputs" in kwargs) or {"inputs", "outputs"} <= set(kwargs)
        if cls is Model and is_functional:
            return FunctionalModel(*args, **kwargs)
        return super().__new__(cls, *args, **kwargs)


class FunctionalModel(Keras2Spellings, keras.Model):
    """What ``Model(inputs, outputs)`` makes. Keras turns a class with functional instances into a functional one for good, so
    that it cannot be the class that users derive theirs from."""


register(FunctionalModel, name="Model")


def load_model(filepath, custom_objects=None, compile=True, **kwargs):
    """``keras.models.load_model`` for a file of any name."""
    path = Path(filepath)
    if path.suffix in (".keras", ".h5", ".hdf5") or not path.is_file():
        return keras.models.load_model(filepath, custom_objects=custom_objects, compile=compile, **kwargs)
    suffix = ".keras" if zipfile.is_zipfile(path) else ".h5"
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / f"model{suffix}"
        named.symlink_to(path.resolve())
        return keras.models.load_model(named, custom_objects=custom_objects, compile=compile, **kwargs)


def _kind_of(path):
    """The suffix under which Keras expects what is in this file."""
    if zipfile.is_zipfile(path):
        return ".keras"
    if not h5py.is_hdf5(path):
        raise KerasSuError(f"{str(path)!r} holds no weights of Keras. Public checkpoints are read by build_transformer_model.")
    with h5py.File(path, "r") as file:
        is_keras_2 = "layer_names" in file.attrs or "model_weights" in file
    return ".h5" if is_keras_2 else _KERAS_3_SUFFIX


def _check_new(path, overwrite):
    if not overwrite and Path(path).exists():
        raise KerasSuError(f"{str(path)!r} exists already, and overwrite is False.")


def _drop_workers(kwargs):
    for name in _WORKERS:
        kwargs.pop(name, None)


def _batches(data):
    """A generator whose batches are tuples; everything else as it is. TensorFlow takes no lists from generators."""
    if not hasattr(data, "__next__"):
        return data
    return (_as_tuples(batch) for batch in data)


def _as_tuples(batch):
    """Lists of arrays as tuples, at every depth; lists of numbers as arrays."""
    if isinstance(batch, (list, tuple)):
        return np.array(batch) if _is_nested(batch) else tuple(_as_tuples(entry) for entry in batch)
    return batch


def _is_nested(value):
    """Whether this is a list of numbers, or a list of such lists."""
    if not isinstance(value, (list, tuple)) or not value:
        return False
    return all(_is_nested(entry) or isinstance(entry, (int, float, bool, np.number)) for entry in value)
