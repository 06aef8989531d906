"""From samples of different lengths to arrays: padding, truncation, and what Keras takes as a batch."""

import itertools

import numpy as np

from keras_su.errors import KerasSuError, bad_value
from keras_su.tokenizers.truncation import losses, removed


def to_array(*values):
    """Each argument as a numpy array; a single one comes back alone.

    >>> token_ids, segment_ids = to_array([[1, 2]], [[0, 0]])
    >>> token_ids.shape
    (1, 2)
    """
    arrays = [np.array(value) for value in values]
    return arrays[0] if len(arrays) == 1 else arrays


def sequence_padding(inputs, length=None, value=0, seq_dims=1, mode="post"):
    """One array of sequences that had different lengths.

    Args:
        inputs: lists or arrays. Axes behind the first ``seq_dims`` must have equal sizes.
        length: size of the padded axes, an integer or one per axis; default is the longest of each. Longer sequences lose
            their end, in both modes.
        value: what is filled in. It must exist in the dtype of the sequences.
        seq_dims: how many axes are padded.
        mode: ``"post"`` fills behind the sequences, ``"pre"`` before them.

    Returns:
        array ``(len(inputs), *length, ...)`` in the dtype that the sequences have together. Empty lists have none.

    Raises:
        KerasSuError: there are no inputs, they do not fit together, or an argument is out of range.

    >>> sequence_padding([[1, 2, 3], [4]])
    array([[1, 2, 3], [4, 0, 0]])
    >>> sequence_padding([[1, 2, 3], [4]], length=2, value=-1, mode="pre")
    array([[ 1,  2], [-1,  4]])
    """
    if mode not in ("post", "pre"):
        raise bad_value("mode", mode, "'post' or 'pre'")
    if len(inputs) == 0:
        raise bad_value("inputs", inputs, "at least one sequence")
    if seq_dims == 1 and all(isinstance(x, list) and not (x and hasattr(x[0], "__len__")) for x in inputs):
        return _padded_lists(inputs, length, value, mode)
    arrays = [_array(number, x, seq_dims) for number, x in enumerate(inputs)]
    tail = _tail(arrays, seq_dims)
    lengths = _lengths(length, [array.shape[:seq_dims] for array in arrays], seq_dims)
    dtype = np.result_type(*([array for array in arrays if array.size] or arrays))
    padded = np.full((len(inputs), *lengths, *tail), _filling(value, dtype), dtype)
    for target, array in zip(padded, arrays):
        kept = array[tuple(slice(size) for size in lengths)]
        spans = [slice(n) if mode == "post" else slice(size - n, size) for n, size in zip(kept.shape, lengths)]
        target[tuple(spans)] = kept if kept.size else value
    return padded


def _padded_lists(lists, length, value, mode):
    """Lists of numbers as rows, without a loop over them."""
    sizes = np.array([len(x) for x in lists])
    (width,) = _lengths(length, sizes[:, None], 1)
    flat = np.array(list(itertools.chain.from_iterable(lists)))
    padded = np.full((len(lists), width), _filling(value, flat.dtype), flat.dtype)
    if (sizes > width).any():
        starts = np.cumsum(sizes) - sizes
        flat = flat[np.arange(len(flat)) - np.repeat(starts, sizes) < width]
    kept, columns = np.minimum(sizes, width)[:, None], np.arange(width)
    padded[columns < kept if mode == "post" else columns >= width - kept] = flat
    return padded


def _array(number, x, seq_dims):
    try:
        array = np.asarray(x)
    except ValueError:
        raise KerasSuError(f"sequence_padding: input {number} is a list whose rows have different lengths.") from None
    if array.ndim < seq_dims:
        if not array.size and array.ndim:
            return array.reshape((0,) * seq_dims)
        raise KerasSuError(f"sequence_padding: input {number} has shape {array.shape}, expected at least {seq_dims} axes.")
    return array


def _tail(arrays, seq_dims):
    """Sizes of the axes that are not padded. What is empty may lack them."""
    tails = {array.shape[seq_dims:] for array in arrays if array.size or array.ndim > seq_dims} or {()}
    if len(tails) > 1:
        raise KerasSuError(f"sequence_padding: behind the padded axes ({seq_dims}) shapes differ: {sorted(tails)}.")
    return tails.pop()


