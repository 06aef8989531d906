"""What sampling draws from: a distribution made sharper or flatter, and cut.

All are processors (see ``processors``): on tensors with ``apply``, on numpy arrays when called. They look at each row alone
and at no history. The common order is `Temperature`, `TopK`, `TopP`, `MinP`, `Typical`, and `sampling_processors` puts them
so: every cut then works on the distribution that is sampled from.

Scores that come in need not sum to one, and what comes out does not: forbidden tokens are ``-inf``, the others keep their
scores. Among tokens of equal score those with lower ids stay, so that all backends draw from the same tokens.
"""

import numpy as np
from keras import ops

from keras_su.decoding.processors import Processor, on_host, positive_integer, positive_number
from keras_su.errors import bad_value

ROUNDING = 1e-6  # what float32 may be off in sums of probabilities; 0.5 + 0.4 shall reach 0.9
REACH = 64.0  # tokens that are exp(63) times less probable than the best one are nothing
HALVINGS = 30  # of REACH, down to the resolution of float32


class Truncation(Processor):
    """Base of the processors that look at scores only: neither ``apply`` nor the call needs to know a history."""

    def apply(self, log_probs, history=None):
        """See `Processor`."""
        raise NotImplementedError

    def __call__(self, log_probs, hypotheses=None):
        """``apply`` for numpy arrays; returns float64, though computed in float32."""
        return on_host(log_probs, lambda tensor, rows: self.apply(tensor))


class Temperature(Truncation):
    """Divide log-probabilities by ``temperature``: below 1 sharpens the distribution, above 1 flattens it.

    Args:
        temperature: positive; for "always the best token" search instead of sampling.

    Raises:
        KerasSuError: ``temperature`` is not a positive number.

    >>> np.exp(Temperature(0.5)(np.log([[0.6, 0.3]]))).round(2).tolist()
    [[0.36, 0.09]]
    """

    def __init__(self, temperature):
        self.temperature = positive_number("temperature", temperature)

    def apply(self, log_probs, history=None):
        return log_probs / self.temperature


class TopK(Truncation):
    """Keep the ``k`` best tokens: exactly so many, if so many are possible.

    Args:
        k: at least 1; from the size of the vocabulary on, nothing changes.

    Raises:
        KerasSuError: ``k`` is not a positive integer.

    >>> TopK(2)(np.array([[-1.0, -3.0, -1.0, -1.0]])).tolist()
    [[-1.0, -inf, -1.0, -inf]]

    Reference: A. Fan et al., "Hierarchical Neural Story Generation", arXiv 1805.04833, section 5.4.
    """

    def __init__(self, k):
        self.k = positive_integer("k", k)

    def apply(self, log_probs, history=None):
        if self.k >= log_probs.shape[1]:
            return log_probs
        best, _ = ops.top_k(log_probs, self.k, sorted=False)
        last = ops.min(best, axis=-1, keepdims=True)  # the last column of a sorted result makes XLA sort the whole vocabulary
        above, equal = log_probs > last, log_probs == last
        room = self.k - ops.sum(ops.cast(above, "int32"), axis=-1, keepdims=True)
        first = ops.cumsum(ops.cast(equal, "int32"), axis=-1) <= room  # backends differ in which of equals are among the best
        return ops.where(above | (equal & first), log_probs, -float("inf"))


class TopP(Truncation):
    """Keep the most probable tokens until their probabilities sum to ``p``, the one that reaches it included (nucleus sampling).

    Args:
        p: above 0, at most 1; 1 changes nothing.

    Raises:
        KerasSuError: ``p`` is out of range.

    >>> np.exp(TopP(0.7)(np.log([[0.1, 0.5, 0.3, 0.1]]))).round(2).tolist()
    [[0.0, 0.5, 0.3, 0.0]]

    Reference: A. Holtzman et al., "The Curious Case of Neural Text Degeneration", arXiv 1904.09751, section 3.1.
    """

    def __init__(self, p):
        self.p = _proportion(p)

    def apply(self, log_probs, history=None):
        if self.p == 1:  # rounding could lose the rarest tokens
            return log_probs
        normalized = _normalized(log_probs)
        return _keep_best(log_probs, normalized, ops.exp(normalized), self.p)


