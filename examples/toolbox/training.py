"""How the examples train."""

import sys

import keras

from keras_su.optimizers import PiecewiseLinear

VERBOSE = 1 if sys.stdout.isatty() else 2  # a bar for a person, a line an epoch for a file


def optimizer(learning_rate, steps, **arguments):
    """AdamW as BERT is trained: up for a tenth of the steps, then down to zero; norms and biases do not decay.

    Args:
        learning_rate: the highest.
        steps: batches of the whole training.
        **arguments: of ``keras.optimizers.AdamW``.
    """
    warmup = max(steps // 10, 1)
    rate = PiecewiseLinear(learning_rate, {warmup: 1.0, max(steps, warmup + 1): 0.0})
    adamw = keras.optimizers.AdamW(rate, **{"weight_decay": 0.01, "global_clipnorm": 1.0, **arguments})
    adamw.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return adamw
