"""Maximum entropy Markov models, in both directions."""

import keras
from keras import ops

from keras_su.layers.base import Layer
from keras_su.layers.step_values import StepValues, is_shown
from keras_su.layers.tagging import accuracy, effective_glorot, sparse_labels, to_front, visible_scores
from keras_su.ops.sequence import sequence_masking
from keras_su.registration import register


@register
class MaximumEntropyMarkovModel(Layer):
    """A maximum entropy Markov model that reads a text in both directions (McCallum et al. 2000; kexue.fm/archives/7213).

    Each tag is classified, given the tag before it, with the mean of its score and that of the transition; and once more, given
    the tag after it. The loss is the mean of both. It is used like :class:`ConditionalRandomField`, with the same rules for steps
    that count, and it is faster: nothing is summed over paths.

    Args:
        lr_multiplier: the stored weights are used this many times as large, which makes transitions learn as much faster.
        hidden_dim: transitions are then a product of two matrices ``(tags, hidden_dim)``: for many tags.

    Call arguments:
        inputs: scores ``(batch, length, tags)``, without softmax.

    Returns:
        the scores, in their dtype, with minus infinity on padded steps.

    Weights: ``trans``, or ``l_trans`` and ``r_trans``.
    """

    def __init__(self, lr_multiplier=1, hidden_dim=None, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.lr_multiplier = lr_multiplier
        self.hidden_dim = hidden_dim
        self._kept = StepValues()

    def build(self, input_shape):
        tags = input_shape[-1]
        names = ["trans"] if self.hidden_dim is None else ["l_trans", "r_trans"]
        shape = (tags, tags if self.hidden_dim is None else self.hidden_dim)
        initializer = effective_glorot(self.lr_multiplier)
        self._factors = [self.add_weight(name=name, shape=shape, initializer=initializer) for name in names]
        self.built = True

    @property
    def trans(self):
        """Scores of transitions ``(tags, tags)``, from the row's tag to the column's."""
        factors = self._scaled(self._factors)
        return factors[0] if self.hidden_dim is None else ops.matmul(factors[0], ops.transpose(factors[1]))

    def _scaled(self, factors):
        return [self.lr_multiplier * ops.cast(factor, "float32") for factor in factors]

    def call(self, inputs, mask=None):
        self._kept.add(*self._factors)
        return sequence_masking(inputs, mask, "-inf", 1)

    def compute_mask(self, inputs, mask=None):
        return None

    def compute_output_spec(self, inputs, mask=None):
        return keras.KerasTensor(inputs.shape, inputs.dtype)

    def sparse_loss(self, y_true, y_pred):
        """Mean cross entropy of the steps that count, of both directions.

        Args:
            y_true: integer labels of any dtype, ``(batch, length)`` or ``(batch, length, 1)``.
            y_pred: output of the layer.

        Returns:
            float32 scalar; 0 if nothing counts.
        """
        losses = []
        for logits, labels, counts in self._directions(y_true, y_pred):
            chosen = ops.squeeze(ops.take_along_axis(logits, labels[..., None], axis=-1), -1)
            weights = ops.cast(counts, "float32")
            total = ops.sum((ops.logsumexp(logits, axis=-1) - chosen) * weights)
            losses.append(total / ops.maximum(ops.sum(weights), 1.0))
        return (losses[0] + losses[1]) / 2

    def dense_loss(self, y_true, y_pred):
        """:meth:`sparse_loss` of one-hot labels."""
        return self.sparse_loss(_to_sparse(y_true), y_pred)

    def sparse_accuracy(self, y_true, y_pred):
        """Share of the steps that count which are classified correctly, given their neighbours; the mean of both directions."""
        found = [
            accuracy(ops.argmax(logits, axis=-1), labels, counts) for logits, labels, counts in self._directions(y_true, y_pred)
        ]
        return (found[0] + found[1]) / 2

    def dense_accuracy(self, y_true, y_pred):
        """:meth:`sparse_accuracy` of one-hot labels."""
        return self.sparse_accuracy(_to_sparse(y_true), y_pred)

    def _directions(self, y_true, y_pred):
        """Logits, labels and steps that count: given the tag before, and given the tag after."""
        labels, known = sparse_labels(y_true, y_pred)
        scores, visible = visible_scores(y_pred)
        counts, scores, labels = to_front(ops.logical_and(visible, known), scores, labels)
        # A metric may be computed where weights cannot be read; those of this step were kept.
        kept = [] if is_shown(self._factors[0]) else self._kept.get()
        factors = self._scaled(kept or self._factors)
        for step in (1, -1):
            left, right = (factors[0], None) if len(factors) == 1 else factors[::step]
            if right is not None:
                history = ops.matmul(ops.take(left, labels, axis=0), ops.transpose(right))
            else:
                history = ops.take(left if step == 1 else ops.transpose(left), labels, axis=0)
            neighbour = ops.logical_and(counts, _shifted(counts, step))
            yield ops.where(neighbour[..., None], (scores + _shifted(history, step)) / 2, scores), labels, counts


def _shifted(x, step):
    """``x`` one step later (1) or earlier (-1) in time, zeros where nothing comes from."""
    nothing = ops.zeros_like(x[:, :1])
    return ops.concatenate([nothing, x[:, :-1]] if step == 1 else [x[:, 1:], nothing], axis=1)


def _to_sparse(y_true):
    labelled = ops.any(ops.greater(y_true, 0), axis=-1)
    return ops.where(labelled, ops.cast(ops.argmax(y_true, axis=-1), "int32"), -1)