class MinP(Truncation):
    """Drop tokens whose probability is below ``p`` times the largest.

    Args:
        p: above 0, at most 1; 1 keeps the best token and what equals it.

    Raises:
        KerasSuError: ``p`` is out of range.

    >>> np.exp(MinP(0.5)(np.log([[0.1, 0.4, 0.2, 0.3]]))).round(2).tolist()
    [[0.0, 0.4, 0.2, 0.3]]

    Reference: M. N. Nguyen et al., "Turning Up the Heat: Min-p Sampling", arXiv 2407.01082.
    """

    def __init__(self, p):
        self.p = _proportion(p)

    def apply(self, log_probs, history=None):
        least = ops.max(log_probs, axis=-1, keepdims=True) + (float(np.log(self.p)) - ROUNDING)
        return ops.where(log_probs >= least, log_probs, -float("inf"))


class Typical(Truncation):
    """Keep the tokens whose surprise is nearest to the expected one, until their probabilities sum to ``p``.

    A token's surprise is its negative log-probability, the expected one is the entropy of the row. So the most probable token is
    dropped where it tells less than a text usually does. Tokens that are equally near, to five decimals, are taken in the order
    of their ids.

    Args:
        p: above 0, at most 1; 1 changes nothing.

    Raises:
        KerasSuError: ``p`` is out of range.

    >>> np.exp(Typical(0.3)(np.log([[0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]]))).round(2).tolist()
    [[0.0, 0.1, 0.1, 0.1, 0.0, 0.0, 0.0]]

    Reference: C. Meister et al., "Locally Typical Sampling", arXiv 2202.00666.
    """

    def __init__(self, p):
        self.p = _proportion(p)

    def apply(self, log_probs, history=None):
        if self.p == 1:
            return log_probs
        normalized = _normalized(log_probs)
        possible = normalized > -float("inf")
        probabilities, finite = ops.exp(normalized), ops.where(possible, normalized, 0.0)
        entropy = -ops.sum(probabilities * finite, axis=-1, keepdims=True)
        # Rounded: a token above the entropy and one below can be equally far from it, and float32 would choose by chance.
        nearness = ops.where(possible, -ops.round(ops.abs(finite + entropy) * 1e5) / 1e5, -float("inf"))
        return _keep_best(log_probs, nearness, probabilities, self.p)


def sampling_processors(temperature=1.0, top_k=None, top_p=None, min_p=None, typical_p=None):
    """The processors for some settings of sampling, in the common order; those that would change nothing are left out.

    Args:
        temperature: of `Temperature`.
        top_k, top_p, min_p, typical_p: of `TopK`, `TopP`, `MinP`, `Typical`, or ``None`` for none.

    Returns:
        list of `Processor`.

    >>> [type(each).__name__ for each in sampling_processors(top_p=0.9, temperature=0.7)]
    ['Temperature', 'TopP']
    """
    settings = (Temperature, temperature), (TopK, top_k), (TopP, top_p), (MinP, min_p), (Typical, typical_p)
    processors = [kind(value) for kind, value in settings if value is not None]
    return [each for each in processors if not (isinstance(each, Temperature) and each.temperature == 1)]


def _proportion(p):
    value = positive_number("p", p)
    if value > 1:
        raise bad_value("p", p, "a number above 0, at most 1")
    return value


def _normalized(log_probs):
    """Rows that sum to one; a row without any possible token stays ``-inf`` throughout."""
    largest = ops.max(log_probs, axis=-1, keepdims=True)
    shifted = log_probs - ops.where(largest > -float("inf"), largest, 0.0)
    total = ops.sum(ops.exp(shifted), axis=-1, keepdims=True)
    return shifted - ops.log(ops.where(total > 0, total, 1.0))


def _keep_best(log_probs, ranks, probabilities, p):
    """Only the tokens of highest rank, as few as have a probability of ``p`` together; of equal ranks those with lower ids.

    The rank of the last one is found by halving an interval: a fixed number of sums, an order of magnitude faster than to sort a
    vocabulary, and independent of how a backend sorts equals. Ranks are logarithms of probabilities or differences of such.
    """
    least = max(p - ROUNDING, p / 2)
    best = ops.max(ranks, axis=-1, keepdims=True)
    high = ops.where(best > -float("inf"), best, 0.0) + 1.0  # from here on the probability is below ``least``, ...
    low = high - REACH  # ... and from here on not
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        enough = ops.sum(ops.where(ranks >= middle, probabilities, 0.0), axis=-1, keepdims=True) >= least
        low, high = ops.where(enough, middle, low), ops.where(enough, high, middle)
    above = ranks >= high
    equal = ops.where((ranks >= low) & ~above, probabilities, 0.0)
    before = ops.sum(ops.where(above, probabilities, 0.0), axis=-1, keepdims=True) + ops.cumsum(equal, axis=-1) - equal
    return ops.where(above | ((equal > 0) & (before < least)), log_probs, -float("inf"))
