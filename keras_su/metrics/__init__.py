"""Measures of how good predictions are, all in 0 to 1 (rank correlation: -1 to 1).

What has no value is 0: F1 without anything to find and anything found, as in `lcs_f1`.
"""

from keras_su.metrics.answers import CommonSubsequence, exact_match, lcs_f1
from keras_su.metrics.keras_metrics import GlobalPointerF1, MaskedAccuracy, masked_accuracy
from keras_su.metrics.ranking import mean_reciprocal_rank, precision_at_k, recall_at_k, spearman
from keras_su.metrics.spans import EntityScores, SpanScores, entities, entity_scores, span_scores
from keras_su.metrics.texts import bleu, characters, rouge

__all__ = [
    "CommonSubsequence",
    "EntityScores",
    "GlobalPointerF1",
    "MaskedAccuracy",
    "SpanScores",
    "bleu",
    "characters",
    "entities",
    "entity_scores",
    "exact_match",
    "lcs_f1",
    "masked_accuracy",
    "mean_reciprocal_rank",
    "precision_at_k",
    "recall_at_k",
    "rouge",
    "span_scores",
    "spearman",
]
