"""Losses: functions on tensors, and classes of the same names for ``compile``.

Functions return float32 values that are not yet averaged, one for each row or token, unless they say otherwise. Nothing is
masked silently: what must not count is said with ``mask``, with labels, or by a logit of minus infinity.
"""

from keras_su.losses.contrastive import (
    FlatNCE,
    InBatchPairContrastive,
    InfoNCE,
    flatnce,
    in_batch_pair_contrastive,
    info_nce,
    pair_scores,
)
from keras_su.losses.crossentropy import (
    Seq2SeqCrossentropy,
    next_token_crossentropy,
    seq2seq_crossentropy,
    token_crossentropy,
)
from keras_su.losses.multilabel import (
    GlobalPointerCrossentropy,
    MultilabelCategoricalCrossentropy,
    SparseMultilabelCategoricalCrossentropy,
    global_pointer_crossentropy,
    multilabel_categorical_crossentropy,
    sparse_global_pointer_crossentropy,
    sparse_multilabel_categorical_crossentropy,
)
from keras_su.losses.numerics import masked_mean
from keras_su.losses.pairs import split_pairs
from keras_su.losses.regularized import RDrop, flooding, r_drop, symmetric_divergence
from keras_su.losses.similarity import CoSENT, SimilarityDistillation, cosent, similarity_distillation

__all__ = [
    "CoSENT",
    "FlatNCE",
    "GlobalPointerCrossentropy",
    "InBatchPairContrastive",
    "InfoNCE",
    "MultilabelCategoricalCrossentropy",
    "RDrop",
    "Seq2SeqCrossentropy",
    "SimilarityDistillation",
    "SparseMultilabelCategoricalCrossentropy",
    "cosent",
    "flatnce",
    "flooding",
    "global_pointer_crossentropy",
    "in_batch_pair_contrastive",
    "info_nce",
    "masked_mean",
    "multilabel_categorical_crossentropy",
    "next_token_crossentropy",
    "pair_scores",
    "r_drop",
    "seq2seq_crossentropy",
    "similarity_distillation",
    "sparse_global_pointer_crossentropy",
    "sparse_multilabel_categorical_crossentropy",
    "split_pairs",
    "symmetric_divergence",
    "token_crossentropy",
]
