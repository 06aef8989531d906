"""Lists as inputs, labels and batches, in the form that Keras 3 takes."""

import numpy as np

from keras_su.errors import KerasSuError, listing

_NUMBERS = (int, float, bool, np.number, np.bool_)


def stream(data, only_inputs=False):
    """Batches from a generator in the form that Keras takes, whatever their lengths are; everything else as it is.

    As in Keras 2 a batch is a tuple of inputs, labels and weights, of which ``predict`` reads the inputs; what is no tuple there
    is the inputs.
    """
    if not hasattr(data, "__next__") or hasattr(data, "get_numpy_iterator"):
        return data
    # Keras would read the sizes of all batches from the first two on TensorFlow.
    from keras_su.data.stream import BatchStream

    if only_inputs:
        inputs = (batch[0] if isinstance(batch, tuple) else batch for batch in data)
        return BatchStream(map(_as_tuples, inputs), whole=False)
    return BatchStream(map(_as_tuples, data))


def _as_tuples(batch):
    """Lists of arrays as tuples, at every depth; lists of numbers as arrays."""
    if isinstance(batch, (list, tuple)):
        return array(batch) if _is_nested(batch) else tuple(_as_tuples(entry) for entry in batch)
    return batch


def labels(y):
    """Labels as an array if they are nested lists of numbers, otherwise as they are."""
    return array(y) if _is_nested(y) else y


def _is_nested(value, leaves=_NUMBERS):
    """Whether this is a list of numbers, or a list of such lists."""
    if not isinstance(value, (list, tuple)) or not value:
        return False
    return all(_is_nested(entry, leaves) or isinstance(entry, leaves) for entry in value)


def is_rows(value):
    """Whether this is a list that stands for one array: of numbers, of rows, or of arrays."""
    return _is_nested(value, (*_NUMBERS, np.ndarray))


def array(rows):
    """An array of nested lists, or an error that says which lengths differ."""
    try:
        return np.array(rows)
    except ValueError:
        lengths = [len(row) if hasattr(row, "__len__") else 1 for row in rows]
        hint = "Pad them with keras_su.snippets.sequence_padding."
        raise KerasSuError(f"A list of rows cannot become an array: they differ in length ({listing(lengths)}). {hint}") from None
