"""A naive language model."""

import math
from collections import Counter

import numpy as np


class NGrams:
    """Frequencies as a language model, of order 1 or 2: what any model has to beat.

    The unigrams have add-one smoothing. A bigram is mixed with them: ``(count(a, b) + weight * p(b)) / (count(a) + weight)``.

    >>> model = NGrams([[1, 2, 1, 2]], size=4, order=1)
    >>> round(model.bits([1, 2]), 2)  # (2 + 1) / (4 + 4) each
    2.83
    """

    def __init__(self, sequences, size, order=2, weight=50.0):
        self.size, self.order, self.weight = size, order, weight
        self.single = Counter(index for ids in sequences for index in ids)
        self.total = self.single.total() + size
        self.pairs = Counter(pair for ids in sequences for pair in zip(ids, ids[1:]))
        self.before = Counter(index for ids in sequences for index in ids[:-1])

    def probability(self, index, previous=None):
        one = (self.single[index] + 1) / self.total
        if self.order == 1 or previous is None:
            return one
        return (self.pairs[previous, index] + self.weight * one) / (self.before[previous] + self.weight)

    def log_frequencies(self):
        """Logarithms of the unigram probabilities of all ids, an array ``(size,)``."""
        return np.log([self.probability(index) for index in range(self.size)])

    def bits(self, ids, previous=None):
        """Sum of ``-log2 p`` of the ids, the first of which follows ``previous``."""
        return -sum(math.log2(self.probability(index, before)) for before, index in zip([previous, *ids], ids))

    def best_guesses(self):
        """The most frequent follower of each id that has one: ``{id: follower}``."""
        best = {}
        for (previous, index), _ in self.pairs.most_common():
            best.setdefault(previous, index)
        return best
