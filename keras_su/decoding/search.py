"""How the next token is chosen: greedily, by a beam, or by chance."""

from dataclasses import dataclass

import numpy as np
from keras import ops

from keras_su.decoding.truncation import sampling_processors
from keras_su.errors import bad_value


@dataclass(frozen=True, kw_only=True)
class Greedy:
    """Always the most probable token."""

    n = 1

    def truncations(self):
        return []

    def choose(self, log_probs, uniform):
        """Token of each row of ``log_probs`` ``(rows, vocab_size)``, on the device; ``(rows,)``."""
        # Not argmax, for which XLA has no fast loop on CPUs; of equal ones the first, as there.
        best = ops.max(log_probs, axis=-1, keepdims=True)
        size = log_probs.shape[-1]
        places = ops.where(ops.equal(log_probs, best), ops.arange(size, dtype="int32"), size - 1)
        return ops.min(places, axis=-1)

    def choose_on_host(self, log_probs, uniform):
        """The same for an array."""
        return log_probs.argmax(axis=-1)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A token by chance, with the probabilities that the settings leave, applied in this order.

    Args:
        temperature: divides the log-probabilities; below 1 favours the probable.
        top_k: only the k most probable tokens.
        top_p: only the most probable ones that together reach p (nucleus sampling, arXiv 1904.09751).
        min_p: only tokens with at least p times the probability of the best (arXiv 2407.01082).
        typical_p: only the tokens closest to the expected information that together reach p (arXiv 2202.00666).
        n: independent results for each prompt.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    n: int = 1

    def __post_init__(self):
        if not isinstance(self.n, int) or self.n < 1:
            raise bad_value("Sample: n", self.n, "a positive integer")
        self.truncations()

    def truncations(self):
        """The settings as processors."""
        return sampling_processors(self.temperature, self.top_k, self.top_p, self.min_p, self.typical_p)

    def choose(self, log_probs, uniform):
        """Token of each row where the summed probabilities exceed ``uniform`` ``(rows,)``, on the device."""
        best = ops.max(log_probs, axis=-1, keepdims=True)
        sums = ops.cumsum(ops.exp(log_probs - best), axis=-1)
        below = sums <= ops.expand_dims(uniform, 1) * sums[:, -1:]
        return ops.sum(ops.cast(below, "int32"), axis=-1)

    def choose_on_host(self, log_probs, uniform):
        """The same for an array; ``uniform`` is below 1."""
        sums = np.cumsum(np.exp(log_probs - log_probs.max(axis=-1, keepdims=True)), axis=-1)
        return (sums <= uniform[:, None] * sums[:, -1:]).sum(axis=-1)


@dataclass(frozen=True, kw_only=True)
class Beam:
    """The best whole sequences, of the ``width`` best beginnings at every step.

    Args:
        width: beginnings of each prompt that are followed.
        n_best: results for each prompt, at most ``width``.
        length_penalty: results are ranked by the sum of their log-probabilities divided by ``length ** length_penalty``: 0 is the
            plain sum, 1 the mean; larger values favour longer results.
        groups: divide the beam into so many groups that avoid each other's tokens (diverse beam search, arXiv 1610.02424).
        diversity: what a token costs, in log-probability, for each group before that chose it in the same step.
    """

    width: int = 4
    n_best: int = 1
    length_penalty: float = 0.0
    groups: int = 1
    diversity: float = 0.0

    def __post_init__(self):
        for name in ("width", "n_best", "groups"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise bad_value(f"Beam: {name}", value, "a positive integer")
        if self.n_best > self.width:
            raise bad_value("Beam: n_best", self.n_best, f"at most the width, {self.width}")
        if self.width % self.groups:
            raise bad_value("Beam: groups", self.groups, f"a divisor of the width, {self.width}")
        if self.diversity < 0 or (self.groups > 1) != (self.diversity > 0):
            raise bad_value(
                "Beam: groups and diversity", (self.groups, self.diversity), "both (a positive diversity), or neither"
            )
