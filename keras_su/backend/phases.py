"""Functions of ``K`` that ask whether a model trains."""

from keras_su.backend.calls import current_call
from keras_su.backend.several import switch


def learning_phase():
    """Whether the call that runs at this moment is one of training.

    On JAX a layer in a plain ``keras.Model`` knows only if its ``call`` takes ``training``; in the models here all do.
    """
    return bool(getattr(current_call(), "training", None))


def in_train_phase(x, alt, training=None):
    """``x`` (a tensor, or a function that makes it) while a model trains, ``alt`` otherwise."""
    training = learning_phase() if training is None else training
    if isinstance(training, (bool, int)):
        chosen = x if training else alt
        return chosen() if callable(chosen) else chosen
    return switch(training, x, alt)


def in_test_phase(x, alt, training=None):
    """The opposite of :func:`in_train_phase`."""
    return in_train_phase(alt, x, training)
