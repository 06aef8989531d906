"""Keras layers of the package; every class here is registered, so ``.keras`` files load with ``import keras_su`` alone."""

import importlib

import keras as _keras
import numpy as np

from keras_su.errors import did_you_mean
from keras_su.layers.attention import MultiHeadAttention
from keras_su.layers.base import Layer
from keras_su.layers.crf import ConditionalRandomField
from keras_su.layers.disentangled import DisentangledAttention, MaskedConvolution
from keras_su.layers.embedding import Embedding, EmbeddingRows, PositionEmbedding, SinusoidalPositionEmbedding
from keras_su.layers.feed_forward import FeedForward, Mapping, SoftCap
from keras_su.layers.function import Lambda
from keras_su.layers.gated_attention import GatedAttentionUnit
from keras_su.layers.global_pointer import EfficientGlobalPointer, GlobalPointer
from keras_su.layers.joining import BatchConcat, BatchSplit, Concatenate1D, integerize_shape
from keras_su.layers.loss_layer import Loss
from keras_su.layers.memm import MaximumEntropyMarkovModel
from keras_su.layers.mixed_chunk import MixedChunkAttention
from keras_su.layers.normalization import LayerNormalization, ScaleOffset
from keras_su.layers.pooling import Pooling
from keras_su.layers.positions import RelativePositionEmbedding, RelativePositionEmbeddingT5, RotaryPositionEmbedding
from keras_su.layers.residual import Residual
from keras_su.layers.sequence_pooling import AttentionPooling1D, GlobalAveragePooling1D, GlobalMaxPooling1D
from keras_su.layers.tokens import AttentionMask, FirstToken, PositionIds

__all__ = [
    "AttentionMask",
    "AttentionPooling1D",
    "BatchConcat",
    "BatchSplit",
    "Concatenate1D",
    "ConditionalRandomField",
    "DisentangledAttention",
    "EfficientGlobalPointer",
    "Embedding",
    "EmbeddingRows",
    "FeedForward",
    "FirstToken",
    "GatedAttentionUnit",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "GlobalPointer",
    "Lambda",
    "Layer",
    "LayerNormalization",
    "Loss",
    "Mapping",
    "MaskedConvolution",
    "MaximumEntropyMarkovModel",
    "MixedChunkAttention",
    "MultiHeadAttention",
    "Pooling",
    "PositionEmbedding",
    "PositionIds",
    "RelativePositionEmbedding",
    "RelativePositionEmbeddingT5",
    "Residual",
    "RotaryPositionEmbedding",
    "ScaleOffset",
    "SinusoidalPositionEmbedding",
    "SoftCap",
    "integerize_shape",
]

# Scripts for bert4keras write ``from keras_su.layers import *`` and expect the layers of Keras there, too, and ``keras``, ``K``
# and ``np``. A name that both have is ours.
_OWN = tuple(__all__)
_SCRIPTS = ("K", "keras")
custom_objects = _keras.saving.get_custom_objects()
__all__ += [name for name in dir(_keras.layers) if not name.startswith("_") and name not in _OWN] + [*_SCRIPTS, "np"]


def __getattr__(name):
    # What stands above the layers; nobody has asked for it by the time they are imported.
    if name in _SCRIPTS:
        return getattr(importlib.import_module("keras_su.backend"), name)
    if name == "Model":
        return importlib.import_module("keras_su.models.keras2").Model
    if hasattr(_keras.layers, name):
        return getattr(_keras.layers, name)
    raise AttributeError(f"module 'keras_su.layers' has no attribute {name!r}.{did_you_mean(name, __all__)}")
