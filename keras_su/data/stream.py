"""A stream of batches that Keras trains on whatever their sizes are."""

import keras
from keras import ops
from keras.src.trainers.data_adapters.data_adapter import DataAdapter

from keras_su.data.batching import for_keras
from keras_su.errors import require


class BatchStream(DataAdapter):
    """An iterator over batches, for people and for ``fit``, ``evaluate`` and ``predict``.

    Keras takes plain generators as well, but on TensorFlow it reads the sizes of all axes from the first two batches and stops at
    the first batch that differs: two batches of equal length in the beginning, and training ends at the third. Here only the
    number of axes is fixed. Keras asks whatever calls itself a data adapter.

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
        self._tried = None

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._batches)

    def get_numpy_iterator(self):
        """The batches as Keras takes them."""
        if self._tried is not None:
            first, self._tried = self._tried, None
            yield first
        for batch in self._batches:
            batch = for_keras(batch if self._whole else (batch,))
            # A model that is not built yet gets one batch to look at, and then another iterator: that batch comes again.
            self._tried, self._fresh = batch if self._fresh else None, False
            yield batch

    def get_jax_iterator(self):
        """The same for JAX."""
        return self.get_numpy_iterator()

    def get_torch_dataloader(self):
        """The same as tensors, for PyTorch."""
        return (keras.tree.map_structure(ops.convert_to_tensor, batch, none_is_leaf=False) for batch in self.get_numpy_iterator())

    def get_tf_dataset(self):
        """The same as a ``tf.data.Dataset``, in which all sizes are open."""
        tf = require("tensorflow", "tensorflow", "training on TensorFlow")
        first = self._tried = next(self.get_numpy_iterator())
        signature = keras.tree.map_structure(lambda array: tf.TensorSpec([None] * len(array.shape), array.dtype), first)
        return tf.data.Dataset.from_generator(self.get_numpy_iterator, output_signature=signature).prefetch(tf.data.AUTOTUNE)
