"""Names that bert4keras scripts import from ``bert4keras.backend``."""

import keras
from keras import ops

from keras_su.activations import gelu_erf, gelu_tanh, leaky_relu, set_gelu, swish
from keras_su.ops.attention import normalize as attention_normalize
from keras_su.ops.rotary import apply_rotary_position_embeddings, sinusoidal_embeddings
from keras_su.ops.sequence import align, sequence_masking

__all__ = [
    "align",
    "apply_rotary_position_embeddings",
    "attention_normalize",
    "gelu_erf",
    "gelu_tanh",
    "keras",
    "leaky_relu",
    "ops",
    "sequence_masking",
    "set_gelu",
    "sinusoidal_embeddings",
    "swish",
]
