"""Scores of generated answers against reference answers, for strings or any other sequences of comparable items."""

from keras_su.errors import bad_value


class CommonSubsequence:
    """Length of the longest common subsequence with a fixed reference, item by item.

    The state after some items is one Python integer, so that a search can keep it beside every hypothesis and never
    starts over. A bit that turned from one to zero marks a position of the reference where the common length grows;
    one item costs a few operations on an integer with as many bits as the reference has items.

    >>> common = CommonSubsequence("谁写了红楼梦")
    >>> state = common.advance_all(common.start, "红梦")
    >>> common.length(state), common.length(common.advance(state, "了"))
    (2, 2)

    Reference: M. Crochemore et al., "A fast and practical bit-vector algorithm for the longest common subsequence problem", 2001.
    """

    def __init__(self, reference):
        self._size = len(reference)
        self.start = (1 << self._size) - 1
        self._positions = {}
        for position, item in enumerate(reference):
            self._positions[item] = self._positions.get(item, 0) | 1 << position

    def advance(self, state, item):
        """State after one more item."""
        matches = state & self._positions.get(item, 0)
        return (state + matches | state - matches) & self.start if matches else state

    def advance_all(self, state, items):
        """State after several more items."""
        for item in items:
            state = self.advance(state, item)
        return state

    def length(self, state):
        """Length of the longest common subsequence of the reference and the items so far."""
        return self._size - state.bit_count()


def exact_match(prediction, reference):
    """1.0 if both are equal, else 0.0.

    >>> exact_match("曹雪芹", "曹雪芹"), exact_match("曹雪芹", "雪芹")
    (1.0, 0.0)
    """
    return float(prediction == reference)


def lcs_f1(prediction, reference):
    """F1 of the longest common subsequence: ``2 * LCS / (len(prediction) + len(reference))``, in 0 to 1.

    Two empty sequences score 0, as in the evaluation of KgCLUE. Otherwise it is never below `exact_match`.

    >>> lcs_f1("曹雪芹", "雪芹")
    0.8

    Raises:
        KerasSuError: an argument has no length.

    Reference: https://github.com/CLUEbenchmark/KgCLUE (baselines/evaluate_f1_em.py); the article is
    https://kexue.fm/archives/8802.
    """
    for name, sequence in (("prediction", prediction), ("reference", reference)):
        if not hasattr(sequence, "__len__"):
            raise bad_value(name, sequence, "a string or another sequence")
    total = len(prediction) + len(reference)
    if not total:
        return 0.0
    common = CommonSubsequence(reference)
    return 2 * common.length(common.advance_all(common.start, prediction)) / total
