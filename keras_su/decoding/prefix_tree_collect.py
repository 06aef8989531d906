"""From the user's items to ragged rows: checking, compact storage."""

from array import array

import numpy as np

from keras_su.decoding.prefix_tree_rows import Rows, concatenate, empty_rows, running_bounds
from keras_su.errors import KerasSuError, bad_value

# Tokens that wait as 64-bit integers before they are checked together and stored in two (or four) bytes each.
BLOCK = 65536
LARGEST_ID = 2**32 - 2


def split_item(item):
    """``(ids, value)`` of an item that is a pair ``(ids, str or None)``, or ids alone."""
    if isinstance(item, (tuple, list)) and len(item) == 2 and (item[1] is None or isinstance(item[1], str)):
        return item
    return item, None


class Collector:
    """Rows in the order in which they are added."""

    def __init__(self):
        self.added = 0
        self.blocks = []
        self.nbytes = 0
        self._reset()

    def _reset(self):
        self._tokens, self._ends, self._counts, self._texts = array("q"), array("q"), array("q"), []

    def add(self, item):
        ids, value = split_item(item)
        try:
            if isinstance(ids, np.ndarray):
                ids = self._checked_array(ids)
            self._tokens.extend(ids)
        except (TypeError, OverflowError) as error:
            raise KerasSuError(
                f"PrefixTree.build: item {self.added} is {item!r:.200}. "
                "Expected token ids (a sequence of integers), or a pair (ids, value) with a str or None as value."
            ) from error
        self._ends.append(len(self._tokens))
        if value is None:
            self._counts.append(0)
        else:
            self._counts.append(1)
            self._texts.append(value)
        self.added += 1
        if len(self._tokens) + len(self._ends) > BLOCK:
            self.flush()

    @staticmethod
    def _checked_array(ids):
        if ids.ndim != 1 or (ids.dtype.kind not in "iu" and len(ids)):
            raise TypeError(f"an array of shape {ids.shape} and dtype {ids.dtype}")
        return ids.tolist()

    def flush(self):
        """Check and compact what waits."""
        if not self._ends:
            return
        tokens = np.frombuffer(self._tokens, np.int64) if self._tokens else np.zeros(0, np.int64)
        ends = np.frombuffer(self._ends, np.int64)
        smallest, largest = tokens.min(initial=0), tokens.max(initial=0)
        if smallest < 0 or largest > LARGEST_ID:
            at = int(np.argmax((tokens < 0) | (tokens > LARGEST_ID)))
            item = self.added - len(ends) + int(np.searchsorted(ends, at, side="right"))
            raise bad_value(f"PrefixTree.build: token id of item {item}", int(tokens[at]), f"an integer from 0 to {LARGEST_ID}")
        closed = np.zeros(len(tokens) + len(ends), np.uint16 if largest + 1 < 2**16 else np.uint32)
        is_token = np.ones(len(closed), bool)
        bounds = running_bounds(np.diff(ends, prepend=0) + 1)
        is_token[bounds[1:] - 1] = False
        closed[is_token] = tokens + 1
        encoded = [text.encode("utf-8", "surrogatepass") for text in self._texts]
        sizes = np.fromiter(map(len, encoded), np.int64, len(encoded))
        text = np.frombuffer(b"".join(encoded), np.uint8)
        block = Rows(closed, bounds, np.array(self._counts, np.int64), running_bounds(sizes), text)
        self.blocks.append(block)
        self.nbytes += block.nbytes
        self._reset()

    def take(self):
        """All rows so far; the collector is empty again."""
        self.flush()
        rows = concatenate(self.blocks) if self.blocks else empty_rows()
        self.blocks, self.nbytes = [], 0
        return rows
