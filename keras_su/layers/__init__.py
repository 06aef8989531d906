"""Keras layers of the package; every class here is registered, so ``.keras`` files load with ``import keras_su`` alone."""

from keras_su.layers.attention import MultiHeadAttention
from keras_su.layers.base import Layer
from keras_su.layers.crf import ConditionalRandomField
from keras_su.layers.disentangled import DisentangledAttention, MaskedConvolution
from keras_su.layers.embedding import Embedding, EmbeddingRows, PositionEmbedding, SinusoidalPositionEmbedding
from keras_su.layers.feed_forward import FeedForward, Mapping, SoftCap
from keras_su.layers.gated_attention import GatedAttentionUnit
from keras_su.layers.memm import MaximumEntropyMarkovModel
from keras_su.layers.normalization import LayerNormalization, ScaleOffset
from keras_su.layers.pooling import Pooling
from keras_su.layers.positions import RelativePositionEmbedding, RelativePositionEmbeddingT5, RotaryPositionEmbedding
from keras_su.layers.residual import Residual
from keras_su.layers.tokens import AttentionMask, FirstToken, PositionIds

__all__ = [
    "AttentionMask",
    "ConditionalRandomField",
    "DisentangledAttention",
    "Embedding",
    "EmbeddingRows",
    "FeedForward",
    "FirstToken",
    "GatedAttentionUnit",
    "Layer",
    "LayerNormalization",
    "Mapping",
    "MaskedConvolution",
    "MaximumEntropyMarkovModel",
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
]
