"""The generator of batches that scripts subclass."""

import functools

import numpy as np

from keras_su.data.batching import as_tuples
from keras_su.errors import KerasSuError, require


class DataGenerator:
    """Base of the generators of bert4keras' scripts: a subclass says how samples become batches.

    It overrides ``__iter__(self, random=False)``, goes through ``self.sample(random)`` and yields ``inputs, labels``. Several
    inputs or labels may be lists; what comes out has tuples instead (`as_tuples`), which Keras takes on every backend.

    Args:
        data: the samples: anything with a length and an index, or any iterable.
        batch_size: samples in a batch; kept for the subclass.
        buffer_size: of data without a length, how many samples are shuffled at a time; default 1000 batches.

    Attributes:
        steps: batches in a pass, ``None`` for data without a length. ``len(generator)`` is the same.

    >>> class Numbers(DataGenerator):
    ...     def __iter__(self, random=False):
    ...         batch = []
    ...         for is_end, number in self.sample(random):
    ...             batch.append([number])
    ...             if len(batch) == self.batch_size or is_end:
    ...                 yield [np.array(batch), np.zeros_like(batch)], None
    ...                 batch = []
    >>> numbers = Numbers([1, 2, 3], batch_size=2)
    >>> len(numbers), [inputs[0].tolist() for inputs, labels in numbers]
    (2, [[[1], [2]], [[3]]])
    """

    def __init__(self, data, batch_size=32, buffer_size=None):
        self.data = data
        self.batch_size = batch_size
        self.steps = -(-len(data) // batch_size) if hasattr(data, "__len__") else None
        self.buffer_size = buffer_size or batch_size * 1000

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "__iter__" in vars(cls):
            cls.__iter__ = _with_tuples(vars(cls)["__iter__"])

    def __len__(self):
        if self.steps is None:
            raise TypeError(f"The data of this {type(self).__name__} has no length: pass steps_per_epoch.")
        return self.steps

    def __iter__(self, random=False):
        raise NotImplementedError(f"{type(self).__name__} must define __iter__(self, random=False).")

    def sample(self, random=False):
        """Go through the data once: ``(is_end, sample)``, where ``is_end`` marks the last one.

        Args:
            random: in random order, drawn from numpy's global generator, which ``numpy.random.seed`` sets.
        """
        samples = iter(self._shuffled() if random else self.data)
        for current in samples:
            for following in samples:
                yield False, current
                current = following
            yield True, current

    def _shuffled(self):
        if self.steps is not None:
            for index in np.random.permutation(len(self.data)):
                yield self.data[index]
            return
        buffer = []
        for sample in self.data:
            if len(buffer) >= self.buffer_size:
                buffer.append(sample)
                yield buffer.pop(np.random.randint(len(buffer)))
            else:
                buffer.append(sample)
        while buffer:
            yield buffer.pop(np.random.randint(len(buffer)))

    def forfit(self, random=True):
        """Batches without end for ``model.fit(generator.forfit(), steps_per_epoch=len(generator))``.

        Raises:
            KerasSuError: while iterating, when a pass over the data gives nothing.
        """
        return self._stream(self._endless(random), whole=True)

    def fortest(self, random=False):
        """Inputs without end for ``model.predict(generator.fortest(), steps=len(generator))``."""
        return self._stream((batch[0] for batch in self._endless(random)), whole=False)

    def _endless(self, random):
        while True:
            empty = True
            for batch in self.__iter__(random):
                empty = False
                yield batch
            if empty:
                reason = "The data is empty, or an iterator that has been read already."
                raise KerasSuError(f"{type(self).__name__}: a pass over the data gave no batch. {reason}")

    @staticmethod
    def _stream(batches, whole):
        # It builds on a class that Keras does not promise to keep. Imported here, nothing else would be lost with it.
        from keras_su.data.stream import BatchStream

        return BatchStream(batches, whole)

    def to_dataset(self, types, shapes, names=None, padded_batch=False):
        """A ``tf.data.Dataset`` of batches, for a subclass whose ``__iter__`` yields single samples. TensorFlow only.

        Args:
            types: dtype of each array of a sample, in the structure of the samples.
            shapes: their shapes in the same structure, ``None`` for open sizes.
            names: makes dictionaries of the arrays: one name, a name for each array, or a list of names for the inputs and one
                for the labels.
            padded_batch: pad with zeros to the longest sample of the batch.

        Raises:
            MissingDependencyError: TensorFlow is not installed.
        """
        tf = require("tensorflow", "tensorflow", "DataGenerator.to_dataset, which makes a tf.data.Dataset,")

        def named(values):
            if names is None:
                return values
            if isinstance(names, str):
                return {names: values}
            if isinstance(names[0], str):
                return dict(zip(names, values))
            return tuple(dict(zip(part, inner)) for part, inner in zip(names, values))

        # What is padded may have any size before.
        signature = _leaves(types, shapes, lambda dtype, shape: tf.TensorSpec(None if padded_batch else shape, dtype))
        dataset = tf.data.Dataset.from_generator(lambda: map(named, self.forfit()), output_signature=named(signature))
        if not padded_batch:
            return dataset.batch(self.batch_size)
        return dataset.padded_batch(self.batch_size, named(_leaves(types, shapes, lambda _, shape: tf.TensorShape(shape))))


def _with_tuples(iterate):
    @functools.wraps(iterate)
    def with_tuples(self, *args, **kwargs):
        return map(as_tuples, iterate(self, *args, **kwargs))

    return with_tuples


def _leaves(types, shapes, make):
    """``make(dtype, shape)`` of every array. Shapes are lists themselves, so the structure is that of ``types``."""
    if isinstance(types, (list, tuple)):
        return tuple(_leaves(dtype, shape, make) for dtype, shape in zip(types, shapes))
    return make(types, shapes)
