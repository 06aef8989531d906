"""``keras`` for scripts of Keras 2: a view of the real package in which some names have their old meaning.

``models.Model``, ``models.load_model``, ``layers.Lambda``, masked pooling over time, ``callbacks.Callback``, losses by their old
names, and optimizers that take ``lr`` and ``decay``.

What is not listed here is the real thing; layers and models of both mix freely. The real package is never changed.
"""

import types

import keras as real

from keras_su.backend import functions
from keras_su.layers import GlobalAveragePooling1D, GlobalMaxPooling1D, Lambda
from keras_su.models.keras2 import Model, accept_old_spellings, load_model
from keras_su.optimizers.base import ShortName, current_spelling
from keras_su.registration import register


class View(types.ModuleType):
    """A module with some names replaced; the others are those of the real module."""

    def __init__(self, module, **names):
        super().__init__(module.__name__, f"{module.__name__} with old names for scripts of Keras 2.")
        self.__dict__.update(names)
        self.__dict__["_module"] = module

    def __getattr__(self, name):
        return getattr(self._module, name)

    def __dir__(self):
        return sorted({*self.__dict__, *dir(self._module)})


def _optimizer(base):
    """The optimizer with ``lr`` and ``decay`` among its arguments; the rate is ``lr / (1 + decay * step)``."""

    class Optimizer(ShortName, base):
        def __init__(self, *args, decay=None, **kwargs):
            super().__init__(*args, **current_spelling(kwargs))
            if decay:
                self.learning_rate = real.optimizers.schedules.InverseTimeDecay(float(self.learning_rate), 1, decay)

    Optimizer.__name__ = Optimizer.__qualname__ = base.__name__
    Optimizer.__doc__ = f"``keras.optimizers.{base.__name__}`` that also takes ``lr`` and ``decay`` of Keras 2."
    return register(Optimizer, name=f"Keras2{base.__name__}")


class Callback(real.callbacks.Callback):
    """``keras.callbacks.Callback``; what it trains takes old spellings from then on.

    Scripts import ``Model`` from Keras itself and say ``model.save_weights("best_model.weights")`` in a callback.
    """

    def set_model(self, model):
        super().set_model(accept_old_spellings(model))


_OPTIMIZERS = ("SGD", "RMSprop", "Adagrad", "Adadelta", "Adam", "Adamax", "Nadam")

_LOSSES = {
    "kullback_leibler_divergence": real.losses.kl_divergence,
    "kld": real.losses.kl_divergence,
    "KLD": real.losses.kl_divergence,
    "mse": real.losses.mean_squared_error,
    "MSE": real.losses.mean_squared_error,
    "mae": real.losses.mean_absolute_error,
    "MAE": real.losses.mean_absolute_error,
    "mape": real.losses.mean_absolute_percentage_error,
    "msle": real.losses.mean_squared_logarithmic_error,
    "logcosh": real.losses.log_cosh,
}

keras = View(
    real,
    Model=Model,
    backend=functions,
    callbacks=View(real.callbacks, Callback=Callback),
    layers=View(real.layers, Lambda=Lambda, GlobalAveragePooling1D=GlobalAveragePooling1D, GlobalMaxPooling1D=GlobalMaxPooling1D),
    losses=View(real.losses, **_LOSSES),
    metrics=View(real.metrics, **_LOSSES),
    models=View(real.models, Model=Model, load_model=load_model),
    optimizers=View(real.optimizers, **{name: _optimizer(getattr(real.optimizers, name)) for name in _OPTIMIZERS}),
)
