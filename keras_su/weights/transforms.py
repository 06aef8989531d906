"""Reversible operations on tensors between a file and a model."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Transpose:
    """Swap the axes of a matrix: torch keeps ``Linear.weight`` as (out, in)."""

    def forward(self, array):
        """From the file to the model."""
        return np.ascontiguousarray(array.T)

    def backward(self, array):
        """From the model to the file."""
        return np.ascontiguousarray(array.T)

    def shape(self, shape):
        """Shape in the model of a tensor with ``shape`` in the file."""
        return tuple(reversed(shape))
