"""How well an order is: rank correlation of similarities, and the places of relevant documents in search results."""

import numpy as np

from keras_su.errors import KerasSuError, bad_value


def spearman(first, second):
    """Spearman's rank correlation; equal values share the mean of their ranks.

    Args:
        first: numbers ``(n,)``, e.g. cosines.
        second: numbers ``(n,)``, e.g. labels.

    Returns:
        A float in -1 to 1; NaN if all values of one side are equal, or one is NaN.

    >>> round(spearman([0.1, 0.4, 0.9], [1, 1, 5]), 4)
    0.866
    """
    first, second = (np.asarray(x, dtype="float64").reshape(-1) for x in (first, second))
    if len(first) != len(second) or len(first) < 2:
        raise bad_value("spearman: numbers of values", (len(first), len(second)), "two equal ones, at least 2")
    if np.isnan(first).any() or np.isnan(second).any():
        return float("nan")
    first, second = (ranks - ranks.mean() for ranks in (_ranks(first), _ranks(second)))
    scale = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / scale) if scale else float("nan")


def _ranks(values):
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def recall_at_k(ranked, relevant, k):
    """Mean part of the relevant documents that is among the first ``k`` results.

    Args:
        ranked: for every query the ids of documents, best first.
        relevant: for every query the ids of its relevant documents, at least one.
        k: how many results are looked at.

    >>> recall_at_k([[3, 1, 2]], [{1, 2}], k=2)
    0.5
    """
    return _mean(len(set(found[: _positive(k)]) & wanted) / len(wanted) for found, wanted in _queries(ranked, relevant))


def precision_at_k(ranked, relevant, k):
    """Mean of: relevant documents among the first ``k`` results, divided by ``k``. Arguments are those of `recall_at_k`.

    >>> precision_at_k([[3, 1, 2]], [{1}], k=2)
    0.5
    """
    return _mean(len(set(found[: _positive(k)]) & wanted) / k for found, wanted in _queries(ranked, relevant))


def mean_reciprocal_rank(ranked, relevant):
    """Mean of one over the place, counted from 1, of the first relevant document; 0 for a query that found none.

    >>> mean_reciprocal_rank([[3, 1, 2], [5, 6]], [{1, 2}, {7}])
    0.25
    """
    places = (next((n for n, one in enumerate(found, 1) if one in wanted), None) for found, wanted in _queries(ranked, relevant))
    return _mean(1 / place if place else 0.0 for place in places)


def _queries(ranked, relevant):
    ranked, relevant = list(ranked), [set(wanted) for wanted in relevant]
    if len(ranked) != len(relevant) or not ranked:
        raise bad_value("retrieval: numbers of queries", (len(ranked), len(relevant)), "two equal ones, at least 1")
    if not all(relevant):
        raise KerasSuError(f"Retrieval: query {relevant.index(set())} has no relevant document, expected at least one.")
    return zip((list(found) for found in ranked), relevant)


def _positive(k):
    if k < 1:
        raise bad_value("k", k, "a positive number of results")
    return k


def _mean(values):
    return float(np.mean(list(values)))
