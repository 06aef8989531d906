"""Batches of samples of similar length, so that little of them is padding."""

import keras
import numpy as np

from keras_su.data.batching import as_tuples, for_keras
from keras_su.errors import bad_value


class BucketedDataset(keras.utils.PyDataset):
    """A data set for ``fit``, ``evaluate`` and ``predict`` whose batches hold samples of similar length.

    Every epoch shuffles the samples, sorts them by length within windows of some batches, and shuffles the batches. What comes
    depends on ``seed`` and ``epoch`` only. The first batch is the longest one, so that a lack of memory shows at once, and the
    second the shortest: Keras on TensorFlow learns from these two which axes vary. Call ``fit(..., shuffle=False)``, or Keras
    shuffles the batches once more, by Python's global generator.

    Args:
        samples: sequence of samples, with a length and an index.
        collate: function from a list of samples to a batch ``(inputs, labels)``; several inputs may be a list, labels may be
            ``None`` or absent.
        batch_size: samples in a batch.
        length: function from a sample to its length, called once for each; default ``len``.
        window: how many batches are sorted together. More save more padding and shuffle less.
        shuffle: ``False`` sorts all samples by length, the same in each epoch; `plan` says which sample went where.
        drop_last: leave out the samples that do not fill a batch, others in each epoch.
        seed: integer, 0 or more.
        **kwargs: ``workers``, ``use_multiprocessing`` and ``max_queue_size``, as of ``keras.utils.PyDataset``.

    Attributes:
        epoch: number of the epoch. It goes up by one when Keras ends an epoch, also after the single batch with which it builds a
            model; set it to get the batches of a certain one.

    Raises:
        KerasSuError: there are no samples, fewer than one batch with ``drop_last``, or an argument is out of range.

    >>> texts = ["红楼梦", "谁", "红楼", "我"]
    >>> dataset = BucketedDataset(texts, lambda texts: np.array([[len(text)] for text in texts]), batch_size=2)
    >>> [batch[0].ravel().tolist() for batch in dataset]
    [[2, 3], [1, 1]]
    """

    def __init__(
        self, samples, collate, batch_size=32, *, length=len, window=50, shuffle=True, drop_last=False, seed=0, **kwargs
    ):
        super().__init__(**kwargs)
        for name, value, least in (("batch_size", batch_size, 1), ("window", window, 1), ("seed", seed, 0)):
            if not isinstance(value, (int, np.integer)) or value < least:
                raise bad_value(name, value, f"an integer, {least} or more")
        least = batch_size if drop_last else 1
        if len(samples) < least:
            raise bad_value("number of samples", len(samples), f"at least {least}")
        self.samples = samples
        self.collate = collate
        self.batch_size = batch_size
        self.window = window
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = seed
        self.epoch = 0
        self._lengths = np.array([length(samples[index]) for index in range(len(samples))])
        self._planned = None, None
        self._begun = False

    def __len__(self):
        return len(self.samples) // self.batch_size if self.drop_last else -(-len(self.samples) // self.batch_size)

    def __getitem__(self, index):
        return for_keras(as_tuples(self.collate([self.samples[i] for i in self.plan[index]])))

    @property
    def plan(self):
        """The numbers of the samples in each batch of this epoch: a list of integer arrays."""
        epoch, plan = self._planned
        if epoch != self.epoch:
            plan = self._plan()
            self._planned = self.epoch, plan
        return plan

    def _plan(self):
        dice = np.random.default_rng([self.seed, self.epoch])
        count = len(self.samples)
        order = dice.permutation(count) if self.shuffle else np.arange(count)
        if self.drop_last:
            order = order[: len(self) * self.batch_size]
        span = self.window * self.batch_size if self.shuffle else count
        windows = [order[start : start + span] for start in range(0, len(order), span)]
        windows = [window[np.argsort(self._lengths[window], kind="stable")] for window in windows]
        batches = [w[start : start + self.batch_size] for w in windows for start in range(0, len(w), self.batch_size)]
        if self.shuffle:
            batches = [batches[i] for i in dice.permutation(len(batches))]
        longest = max(range(len(batches)), key=lambda i: self._lengths[batches[i][-1]])
        batches.insert(0, batches.pop(longest))
        if len(batches) > 2:
            shortest = min(range(1, len(batches)), key=lambda i: self._lengths[batches[i][-1]])
            batches.insert(1, batches.pop(shortest))
        return batches

    def on_epoch_begin(self):
        """Called by Keras."""
        self._begun = True

    def on_epoch_end(self):
        """Called by Keras, sometimes twice."""
        self.epoch += self._begun
        self._begun = False
