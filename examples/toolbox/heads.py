"""Heads at some positions only: the vocabulary is the most expensive part of a small model."""

from dataclasses import dataclass

import keras
from keras import ops


@dataclass(frozen=True)
class AtPositions:
    """A head of a model's specification that is applied at some positions; see ``edit=`` of `build_transformer_model`.

    Attributes:
        head: the head, such as ``spec.heads[-1]``; ``None`` for the hidden states there.
        positions: an input of the model, integers ``(batch, places)``.
    """

    head: object
    positions: keras.KerasTensor
    has_class = True  # what a checkpoint of the model is called

    def apply(self, graph, hidden):
        picked = ops.take_along_axis(hidden, ops.expand_dims(self.positions, -1), axis=1)
        return self.head.apply(graph, picked) if self.head else picked
