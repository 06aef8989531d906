"""From the user's items to ragged rows: checked, and as small as ids and text allow."""

from array import array

import numpy as np

from keras_su.decoding.prefix_tree_rows import Rows, concatenate, running_bounds
from keras_su.errors import KerasSuError, bad_value


def split_item(item):
    """``(ids, value)`` of an item that is such a pair, with a str or None as value, or that is ids alone."""
    if isinstance(item, (tuple, list)) and len(item) == 2 and (item[1] is None or isinstance(item[1], str)):
        return item
    return item, None


class Collector:
    """Takes items one by one and gives them back as ``Rows``.

    Args:
        largest_id: ids above are an error.
        block: items and tokens that wait as Python values, at 8 bytes a token and more, before they are compacted.
    """

    def __init__(self, largest_id, block=65536):
        self.largest_id, self.block = largest_id, block
        self.added = self.added_since_take = self.nbytes = 0
        self._blocks = []
        self._clear()

    def _clear(self):
        self._tokens, self._ends, self._counts, self._texts = array("q"), array("q"), array("I"), []

    def add(self, item):
        """Take one item; true when a block was compacted (so that ``nbytes`` changed)."""
        ids, value = split_item(item)
        try:
            self._tokens.extend(ids if not isinstance(ids, np.ndarray) else integer_list(ids))
        except (TypeError, OverflowError) as error:
            raise KerasSuError(
                f"PrefixTree: item {self.added} is {shortened(item)}. Expected token ids, a sequence of integers, "
                "or a pair (ids, value) with a str or None as value."
            ) from error
        self._ends.append(len(self._tokens))
        self._counts.append(value is not None)
        if value is not None:
            self._texts.append(value)
        self.added += 1
        self.added_since_take += 1
        if len(self._tokens) + len(self._ends) < self.block:
            return False
        self._compact()
        return True

    def _compact(self):
        tokens, ends = np.array(self._tokens), np.array(self._ends)
        self._check(tokens, ends)
        closed = np.zeros(len(tokens) + len(ends), np.uint16 if tokens.max(initial=0) < 2**16 - 1 else np.uint32)
        bounds = running_bounds(np.diff(ends, prepend=0) + 1)
        is_token = np.ones(len(closed), bool)
        is_token[bounds[1:] - 1] = False
        closed[is_token] = tokens + 1
        encoded = [text.encode("utf-8", "surrogatepass") for text in self._texts]
        text_bounds = running_bounds(np.fromiter(map(len, encoded), np.int64, len(encoded)))
        text = np.frombuffer(b"".join(encoded), np.uint8)
        rows = Rows(closed, bounds, np.array(self._counts), text_bounds, text)
        self._blocks.append(rows)
        self.nbytes += rows.nbytes
        self._clear()

    def _check(self, tokens, ends):
        wrong = (tokens < 0) | (tokens > self.largest_id)
        if wrong.any():
            at = int(np.argmax(wrong))
            item = self.added - len(ends) + int(np.searchsorted(ends, at, side="right"))
            raise bad_value(f"PrefixTree: a token id of item {item}", int(tokens[at]), f"an integer from 0 to {self.largest_id}")

    def take(self):
        """All rows since the last call."""
        if self._ends:
            self._compact()
        blocks, self._blocks = self._blocks, []
        self.nbytes = self.added_since_take = 0
        return concatenate(blocks)


def integer_list(ids):
    """The integers of a 1-d array."""
    if ids.ndim != 1 or (len(ids) and ids.dtype.kind not in "iu"):
        raise TypeError(f"not a 1-d integer array: shape {ids.shape}, dtype {ids.dtype}")
    return ids.tolist()


def shortened(item):
    """``repr`` for a message, however long the item is."""
    text = repr(item)
    return text if len(text) <= 100 else text[:97] + "..."
