"""The call that runs at this moment. Keras keeps it, but has no public name for it; this is the only place that looks."""

from keras.src.backend.common import global_state


def current_call():
    """Keras' context of the running call, with ``entry_layer`` (the outermost layer or model) and ``training``; or ``None``."""
    return global_state.get_global_attribute("current_call_ctx")
