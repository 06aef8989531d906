"""From the user's items to ragged rows: checked, and as small as ids and text allow."""

from array import array

import numpy as np

from keras_su.decoding.prefix_tree_rows import Rows, running_bounds
from keras_su.errors import KerasSuError, bad_value


def row_blocks(items, largest_id, block=65536):
    """Iterate over the items as ``Rows``, in their order.

    Args:
        items: iterable of ``(ids, value)``, the value being a str or None, or of ids alone.
        largest_id: ids above are an error.
        block: ids and items that wait as Python values, at 8 bytes an id and more, before they are compacted.
    """
    taken = 0
    tokens, ends, counts, texts = array("q"), array("q"), array("I"), []
    for item in items:
        ids, value = item, None
        if isinstance(item, (tuple, list)) and len(item) == 2 and (item[1] is None or isinstance(item[1], str)):
            ids, value = item
        try:
            tokens.extend(ids if not isinstance(ids, np.ndarray) else integer_list(ids))
        except (TypeError, OverflowError) as error:
            raise KerasSuError(
                f"PrefixTree: item {taken + len(ends)} is {shortened(item)}. Expected token ids, a sequence of integers, "
                "or a pair (ids, value) with a str or None as value."
            ) from error
        ends.append(len(tokens))
        if value is None:
            counts.append(0)
        else:
            counts.append(1)
            texts.append(value)
        if len(tokens) + len(ends) >= block:
            yield compacted(tokens, ends, counts, texts, largest_id, taken)
            taken += len(ends)
            tokens, ends, counts, texts = array("q"), array("q"), array("I"), []
    if ends:
        yield compacted(tokens, ends, counts, texts, largest_id, taken)


def compacted(tokens, ends, counts, texts, largest_id, first_item):
    """``Rows`` of a block whose first row is item ``first_item``."""
    tokens, ends = np.array(tokens), np.array(ends)
    wrong = (tokens < 0) | (tokens > largest_id)
    if wrong.any():
        at = int(np.argmax(wrong))
        item = first_item + int(np.searchsorted(ends, at, side="right"))
        raise bad_value(f"PrefixTree: a token id of item {item}", int(tokens[at]), f"an integer from 0 to {largest_id}")
    closed = np.zeros(len(tokens) + len(ends), np.uint16 if tokens.max(initial=0) < 2**16 - 1 else np.uint32)
    bounds = running_bounds(np.diff(ends, prepend=0) + 1)
    is_token = np.ones(len(closed), bool)
    is_token[bounds[1:] - 1] = False
    closed[is_token] = tokens + 1
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    text_bounds = running_bounds(np.fromiter(map(len, encoded), np.int64, len(encoded)))
    return Rows(closed, bounds, np.array(counts), text_bounds, np.frombuffer(b"".join(encoded), np.uint8))


def integer_list(ids):
    """The integers of a 1-d array."""
    if ids.ndim != 1 or (len(ids) and ids.dtype.kind not in "iu"):
        raise TypeError(f"not a 1-d integer array: shape {ids.shape}, dtype {ids.dtype}")
    return ids.tolist()


def shortened(item):
    """``repr`` for a message, however long the item is."""
    text = repr(item)
    return text if len(text) <= 100 else text[:97] + "..."