def _lengths(length, sizes, seq_dims):
    if length is None:
        return [max(axis) for axis in zip(*sizes)]
    lengths = list(length) if hasattr(length, "__len__") else [length]
    if len(lengths) != seq_dims or not all(isinstance(n, (int, np.integer)) and n >= 0 for n in lengths):
        raise bad_value("length", length, f"{seq_dims} integers, 0 or more" if seq_dims > 1 else "an integer, 0 or more")
    return lengths


def _filling(value, dtype):
    """``value`` in ``dtype``, if it is the same number there."""
    with np.errstate(all="ignore"):
        try:
            found = np.array(value).astype(dtype)
            same = bool(found == value) or (value != value and found != found) or dtype.kind == "f"
        except (TypeError, ValueError, OverflowError):
            same = False
    if not same:
        raise bad_value("value", value, f"a value that the sequences can hold, whose dtype is {dtype}")
    return found


def truncate_sequences(*arguments, **keywords):
    """Shorten lists in place until together they have at most ``maxlen`` items: always the longest, of equals the first.

    Two orders of the arguments are understood:

    * ``truncate_sequences(maxlen, indices, *sequences)``
    * ``truncate_sequences(sequences, maxlen, indices=-1)``

    Args:
        maxlen: most items together.
        indices: position from which items are taken out, -1 is the end; one for all sequences, or a list with one for each.
        sequences: lists.

    Returns:
        list of the same lists, empty ones included.

    Raises:
        KerasSuError: an argument is out of range, or a sequence is not a list.

    >>> question, passage = [1, 2, 3], [4, 5, 6, 7, 8, 9]
    >>> truncate_sequences(7, -2, question, passage)
    [[1, 2, 3], [4, 5, 6, 9]]
    >>> passage
    [4, 5, 6, 9]
    """
    list_first = "sequences" in keywords or bool(arguments) and isinstance(arguments[0], (list, tuple))
    return _truncate(*arguments, **keywords) if list_first else _truncate_last(*arguments, **keywords)


def _truncate_last(maxlen, indices, *sequences):
    return _truncate(sequences, maxlen, indices)


def _truncate(sequences, maxlen, indices=-1):
    positions = list(indices) if isinstance(indices, (list, tuple)) else [indices] * len(sequences)
    if len(positions) != len(sequences) or not all(isinstance(p, (int, np.integer)) for p in positions):
        raise bad_value("indices", indices, f"an integer, or {len(sequences)} of them, one for each sequence")
    if not isinstance(maxlen, (int, np.integer)) or maxlen < 0:
        raise bad_value("maxlen", maxlen, "an integer, 0 or more")
    for sequence in sequences:
        if not isinstance(sequence, list):
            raise bad_value("sequence", sequence, "a list, which is shortened in place")
    lengths = [len(sequence) for sequence in sequences]
    for sequence, position, lost in zip(sequences, positions, losses(lengths, lengths, max(sum(lengths) - maxlen, 0))):
        start, stop = removed(len(sequence), (0, len(sequence)), lost, int(position))
        del sequence[start:stop]
    return list(sequences)


def as_tuples(batch):
    """A batch with tuples where it had lists of arrays, which is the form that Keras takes on every backend.

    The first level is ``(inputs, labels, weights)``; each of them may be an array, several arrays, a dictionary of arrays or
    ``None``. Lists of plain numbers become arrays.

    >>> (token_ids, segment_ids), labels = as_tuples([[np.ones((2, 3)), np.zeros((2, 3))], [0, 1]])
    >>> labels
    array([0, 1])
    """
    if not isinstance(batch, (list, tuple)):
        return _part(batch)
    return tuple(_part(part) for part in batch)


def _part(part):
    if isinstance(part, dict):
        return {name: _leaf(value) for name, value in part.items()}
    if isinstance(part, (list, tuple)) and not all(np.isscalar(value) for value in part):
        return tuple(_leaf(value) for value in part)
    return _leaf(part)


def _leaf(value):
    return value if value is None or hasattr(value, "shape") else np.asarray(value)


def for_keras(batch):
    """What Keras is given of a batch with tuples: ``(inputs,)`` where there are no labels, and a single input as itself."""
    parts = batch if isinstance(batch, tuple) else (batch,)
    while parts and parts[-1] is None:
        parts = parts[:-1]
    return tuple(part[0] if isinstance(part, tuple) and len(part) == 1 else part for part in parts)
