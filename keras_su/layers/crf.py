"""Linear-chain conditional random fields."""

import keras
from keras import ops

from keras_su.layers.base import Layer
from keras_su.layers.tagging import accuracy, effective_glorot, sparse_labels, to_front, visible_scores
from keras_su.ops.sequence import sequence_masking
from keras_su.registration import register


@register
class ConditionalRandomField(Layer):
    """A linear-chain conditional random field over scores of tags (Lafferty et al. 2001).

    The layer returns its input, with minus infinity on padded steps: so the mask reaches the loss. It holds the transitions and
    gives the functions to train with::

        model.compile(loss=crf.sparse_loss, optimizer="adam", metrics=[crf.sparse_accuracy])

    A step counts if it is not padding and has a label. Padding may stand anywhere, and a label outside of ``0 ... tags - 1``
    says that there is none; the chain runs through the other steps as if those were not there.

    Args:
        lr_multiplier: the stored weight is used this many times as large, which makes transitions learn as much faster. Their
            initial values do not depend on it.

    Call arguments:
        inputs: scores ``(batch, length, tags)``, without softmax.

    Returns:
        the scores, in their dtype.

    >>> import numpy as np
    >>> crf = ConditionalRandomField()
    >>> scores = crf(np.array([[[1.0, 0.0], [0.0, 1.0]]], "float32"))
    >>> tuple(crf.sparse_loss(np.array([[0, 1]]), scores).shape)
    (1,)
    """

    def __init__(self, lr_multiplier=1, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.lr_multiplier = lr_multiplier
        # XLA, which Keras asks for on GPUs, cannot differentiate TensorFlow's loop over a length that is not known.
        self.supports_jit = keras.backend.backend() != "tensorflow"

    def build(self, input_shape):
        tags = input_shape[-1]
        self._trans = self.add_weight(name="trans", shape=(tags, tags), initializer=effective_glorot(self.lr_multiplier))
        self.built = True

    @property
    def trans(self):
        """Scores of transitions ``(tags, tags)``, from the row's tag to the column's."""
        return self._trans if self.lr_multiplier == 1 else self.lr_multiplier * self._trans

    def call(self, inputs, mask=None):
        return sequence_masking(inputs, mask, "-inf", 1)

    def compute_mask(self, inputs, mask=None):
        return None

    def compute_output_spec(self, inputs, mask=None):
        return keras.KerasTensor(inputs.shape, inputs.dtype)

    def dense_loss(self, y_true, y_pred):
        """Negative log-likelihood of the labels of each text, never below zero.

        Args:
            y_true: one-hot labels ``(batch, length, tags)``; a row of zeros is no label.
            y_pred: output of the layer.

        Returns:
            float32 ``(batch,)``; 0 where nothing counts.
        """
        scores, visible = visible_scores(y_pred)
        y_true = ops.cast(y_true, "float32")
        counts = ops.logical_and(visible, ops.any(ops.greater(y_true, 0), axis=-1))
        y_true = ops.where(counts[..., None], y_true, 0.0)
        counts, scores, y_true = to_front(counts, scores, y_true)
        trans = ops.cast(self.trans, "float32")
        path = ops.sum(scores * y_true, axis=(1, 2)) + ops.sum(ops.matmul(y_true[:, :-1], trans) * y_true[:, 1:], axis=(1, 2))
        return ops.maximum(_log_norm(scores, trans, counts) - path, 0.0)  # below zero by rounding only

    def sparse_loss(self, y_true, y_pred):
        """:meth:`dense_loss` of integer labels, ``(batch, length)`` or ``(batch, length, 1)``, of any dtype."""
        labels, known = sparse_labels(y_true, y_pred)
        one_hot = ops.one_hot(labels, y_pred.shape[-1], dtype="float32")
        return self.dense_loss(one_hot * ops.cast(known, "float32")[..., None], y_pred)

    def dense_accuracy(self, y_true, y_pred):
        """:meth:`sparse_accuracy` of one-hot labels."""
        labelled = ops.any(ops.greater(y_true, 0), axis=-1)
        return self.sparse_accuracy(ops.where(labelled, ops.cast(ops.argmax(y_true, axis=-1), "int32"), -1), y_pred)

    def sparse_accuracy(self, y_true, y_pred):
        """Share of the steps that count whose highest score is at the label: a quick look that ignores transitions.

        For the tags that the whole field prefers, see :meth:`decode`.
        """
        labels, known = sparse_labels(y_true, y_pred)
        scores, visible = visible_scores(y_pred)
        return accuracy(ops.argmax(scores, axis=-1), labels, ops.logical_and(visible, known))

    def decode(self, y_pred):
        """The most probable tags of each text, by the Viterbi algorithm.

        Args:
            y_pred: output of the layer.

        Returns:
            int32 ``(batch, length)``, -1 on padded steps.
        """
        scores, visible = visible_scores(ops.convert_to_tensor(y_pred))
        exists, scores = to_front(visible, scores)
        best = _best_paths(scores, ops.cast(self.trans, "float32"), exists)
        place = ops.cumsum(ops.cast(visible, "int32"), axis=1) - 1
        best = ops.take_along_axis(best, ops.maximum(place, 0), axis=1)
        return ops.where(visible, ops.cast(best, "int32"), -1)


def _later_steps(scores, counts):
    """The steps after the first, time first, ``(length, batch, tags + 1)``: scores, and 1 in the last column where a step counts.

    The first step is there, too, and does not count: a scan needs at least one. It is one tensor, because on TensorFlow Keras'
    scan over several needs to know their length.
    """
    counts = ops.logical_and(counts, ops.greater(ops.arange(ops.shape(counts)[1]), 0))
    return ops.transpose(ops.concatenate([scores, ops.cast(counts[..., None], scores.dtype)], axis=-1), (1, 0, 2))


def _score_and_counted(step):
    return step[:, :-1], ops.greater(step[:, -1:], 0)


def _log_norm(scores, trans, counts):
    """Logarithm of the sum over all paths of ``exp(score)``, ``(batch,)``; 0 for a row in which nothing counts."""

    def step(before, now):
        score, counted = _score_and_counted(now)
        after = ops.logsumexp(before[:, :, None] + trans, axis=1) + score
        after = ops.where(counted, after, before)
        return after, after

    last, _ = ops.scan(step, scores[:, 0], _later_steps(scores, counts))
    return ops.where(counts[:, 0], ops.logsumexp(last, axis=1), 0.0)


def _best_paths(scores, trans, exists):
    """The best path of each row, ``(batch, length)``; steps that do not exist, at the end, repeat its last tag."""

    # Places are floats here: on TensorFlow, what a scan returns has the dtype of what it carries.
    def forward(before, now):
        score, counted = _score_and_counted(now)
        paths = before[:, :, None] + trans
        origin = ops.where(counted, ops.argmax(paths, axis=1), ops.arange(trans.shape[0], dtype="int32"))
        return ops.where(counted, ops.max(paths, axis=1) + score, before), ops.cast(origin, scores.dtype)

    def backward(tag, origins):
        place = ops.cast(tag, "int32")[:, None]
        return ops.take_along_axis(origins, place, axis=1)[:, 0], tag

    steps = _later_steps(scores, exists)
    last, origins = ops.scan(forward, scores[:, 0], steps)
    origins = ops.reshape(origins, ops.shape(steps[..., :-1]))  # TensorFlow has forgotten the shape
    _, tags = ops.scan(backward, ops.cast(ops.argmax(last, axis=1), scores.dtype), origins, reverse=True)
    return ops.transpose(ops.reshape(tags, ops.shape(steps)[:2]))
