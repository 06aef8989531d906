"""Which tokens go when sequences together are too long: always one of the longest, from the right, the left or an index."""

import operator

from keras_su import errors


def check_truncate_from(truncate_from):
    """Return ``'right'``, ``'left'`` or a plain integer, or raise the error that lists them."""
    if truncate_from in ("right", "left"):
        return truncate_from
    try:
        return operator.index(truncate_from)
    except TypeError:
        raise errors.bad_value("truncate_from", truncate_from, "'right', 'left' or an integer position") from None


def losses(lengths, removable, excess):
    """How many tokens each sequence loses so that together they lose ``excess``: the longest first, of equals the first.

    A sequence never loses more than its ``removable`` tokens; ``excess`` is at most the sum of those.

    >>> losses([9, 6], [7, 4], 4)
    [4, 0]
    >>> losses([9, 6], [7, 4], 6)
    [5, 1]
    """
    lengths, removable, lost = list(lengths), list(removable), [0] * len(lengths)
    while excess:
        open_ones = [i for i, left in enumerate(removable) if left]
        longest = max(open_ones, key=lengths.__getitem__)
        next_length = max((lengths[i] for i in open_ones if i != longest), default=0)
        step = min(excess, removable[longest], max(lengths[longest] - next_length, 1))
        lengths[longest] -= step
        removable[longest] -= step
        lost[longest] += step
        excess -= step
    return lost


def removed(length, body, count, truncate_from):
    """The slice bounds of the ``count`` tokens that go from a sequence of ``length`` tokens.

    Args:
        length: number of tokens, specials included.
        body: ``(start, stop)`` of the tokens that may go; the specials around them stay.
        count: how many go, at most ``stop - start``.
        truncate_from: ``'right'``, ``'left'``, or the position at which tokens are taken out one after another (as
            ``list.pop`` does; negative ones count from the end, and it never leaves the body).
    """
    start, stop = body
    if truncate_from == "right":
        first = stop - count
    elif truncate_from == "left":
        first = start
    elif truncate_from >= 0:
        first = truncate_from
    else:
        first = length + truncate_from + 1 - count
    first = min(max(first, start), stop - count)
    return first, first + count


def truncate(sequences, bodies, maxlen, truncate_from):
    """The slices to delete so that the sequences together have at most ``maxlen`` tokens.

    Args:
        sequences: lists of tokens.
        bodies: ``(start, stop)`` of the removable tokens of each.
        maxlen: most tokens together.
        truncate_from: see `removed`.

    Returns:
        One ``(start, stop)`` per sequence.
    """
    lengths = [len(sequence) for sequence in sequences]
    counts = losses(lengths, [stop - start for start, stop in bodies], max(sum(lengths) - maxlen, 0))
    return [removed(length, body, count, truncate_from) for length, body, count in zip(lengths, bodies, counts)]
