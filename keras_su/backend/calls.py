"""The call that runs at this moment. Keras knows it, but has no public name for it; this is the only place that looks."""

from keras.src.backend.common import global_state
from keras.src.backend.common.symbolic_scope import in_symbolic_scope


def current_call():
    """Keras' context of the running call, with ``entry_layer`` (the outermost layer or model) and ``training``; or ``None``."""
    return global_state.get_global_attribute("current_call_ctx")


def only_shapes_matter():
    """Whether Keras tries a layer on tensors without values, to find out the shape of its output."""
    return in_symbolic_scope()
