"""Batches in which rows with and without labels stand together."""

import keras
import numpy as np

from keras_su.errors import KerasSuError


def with_unlabeled(labeled, unlabeled):
    """Join batches with labels and batches without, for :func:`virtual_adversarial_training`.

    A compiled step sees one batch, so the stream of texts without labels has to travel in it. Their rows have sample weight 0.
    Those with labels weigh more in turn, so that a loss that is the mean over the batch stays the mean over the labels.

    Args:
        labeled: iterable of ``(x, y)`` or ``(x, y, sample_weight)``.
        unlabeled: iterable of ``x``, or of tuples that begin with it. Structures as in ``labeled``; texts may have another
            length.

    Yields:
        ``(x, y, sample_weight)`` until either ends. Shorter texts are padded with 0 at their end, missing labels are 0.

    >>> x, y, weight = next(with_unlabeled([(np.array([[5, 6]]), np.array([1]))], [np.array([[7, 8, 9]])]))
    >>> x.tolist(), y.tolist(), weight.tolist()
    ([[5, 6, 0], [7, 8, 9]], [1, 0], [2.0, 0.0])
    """
    for (x, y, *given), other in zip(labeled, unlabeled):
        if y is None:
            raise KerasSuError(
                "with_unlabeled: y is None, but only losses of labels can leave rows out; losses inside a layer cannot."
            )
        other = other[0] if isinstance(other, tuple) else other
        rows, more = (len(keras.tree.flatten(each)[0]) for each in (x, other))
        weight = np.ones(rows, "float32") if not given or given[0] is None else np.asarray(given[0])
        yield (
            keras.tree.map_structure(_stacked, x, other),
            keras.tree.map_structure(lambda labels, more=more: _stacked(labels, np.zeros((more, *np.shape(labels)[1:]))), y),
            _stacked(weight * np.float32((rows + more) / rows), np.zeros((more, *weight.shape[1:]))),
        )


def _stacked(above, below):
    """Two arrays as one, in the dtype of the first; the second axis is padded with 0 to the longer of both."""
    above, below = np.asarray(above), np.asarray(below)
    if above.ndim > 1:
        length = max(above.shape[1], below.shape[1])
        above, below = (np.pad(x, [(0, 0), (0, length - x.shape[1]), *[(0, 0)] * (x.ndim - 2)]) for x in (above, below))
    return np.concatenate([above, below.astype(above.dtype)])
