"""From the user's keys to ragged rows: checked, and as small as ids and text allow."""

import operator
from array import array

import numpy as np

from keras_su.decoding.prefix_tree_rows import Rows, running_bounds
from keras_su.errors import KerasSuError, bad_value


def item_blocks(items, largest_id, block):
    """Iterate over items as ``Rows``, in their order.

    Args:
        items: iterable of ``(ids, value)``, the value being a str or None, or of ids alone.
        largest_id: ids above are an error.
        block: how many ids and items wait as Python values before they are compacted.
    """
    taken = 0
    tokens, ends, values = [], [], []
    for item in items:
        ids, value = item, None
        if isinstance(item, (tuple, list)) and len(item) == 2 and (item[1] is None or isinstance(item[1], str)):
            ids, value = item
        try:  # at once, as the source may fill the same list again for its next item
            tokens += ids if not isinstance(ids, np.ndarray) else integer_array(ids).tolist()
        except TypeError as error:
            raise KerasSuError(
                f"PrefixTree: item {taken + len(ends)} is {shortened(item)}. Expected token ids, a sequence of integers, "
                "or a pair (ids, value) with a str or None as value."
            ) from error
        end = len(tokens)
        ends.append(end)
        values.append(value)
        if end + len(ends) >= block:
            yield from_lists(tokens, ends, values, largest_id, taken)
            taken += len(ends)
            tokens, ends, values = [], [], []
    if ends:
        yield from_lists(tokens, ends, values, largest_id, taken)


def from_lists(tokens, ends, values, largest_id, first_item):
    bounds = np.array([0, *ends])
    try:
        # Twice as fast as np.array, and neither rounds fractions nor wraps negative numbers.
        numbers = np.frombuffer(array("Q", tokens), np.uint64) if tokens else np.zeros(0, np.uint64)
    except (TypeError, OverflowError) as error:
        at = next(index for index, token in enumerate(tokens) if not is_id(token, largest_id))
        raise wrong_id(tokens[at], at, bounds, largest_id, first_item) from error
    return compacted(numbers, bounds, values, largest_id, first_item)


def checked_arrays(ids, bounds, values):
    """The arguments of ``PrefixTree.from_arrays`` as arrays that fit each other."""
    try:
        ids, bounds = integer_array(ids), integer_array(bounds)
    except TypeError as error:
        raise KerasSuError(f"PrefixTree: ids and bounds must be 1-d integer arrays; one is {error}.") from error
    if not len(bounds) or bounds[0] < 0 or bounds[-1] > len(ids) or (bounds[1:] < bounds[:-1]).any():
        raise KerasSuError(f"PrefixTree: bounds do not divide {len(ids)} ids. Expected numbers in that range, never falling.")
    if values is not None and len(values) != len(bounds) - 1:
        raise bad_value("PrefixTree: number of values", len(values), f"one for each of the {len(bounds) - 1} keys")
    return ids, bounds, values


def array_blocks(ids, bounds, values, largest_id, block):
    """Iterate over a ragged array of keys as ``Rows``; arguments as from ``checked_arrays`` and in ``item_blocks``."""
    start = 0
    while start < len(bounds) - 1:
        here = bounds[start : start + block + 1].astype(np.int64)
        here = here[: max(2, int(np.searchsorted(here, here[0] + block, side="right")))]
        stop = start + len(here) - 1
        texts = [None] * (stop - start) if values is None else values[start:stop]
        yield compacted(ids[here[0] : here[-1]], here - here[0], texts, largest_id, start)
        start = stop


def compacted(tokens, bounds, values, largest_id, first_item):
    """``Rows`` of a block whose first row is item ``first_item``.

    ``tokens`` is an integer array that ``bounds`` divide, ``values`` has a str or None for each row.
    """
    wrong = (tokens < 0) | (tokens > largest_id)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise wrong_id(int(tokens[at]), at, bounds, largest_id, first_item)
    closed = np.zeros(len(tokens) + len(values), np.uint16 if tokens.max(initial=0) < 2**16 - 1 else np.uint32)
    closed_bounds = bounds + np.arange(len(bounds))
    is_token = np.ones(len(closed), bool)
    is_token[closed_bounds[1:] - 1] = False
    closed[is_token] = tokens.astype(closed.dtype) + closed.dtype.type(1)
    try:
        encoded = [value.encode("utf-8", "surrogatepass") for value in values if value is not None]
    except AttributeError as error:
        raise KerasSuError(f"PrefixTree: a value from item {first_item} on is no str: {error}. Expected str or None.") from error
    text_bounds = running_bounds(np.fromiter(map(len, encoded), np.int64, len(encoded)))
    counts = np.ones(len(values), np.uint32)
    if len(encoded) < len(values):
        counts[:] = [value is not None for value in values]
    return Rows(closed, closed_bounds, counts, text_bounds, np.frombuffer(b"".join(encoded), np.uint8))


def is_id(token, largest_id):
    try:
        return 0 <= operator.index(token) <= largest_id
    except TypeError:
        return False


def wrong_id(token, at, bounds, largest_id, first_item):
    """The error for the token at a position of a block."""
    item = first_item + int(np.searchsorted(bounds, at, side="right")) - 1
    return bad_value(f"PrefixTree: a token id of item {item}", token, f"an integer from 0 to {largest_id}")


def integer_array(ids):
    """``ids`` if it is a 1-d array of integers, or of nothing."""
    ids = np.asarray(ids)
    if ids.ndim != 1 or (len(ids) and ids.dtype.kind not in "iu"):
        raise TypeError(f"of shape {ids.shape} and dtype {ids.dtype}")
    return ids


def shortened(item):
    """``repr`` for a message, however long the item is."""
    text = repr(item)
    return text if len(text) <= 100 else text[:97] + "..."
