"""A stream of batches that Keras trains on although their sizes vary."""

import itertools

import keras
from keras import ops
from keras.src.trainers.data_adapters.data_adapter import DataAdapter

from keras_su.data.batching import for_keras
from keras_su.errors import require


class BatchStream(DataAdapter):
    """An iterator over batches, for people and for ``fit``, ``evaluate`` and ``predict``.

    Keras takes plain generators as well, but on TensorFlow it fixes every size in which the first two batches agree, and stops at
    the first batch that differs. This stream knows more: see `open_shape`. Keras asks whatever calls itself a data adapter.

    Args:
        batches: iterator over ``(inputs, labels)`` or ``(inputs, labels, weights)``, with tuples for several arrays.
        whole: whether an item is such a batch; ``False`` for inputs alone.
    """

    num_batches = None
    batch_size = None

    def __init__(self, batches, whole=True):
        self._batches = iter(batches)
        self._whole = whole
        self._fresh = True
        self._again = []

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._batches)

    def _next_for_keras(self):
        for batch in self._batches:
            yield for_keras(batch if self._whole else (batch,))

    def get_numpy_iterator(self):
        """The batches as Keras takes them."""
        again, self._again = self._again, []
        yield from again
        for batch in self._next_for_keras():
            # A model that is not built yet gets one batch to look at, and then another iterator: that batch comes again.
            self._again, self._fresh = [batch] if self._fresh else [], False
            yield batch

    def get_jax_iterator(self):
        """The same for JAX."""
        return self.get_numpy_iterator()

    def get_torch_dataloader(self):
        """The same as tensors, for PyTorch."""
        return (keras.tree.map_structure(ops.convert_to_tensor, batch, none_is_leaf=False) for batch in self.get_numpy_iterator())

    def get_tf_dataset(self):
        """The same as a ``tf.data.Dataset``."""
        tf = require("tensorflow", "tensorflow", "training on TensorFlow")
        self._fresh = False
        self._again += itertools.islice(self._next_for_keras(), 2 - len(self._again))
        lengths = {sizes for arrays in _side_by_side(self._again) if _holds_ids(arrays[0]) for sizes in _sizes(arrays)}
        specs = [tf.TensorSpec(open_shape(arrays, lengths), arrays[0].dtype) for arrays in _side_by_side(self._again)]
        signature = keras.tree.pack_sequence_as(self._again[0], specs)
        return tf.data.Dataset.from_generator(self.get_numpy_iterator, output_signature=signature).prefetch(tf.data.AUTOTUNE)


def open_shape(arrays, lengths):
    """The shape that fits one array of the first batches and, as far as can be told, of all later ones.

    Some sizes must stay known: the channels of an image, the single label in a row. So these are open (``None``): the batch
    axis; where batches differ; all axes of ids, which are integers of 32 or 64 bits, but a last axis of size 1; and axes of other
    arrays that are as long as one of the ids.

    Args:
        arrays: the array as it is in each of the first batches.
        lengths: for the axes of ids, their sizes in these batches.

    >>> import numpy as np
    >>> open_shape([np.ones((2, 7, 7, 3)), np.ones((2, 7, 7, 3))], lengths={(7, 7)})
    [None, None, None, 3]
    >>> open_shape([np.array([[0], [1]])] * 2, lengths=set())
    [None, 1]
    """
    shape = [None]
    for axis, sizes in enumerate(_sizes(arrays), 1):
        single = set(sizes) == {1} and axis == len(arrays[0].shape) - 1
        varies = len(set(sizes)) > 1 or not single and (_holds_ids(arrays[0]) or sizes in lengths)
        shape.append(None if varies else sizes[0])
    return shape


def _side_by_side(batches):
    """For every array of a batch, that array in each of the batches."""
    return list(zip(*map(keras.tree.flatten, batches)))


def _sizes(arrays):
    """For every axis but that of the batch, its size in each array."""
    return list(zip(*(array.shape[1:] for array in arrays)))


def _holds_ids(array):
    return keras.backend.standardize_dtype(array.dtype) in ("int32", "int64")
