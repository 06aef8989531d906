"""What the examples share, so that each of them shows its own idea only: options, models, training, baselines, results."""

from toolbox.backbone import Backbone, small_config
from toolbox.batches import in_order, padded, padded_pairs
from toolbox.heads import AtPositions
from toolbox.options import Options
from toolbox.report import Report
from toolbox.training import VERBOSE, optimizer
from toolbox.vocabulary import character_vocabulary

__all__ = [
    "VERBOSE",
    "AtPositions",
    "Backbone",
    "Options",
    "Report",
    "character_vocabulary",
    "in_order",
    "optimizer",
    "padded",
    "padded_pairs",
    "small_config",
]
