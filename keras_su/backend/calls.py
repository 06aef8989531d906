"""What Keras knows of this moment and has no public name for; this is the only place that looks."""

import contextlib

import keras
from keras.src.backend.common import global_state
from keras.src.backend.common.symbolic_scope import in_symbolic_scope


def current_call():
    """Keras' context of the running call, with ``entry_layer`` (the outermost layer or model) and ``training``; or ``None``."""
    return global_state.get_global_attribute("current_call_ctx")


def only_shapes_matter():
    """Whether Keras tries a layer on tensors without values, to find out the shape of its output."""
    return in_symbolic_scope()


@contextlib.contextmanager
def without_values():
    """A scope in which layers are built whose variables have shapes and never get values.

    In a plain stateless scope Keras would keep them on a list and give them values, and memory, when any other such scope ends:
    of all moments, while JAX compiles the next model.
    """
    waiting = list(global_state.get_global_attribute("uninitialized_variables") or [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        global_state.set_global_attribute("uninitialized_variables", waiting)
