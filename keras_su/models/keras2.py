"""Keras models that also understand what scripts for Keras 2 say to them.

:func:`keras_su.models.build_transformer_model` returns such a model. Everything that Keras 3 knows works as in Keras 3; Keras
itself is not changed.
"""

import os
import tempfile
from pathlib import Path

import keras
import numpy as np

from keras_su.errors import bad_value
from keras_su.layers.base import Layer
from keras_su.models.keras2_files import KERAS_3_SUFFIX, MODEL_SUFFIXES, check_new, existing, kind_of, load_model, under_suffix
from keras_su.models.keras2_inputs import array, is_rows, labels, stream
from keras_su.registration import register
from keras_su.weights.output import replacing

__all__ = ["FunctionalModel", "Keras2Spellings", "Model", "accept_old_spellings", "load_model"]

_WORKERS = ("workers", "use_multiprocessing", "max_queue_size")  # of Keras 2; a PyDataset has them of its own in Keras 3


class Keras2Spellings:
    """What is different in a model of Keras 2: names of files, lists where Keras 3 wants tuples or arrays, old methods."""

    def fit(self, x=None, y=None, *args, validation_data=None, **kwargs):
        """As in Keras; ``workers`` and its companions are ignored.

        Inputs and labels may also be nested lists, batches of a generator lists of arrays, all of them of any length.
        """
        _drop_workers(kwargs)
        return super().fit(self._data(x), labels(y), *args, validation_data=stream(validation_data), **kwargs)

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """As in Keras; inputs, labels and batches may be lists as in :meth:`fit`."""
        _drop_workers(kwargs)
        return super().evaluate(self._data(x), labels(y), *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        """As in Keras; inputs may also be nested Python lists, ``model.predict([[ids], [segment_ids]])``, and nothing is printed.

        For a model with one input ``model.predict([ids])`` is a batch of one text. ``verbose=1`` shows the progress.
        """
        _drop_workers(kwargs)
        if len(args) < 2:
            kwargs.setdefault("verbose", 0)
        return super().predict(self._data(x, only_inputs=True), *args, **kwargs)

    def predict_on_batch(self, x):
        """As in Keras; inputs may also be nested Python lists."""
        return super().predict_on_batch(self._arrays(x))

    def train_on_batch(self, x, y=None, *args, **kwargs):
        """As in Keras; inputs and labels may also be nested Python lists."""
        return super().train_on_batch(self._arrays(x), labels(y), *args, **kwargs)

    def test_on_batch(self, x, y=None, *args, **kwargs):
        """As in Keras; inputs and labels may also be nested Python lists."""
        return super().test_on_batch(self._arrays(x), labels(y), *args, **kwargs)

    def stateless_call(self, *args, **kwargs):
        """As in Keras, and the layers find out whose call it is.

        Training on JAX calls the model's ``call`` alone. Layers of Keras 2, which ask around whether they are in training and
        where a seed is, would find nobody.
        """
        context = self._get_call_context()
        if context.entry_layer is self:
            context.training = kwargs.get("training")
        try:
            return super().stateless_call(*args, **kwargs)
        finally:
            self._maybe_reset_call_context()

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
        check_new(filepath, overwrite)
        with replacing(filepath) as temporary, tempfile.TemporaryDirectory(dir=temporary.parent) as folder:
            named = Path(folder) / f"model{KERAS_3_SUFFIX}"
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

        Raises:
            KerasSuError: there is no such file, or it holds something else.
        """
        path = existing(filepath)
        if path is None:
            return super().load_weights(filepath, skip_mismatch=skip_mismatch, **kwargs)
        if by_name:
            kwargs["by_name"] = True
        with under_suffix(path, kind_of(path)) as named:
            return super().load_weights(named, skip_mismatch=skip_mismatch, **kwargs)

    def save(self, filepath, overwrite=True, **kwargs):
        """Save the whole model in a file of exactly this name: HDF5 for ``.h5``, otherwise Keras' format.

        ``include_optimizer`` and ``save_format`` of Keras 2 are accepted; there is one format for each suffix now.
        """
        kwargs.pop("save_format", None)
        path = Path(filepath)
        if path.suffix in MODEL_SUFFIXES or kwargs.get("zipped") is False or "://" in str(filepath):
            return super().save(filepath, overwrite=overwrite, **kwargs)
        kwargs.pop("include_optimizer", None)
        check_new(path, overwrite)
        with replacing(path) as temporary, tempfile.TemporaryDirectory(dir=temporary.parent) as folder:
            named = Path(folder) / "model.keras"
            super().save(named, **kwargs)
            os.replace(named, temporary)
        return None

    def _data(self, x, only_inputs=False):
        return self._arrays(stream(x, only_inputs))

    def _arrays(self, x):
        """Nested lists of numbers as arrays, one for each input of the model; everything else as it is."""
        if not isinstance(x, (list, tuple)) or not any(is_rows(entry) for entry in x):
            return x
        inputs = getattr(self, "inputs", None) or [None]
        if len(inputs) > 1:
            leaves = keras.tree.flatten(x)
            if len(leaves) == len(inputs) and all(np.ndim(leaf) == len(known.shape) for leaf, known in zip(leaves, inputs)):
                return x  # arrays in a structure, as the model's own inputs may be
            if len(x) != len(inputs):
                raise bad_value("inputs of the model", f"a list of {len(x)}", f"a list of {len(inputs)}, one for each input")
            return [array(entry) if is_rows(entry) else entry for entry in x]
        if len(x) == 1 and isinstance(x[0], (list, tuple)):
            only = array(x[0])  # a list of one input, or a batch of one row
            rank = 2 if inputs[0] is None else len(inputs[0].shape)
            return only if only.ndim >= rank else only[None]
        return array(x)


class _AnyKerasModel(type(keras.Model)):
    """``isinstance(model, Model)`` is true for every Keras model, as scripts expect that ask whether a layer is one."""

    def __instancecheck__(cls, instance):
        return type.__instancecheck__(cls, instance) or (cls is Model and isinstance(instance, keras.Model))

    def __subclasscheck__(cls, subclass):
        return type.__subclasscheck__(cls, subclass) or (cls is Model and issubclass(subclass, keras.Model))


class Model(Keras2Spellings, keras.Model, metaclass=_AnyKerasModel):
    """``keras.Model`` that also takes the spellings of Keras 2.

    ``Model(inputs, outputs)`` is a functional model; subclass it to write ``call`` or ``train_step`` yourself.

    >>> x = keras.Input((3,))
    >>> model = Model(x, keras.layers.Dense(2)(x))
    >>> model.predict([[1, 2, 3]]).shape
    (1, 2)
    """

    def __new__(cls, *args, **kwargs):
        if cls is Model and _is_functional(args, kwargs):
            return FunctionalModel(*args, **kwargs)
        if _is_functional(args, kwargs):
            _derive_from_functional(cls)
        return keras.Model.__new__(cls, *args, **kwargs)

    def __init__(self, *args, **kwargs):
        if _is_functional(args, kwargs):
            _derive_from_functional(type(self))
            FunctionalModel.__init__(self, *args, **kwargs)
        else:
            keras.Model.__init__(self, *args, **kwargs)


class FunctionalModel(Keras2Spellings, keras.Model, metaclass=_AnyKerasModel):
    """What ``Model(inputs, outputs)`` makes.

    Keras turns a class with functional instances, and all that it derives from, into functional ones for good. :class:`Model`
    must not become one, as users derive models with a ``call`` of their own from it.
    """


register(FunctionalModel, name="Model")


def accept_old_spellings(model):
    """Let a functional model that was made with Keras' own ``Model`` around layers of this package take old spellings, too.

    The class of this one object changes; Keras' classes stay as they are. Other models are returned untouched.
    """
    plain = FunctionalModel.__bases__[-1]  # Keras' functional class, once there is a functional model of ours
    if type(model) is plain and any(isinstance(layer, Layer) for layer in model.layers):
        model.__class__ = FunctionalModel
    return model


def _is_functional(args, kwargs):
    return len(args) >= 2 or (len(args) == 1 and "outputs" in kwargs) or {"inputs", "outputs"} <= set(kwargs)


def _derive_from_functional(cls):
    """Let a subclass of :class:`Model` with functional instances derive from :class:`FunctionalModel` instead."""
    for one in cls.__mro__:
        if Model in one.__bases__:
            one.__bases__ = tuple(FunctionalModel if base is Model else base for base in one.__bases__)


def _drop_workers(kwargs):
    for name in _WORKERS:
        kwargs.pop(name, None)
