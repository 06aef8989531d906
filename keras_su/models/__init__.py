"""Models: :func:`build_transformer_model` and what stands behind it.

As in bert4keras, ``from keras_su.models import *`` also gives the names of :mod:`keras_su.layers` and those of Keras' layers.
"""

import keras_su.models.families  # noqa: F401  (registers the families)
from keras_su import layers as _layers
from keras_su.models.build import build_transformer_model
from keras_su.models.classes import (
    ALBERT,
    BERT,
    ELECTRA,
    GPT,
    GPT2,
    GPT2_ML,
    NEZHA,
    T5,
    ALBERT_Unshared,
    LM_Mask,
    RoFormer,
    RoFormerV2,
    T5_Base,
    T5_Decoder,
    T5_Encoder,
    UniLM_Mask,
    extend_with_language_model,
    extend_with_unified_language_model,
)
from keras_su.models.handle import Transformer
from keras_su.models.keras2 import Model, load_model
from keras_su.models.parallel import data_parallel
from keras_su.models.registry import Family, list_models, register_family
from keras_su.models.spec import Spec

__all__ = [
    "ALBERT",
    "ALBERT_Unshared",
    "BERT",
    "ELECTRA",
    "Family",
    "GPT",
    "GPT2",
    "GPT2_ML",
    "LM_Mask",
    "Model",
    "NEZHA",
    "RoFormer",
    "RoFormerV2",
    "Spec",
    "T5",
    "T5_Base",
    "T5_Decoder",
    "T5_Encoder",
    "Transformer",
    "UniLM_Mask",
    "build_transformer_model",
    "data_parallel",
    "extend_with_language_model",
    "extend_with_unified_language_model",
    "list_models",
    "load_model",
    "register_family",
]
__all__ += [name for name in _layers.__all__ if name not in set(__all__)]


def __getattr__(name):
    return getattr(_layers, name)
