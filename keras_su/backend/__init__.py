"""Names that scripts for bert4keras import from ``bert4keras.backend``: ``keras``, ``K`` and helper functions on tensors.

``keras`` is a view of the real package that also knows Keras 2's names, ``K`` the functions of Keras 2's backend on
``keras.ops``. Nothing in Keras is changed. New code needs neither: it takes ``keras`` and ``keras.ops`` themselves.
"""

import keras as _keras
from keras import ops

from keras_su.activations import gelu_erf, gelu_tanh, leaky_relu, set_gelu, swish
from keras_su.backend import functions as K
from keras_su.backend.graph import do_recompute, get_available_gpus, graph_mode_decorator, recompute_grad, search_layer, symbolic
from keras_su.backend.namespace import keras
from keras_su.errors import require
from keras_su.initializers import Sinusoidal
from keras_su.losses import multilabel_categorical_crossentropy, sparse_multilabel_categorical_crossentropy
from keras_su.ops.attention import normalize as attention_normalize
from keras_su.ops.rotary import apply_rotary_position_embeddings, sinusoidal_embeddings
from keras_su.ops.sequence import (
    align,
    batch_gather,
    divisible_temporal_padding,
    flatten,
    pool1d,
    reshape,
    root_mean_square,
    sequence_masking,
)
from keras_su.optimizers import piecewise_linear

dtype = K.dtype
where = K.where
is_tf_keras = False
custom_objects = _keras.saving.get_custom_objects()

__all__ = [
    "K",
    "Sinusoidal",
    "align",
    "apply_rotary_position_embeddings",
    "attention_normalize",
    "batch_gather",
    "custom_objects",
    "divisible_temporal_padding",
    "do_recompute",
    "dtype",
    "flatten",
    "gelu_erf",
    "gelu_tanh",
    "get_available_gpus",
    "graph_mode_decorator",
    "is_tf_keras",
    "keras",
    "leaky_relu",
    "multilabel_categorical_crossentropy",
    "ops",
    "piecewise_linear",
    "pool1d",
    "recompute_grad",
    "reshape",
    "root_mean_square",
    "search_layer",
    "sequence_masking",
    "set_gelu",
    "sinusoidal_embeddings",
    "sparse_multilabel_categorical_crossentropy",
    "swish",
    "symbolic",
    "where",
]


def __getattr__(name):
    if name == "tf":
        return require("tensorflow", "tensorflow", "keras_su.backend.tf")
    raise AttributeError(f"module 'keras_su.backend' has no attribute {name!r}")
