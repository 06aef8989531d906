"""Activation functions, and what the bare name ``"gelu"`` means.

Two formulas are in use under one name. Google's BERT and bert4keras compute the exact (erf) form, OpenAI's GPT and T5.1.1 the
tanh approximation. ``"gelu_erf"`` and ``"gelu_tanh"`` are unambiguous; ``"gelu"`` is whichever :func:`set_gelu` chose, resolved
at the moment a layer is *constructed*, so that a saved model does not depend on a switch.
"""

import keras
from keras import ops

from keras_su.errors import bad_value, unknown_name
from keras_su.registration import register

_ALIASES = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh", "swish": "silu"}
_state = {"gelu": "gelu_erf"}


@register
def gelu_erf(x):
    """Exact Gaussian error linear unit, ``x * Phi(x)``."""
    return ops.gelu(x, approximate=False)


@register
def gelu_tanh(x):
    """Tanh approximation of the Gaussian error linear unit, as in GPT-2."""
    return ops.gelu(x, approximate=True)


@register
def leaky_relu(x, alpha=0.2):
    """``x`` where positive, ``alpha * x`` elsewhere; bert4keras' slope of 0.2."""
    return ops.leaky_relu(x, negative_slope=alpha)


def swish(x):
    """``x * sigmoid(x)``, also called SiLU."""
    return ops.silu(x)


_OURS = {"gelu_erf": gelu_erf, "gelu_tanh": gelu_tanh}


def set_gelu(version):
    """Choose what ``"gelu"`` means in models and layers built from now on.

    Args:
        version: ``"erf"`` (the default) or ``"tanh"``.

    >>> set_gelu("tanh"); resolve("gelu")
    'gelu_tanh'
    >>> set_gelu("erf"); resolve("gelu")
    'gelu_erf'
    """
    if version not in ("erf", "tanh"):
        raise bad_value("set_gelu", version, "'erf' or 'tanh'")
    _state["gelu"] = f"gelu_{version}"


def resolve(activation):
    """The unambiguous form of an activation: names lose their aliases, callables and ``None`` pass through."""
    if not isinstance(activation, str):
        return activation
    name = _ALIASES.get(activation, activation)
    return _state["gelu"] if name == "gelu" else name


def get(activation):
    """The function behind a name, a serialised form, a callable or ``None`` (linear)."""
    activation = resolve(activation)
    if isinstance(activation, str):
        if activation in _OURS:
            return _OURS[activation]
        known = [n for n in dir(keras.activations) if n[0].islower() and n not in ("get", "serialize", "deserialize")]
        if activation not in known:
            raise unknown_name("activation", activation, [*known, *_OURS, *_ALIASES])
    return keras.activations.get(activation)
