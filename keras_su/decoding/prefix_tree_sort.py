"""Sorting of ragged rows by token ids, eight bytes of tokens at a time."""

import numpy as np

from keras_su.decoding.prefix_tree_rows import Rows, gather, running_bounds


def words_of(tokens, bounds, rows, step, block=65536):
    """Tokens ``step * k .. step * k + k - 1`` of each row as one integer that sorts like them.

    ``k`` is how many tokens fit 64 bits: four of uint16, two of uint32. Positions past the end read the closing zero.
    """
    bits = 8 * tokens.itemsize
    per_word = 64 // bits
    words = np.empty(len(rows), np.uint64)
    for start in range(0, len(rows), block):
        part = rows[start : start + block]
        position = bounds[part] + per_word * step
        last = bounds[part + 1] - 1
        word = tokens[np.minimum(position, last)].astype(np.uint64)
        for _ in range(1, per_word):
            position += 1
            word <<= np.uint64(bits)
            word |= tokens[np.minimum(position, last)]
        words[start : start + block] = word
    return words


def equal_tokens(left, right, bits):
    """How many leading tokens two different words share."""
    difference = left ^ right
    count = np.zeros(len(left), np.int32)
    for shift in range(64 - bits, 0, -bits):
        count += difference >> np.uint64(shift) == 0
    return count


def sorted_order(tokens, bounds):
    """Stable lexicographic order of the rows.

    Returns:
        ``(order, shared, repeated)``: the permutation; for each sorted row the number of leading ids that it shares with the row
        above (0 for the first); and whether it is the same key as the row above (``shared`` is then meaningless).
    """
    rows = len(bounds) - 1
    bits = 8 * tokens.itemsize
    per_word = 64 // bits
    last_token = np.uint64(2**bits - 1)
    shared = np.zeros(rows, np.int32)
    repeated = np.zeros(rows, bool)
    order = np.arange(rows)
    if rows < 2:
        return order, shared, repeated
    # ``places`` are the sorted positions still undecided: groups of rows that are equal so far and go on. Each group is a
    # contiguous stretch, opened by a row whose ``joined`` is False, and is sorted further within its stretch.
    places, joined = np.arange(rows), np.arange(rows) > 0
    step = 0
    while len(places):
        words = words_of(tokens, bounds, order[places], step)
        within = np.lexsort((words, np.cumsum(~joined))) if step else np.argsort(words, kind="stable")
        order[places] = order[places][within]
        words = words[within]
        pair = np.flatnonzero(joined)
        left, right = words[pair - 1], words[pair]
        same = left == right
        ended = same & ((right & last_token) == 0)
        shared[places[pair[~same]]] = per_word * step + equal_tokens(left[~same], right[~same], bits)
        repeated[places[pair[ended]]] = True
        joined[pair] = same & ~ended
        kept = joined.copy()
        kept[:-1] |= joined[1:]
        places, joined = places[kept], joined[kept]
        step += 1
    return order, shared, repeated


def sort_rows(rows):
    """Sort ``rows`` by key and join equal keys; their values keep the order in which they came.

    ``rows`` is taken apart: each column is freed when its sorted form is there, so that hardly more than one is there twice.

    Returns:
        ``(rows, shared)``: distinct rows in order, and the number of leading ids that each shares with the row above.
    """
    order, shared, repeated = sorted_order(rows.tokens, rows.bounds)
    old_counts = rows.taken("counts")
    counts = old_counts[order]
    if len(counts) == len(rows.text_bounds) - 1 and (counts == 1).all():
        value_order = order
    else:
        value_bounds = running_bounds(old_counts)
        value_order, _ = gather(np.arange(value_bounds[-1]), value_bounds, order)
    text, text_bounds = gather(rows.taken("text"), rows.taken("text_bounds"), value_order)
    del old_counts, value_order
    if repeated.any():
        first = np.flatnonzero(~repeated)
        order, shared = order[first], shared[first]
        counts = np.add.reduceat(counts, first, dtype=np.uint32)
    tokens, bounds = gather(rows.taken("tokens"), rows.taken("bounds"), order)
    return Rows(tokens, bounds, counts, text_bounds, text), shared


def shared_with(key, next_key):
    """Leading ids that two different keys (as ``Rows.key`` gives them) share."""
    left, right = np.frombuffer(key, ">u4"), np.frombuffer(next_key, ">u4")
    shortest = min(len(left), len(right))
    return int(np.argmax(left[:shortest] != right[:shortest]))
