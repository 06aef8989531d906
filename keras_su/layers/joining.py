"""Putting tensors together and taking them apart, along time or the batch, with their masks."""

import functools
from itertools import pairwise

import keras
from keras import ops

from keras_su.errors import bad_value
from keras_su.layers.base import Layer
from keras_su.registration import register


def _joined_masks(inputs, masks, axis):
    """The masks of ``inputs`` put together; where one has none, all of it is valid. ``None`` if nobody has one."""
    if masks is None or all(mask is None for mask in masks):
        return None
    everywhere = [ops.ones_like(x[(slice(None), slice(None)) + (0,) * (len(x.shape) - 2)], dtype="bool") for x in inputs]
    masks = [valid if mask is None else mask for valid, mask in zip(everywhere, masks)]
    return ops.concatenate([ops.cast(mask, "bool") for mask in masks], axis=axis)


def _joined_shape(inputs, axis):
    sizes = [x.shape[axis] for x in inputs]
    shape = list(inputs[0].shape)
    shape[axis] = None if None in sizes else sum(sizes)
    return shape


@register
class Concatenate1D(Layer):
    """Put sequences one behind the other: a list of ``(batch, length, ...)`` becomes one tensor.

    Their masks are joined as well; a sequence without a mask is valid everywhere.
    """

    def call(self, inputs):
        return ops.concatenate(inputs, axis=1)

    def compute_mask(self, inputs, mask=None):
        return _joined_masks(inputs, mask, 1)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(_joined_shape(inputs, 1), self.compute_dtype)


@register
class BatchSplit(Layer):
    """Cut a batch into parts, which :class:`BatchConcat` puts together again.

    Args:
        parts: number of parts, of equal size as far as possible; or a list of their proportions.

    Call arguments:
        inputs: a tensor, or a list of tensors with the same batch.

    Returns:
        list of the parts, first those of the first tensor.

    >>> import numpy as np
    >>> [int(part.shape[0]) for part in BatchSplit([1, 3])(np.ones((8, 2)))]
    [2, 6]
    """

    def __init__(self, parts, **kwargs):
        super().__init__(**kwargs)
        if not (isinstance(parts, int) and parts > 0) and not (isinstance(parts, (list, tuple)) and parts and min(parts) > 0):
            raise bad_value("BatchSplit: parts", parts, "a positive number of parts, or a list of their proportions")
        self.parts = parts

    def call(self, inputs):
        if isinstance(inputs, (list, tuple)):
            return [part for x in inputs for part in self.call(x)]
        rows = ops.shape(inputs)[0]
        if isinstance(self.parts, int):
            stride = (rows + self.parts - 1) // self.parts
            bounds = [stride * number for number in range(self.parts)]
        else:
            shares = [sum(self.parts[:number]) / sum(self.parts) for number in range(len(self.parts))]
            if isinstance(rows, int):
                bounds = [int(rows * share + 1e-6) for share in shares]
            else:  # TensorFlow, in a graph
                bounds = [ops.cast(ops.cast(rows, "float32") * share + 1e-4, "int32") for share in shares]
        return [inputs[start:stop] for start, stop in pairwise([*bounds, rows])]

    def _count(self):
        return self.parts if isinstance(self.parts, int) else len(self.parts)

    def compute_mask(self, inputs, mask=None):
        if isinstance(mask, (list, tuple)):
            return [part for x, one in zip(inputs, mask) for part in self.compute_mask(x, one)]
        if mask is None:
            return [None] * self._count()
        # A graph wants a layer for what no operation of Keras can do.
        return BatchSplit(self.parts)(mask) if isinstance(mask, keras.KerasTensor) else self.call(mask)

    def compute_output_spec(self, inputs):
        inputs = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        return [keras.KerasTensor((None, *x.shape[1:]), x.dtype) for x in inputs for _ in range(self._count())]


@register
class BatchConcat(Layer):
    """Put batches together: a list of ``(batch, ...)`` becomes one tensor.

    Their masks are joined as well; a part without a mask is valid everywhere.
    """

    def call(self, inputs):
        return ops.concatenate(inputs, axis=0)

    def compute_mask(self, inputs, mask=None):
        return _joined_masks(inputs, mask, 0)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(_joined_shape(inputs, 0), self.compute_dtype)


def integerize_shape(build):
    """Decorator for ``build(self, input_shape)``: the method gets tuples of ``int`` or ``None``, or lists of such tuples.

    What else shapes are made of, such as sizes that carry their number as ``value``, is converted.
    """

    def plain(item):
        if isinstance(item, dict):
            return {name: plain(shape) for name, shape in item.items()}
        if hasattr(item, "__iter__"):
            sizes = [plain(one) for one in item]
            return sizes if any(isinstance(one, (tuple, list)) for one in sizes) else tuple(sizes)
        item = getattr(item, "value", item)
        return None if item is None else int(item)

    @functools.wraps(build)
    def build_with_plain_shape(self, input_shape):
        return build(self, plain(input_shape))

    return build_with_plain_shape
