"""Operations on tensors between a file and a model; what the model holds is written back."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Transpose:
    """Swap the axes of a matrix: torch keeps ``Linear.weight`` as (out, in)."""

    def forward(self, array):
        """From the file to the model; a view, because the backend copies anyway."""
        return array.T

    def backward(self, array):
        """From the model to the file."""
        return np.ascontiguousarray(array.T)

    def shape(self, shape):
        """Shape in the model of a tensor with ``shape`` in the file."""
        return tuple(reversed(shape))

    stored_shape = shape


@dataclass(frozen=True)
class Axes:
    """Permute the axes: ``Axes(2, 1, 0)`` turns a torch convolution kernel (out, in, width) into a Keras one."""

    order: tuple[int, ...]

    def forward(self, array):
        """From the file to the model."""
        return array.transpose(self.order)

    def backward(self, array):
        """From the model to the file."""
        return np.ascontiguousarray(array.transpose(np.argsort(self.order)))

    def shape(self, shape):
        """Shape in the model of a tensor with ``shape`` in the file."""
        return tuple(shape[axis] for axis in self.order)

    def stored_shape(self, shape):
        """Shape in the file of a variable with ``shape``."""
        return tuple(shape[axis] for axis in np.argsort(self.order))


@dataclass(frozen=True)
class Squeeze:
    """Drop a first axis of size 1."""

    def forward(self, array):
        """From the file to the model."""
        return array[0]

    def backward(self, array):
        """From the model to the file."""
        return array[None]

    def shape(self, shape):
        """Shape in the model of a tensor with ``shape`` in the file."""
        return tuple(shape[1:])

    def stored_shape(self, shape):
        """Shape in the file of a variable with ``shape``."""
        return (1, *shape)


@dataclass(frozen=True)
class SkipRows:
    """Leave out the first rows, which are padding; they are zeros when written."""

    count: int

    def forward(self, array):
        """From the file to the model."""
        return array[self.count :]

    def backward(self, array):
        """From the model to the file."""
        return np.concatenate([np.zeros((self.count, *array.shape[1:]), array.dtype), array])

    def shape(self, shape):
        """Shape in the model of a tensor with ``shape`` in the file."""
        return (shape[0] - self.count, *shape[1:])

    def stored_shape(self, shape):
        """Shape in the file of a variable with ``shape``."""
        return (shape[0] + self.count, *shape[1:])


@dataclass(frozen=True)
class UnitRows:
    """Divide each row by its length, once, where the original does so at every step (the output layer of Baichuan 2)."""

    def forward(self, array):
        """From the file to the model."""
        wide = array.astype("float32")
        return wide / np.maximum(np.linalg.norm(wide, axis=-1, keepdims=True), 1e-12)

    def backward(self, array):
        """From the model to the file: rows of length 1 mean the same."""
        return array

    def shape(self, shape):
        """Shape in the model of a tensor with ``shape`` in the file."""
        return tuple(shape)

    stored_shape = shape
