"""Precision, recall and F1 of spans: named entities, words, or any other items that a text has or has not."""

from collections import defaultdict
from dataclasses import dataclass

from keras_su.errors import KerasSuError, unknown_name

# The letters of a scheme: begin and inside, then end and single where the scheme marks them. Outside is always "O".
SCHEMES = {"BIO": "BI", "BIOES": "BIES", "BMES": "BMES", "BMEWO": "BMEW", "BILOU": "BILU"}


@dataclass(frozen=True)
class SpanScores:
    """How many items were found, and what follows from that; each ratio is 0 where it has no value.

    >>> SpanScores(correct=3, predicted=4, actual=6).f1
    0.6
    """

    correct: int
    predicted: int
    actual: int

    @property
    def precision(self):
        """Part of the predicted items that is correct."""
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self):
        """Part of the actual items that was predicted."""
        return self.correct / self.actual if self.actual else 0.0

    @property
    def f1(self):
        """``2 * correct / (predicted + actual)``."""
        total = self.predicted + self.actual
        return 2 * self.correct / total if total else 0.0


@dataclass(frozen=True)
class EntityScores:
    """Scores over all entities, and for each type."""

    micro: SpanScores
    by_type: dict


def span_scores(true, predicted):
    """Micro-averaged scores of items that count when they are equal.

    Args:
        true: for every text a set (or another iterable) of hashable items, e.g. ``(start, end)`` or relation triples.
        predicted: the same, in the same order.

    Returns:
        A `SpanScores`.

    >>> round(span_scores([{(0, 1), (3, 3)}], [{(0, 1), (3, 4)}]).f1, 4)
    0.5
    """
    correct = found = actual = 0
    for here, there in _texts(true, predicted):
        correct, found, actual = correct + len(here & there), found + len(there), actual + len(here)
    return SpanScores(correct, found, actual)


def entity_scores(true, predicted):
    """Strict scores of entities: type, start and end must be right.

    Args:
        true: for every text an iterable of ``(type, start, end)``, as from `entities`.
        predicted: the same, in the same order.

    Returns:
        An `EntityScores`.

    >>> scores = entity_scores([{("PER", 0, 1), ("LOC", 4, 5)}], [{("PER", 0, 1), ("ORG", 4, 5)}])
    >>> scores.micro.f1, scores.by_type["PER"].f1, scores.by_type["LOC"].recall
    (0.5, 1.0, 0.0)
    """
    sides = list(_texts(true, predicted))
    by_type = defaultdict(lambda: ([], []))
    for kind in {item[0] for pair in sides for side in pair for item in side}:
        for pair in sides:
            for collected, side in zip(by_type[kind], pair):
                collected.append({item for item in side if item[0] == kind})
    return EntityScores(span_scores(true, predicted), {kind: span_scores(*by_type[kind]) for kind in sorted(by_type)})


def entities(tags, scheme="BIO"):
    """Entities that a sequence of tags spells, strictly: what is not well formed is none.

    Where a scheme marks ends, ``B-PER M-PER`` without an ``E-PER`` is no entity; in BIO, ``I-PER`` belongs to an entity only
    behind a ``B-PER`` or ``I-PER`` of its type.

    Args:
        tags: such as ``["B-PER", "I-PER", "O"]``, or without types (``"B"``, ``"M"``, ...) for words.
        scheme: ``"BIO"``, ``"BIOES"``, ``"BMES"``, ``"BMEWO"`` or ``"BILOU"``.

    Returns:
        A set of ``(type, start, end)``; ``end`` is the last token, and the type of a bare tag is ``""``.

    Raises:
        KerasSuError: an unknown scheme, or a tag that is not of the scheme.

    >>> sorted(entities(["B-PER", "I-PER", "O", "B-LOC", "B-LOC"]))
    [('LOC', 3, 3), ('LOC', 4, 4), ('PER', 0, 1)]
    """
    if scheme not in SCHEMES:
        raise unknown_name("tagging scheme", scheme, SCHEMES)
    letters = SCHEMES[scheme]
    begin, inside, end, single = (*letters, None, None)[:4]
    found, start, kind = set(), None, None
    for place, tag in enumerate([*tags, "O"]):
        letter, _, label = tag.partition("-")
        if letter not in (*letters, "O"):
            raise unknown_name(f"tag of {scheme}", tag, [*(f"{x}-..." for x in letters), "O"])
        continues = start is not None and label == kind
        if end is None and start is not None and not (letter == inside and continues):
            found.add((kind, start, place - 1))
        if letter == end and continues:
            found.add((kind, start, place))
        if letter == single:
            found.add((label, place, place))
        if letter == begin:
            start, kind = place, label
        elif not (letter == inside and continues):
            start = None
    return found


def _texts(true, predicted):
    """Pairs of sets."""
    true, predicted = list(true), list(predicted)
    if len(true) != len(predicted):
        raise KerasSuError(f"Scores of spans: got {len(true)} texts and {len(predicted)} predictions, expected as many.")
    for side in (true, predicted):
        for items in side:
            if isinstance(items, str):
                raise KerasSuError(f"Scores of spans: got the text {items!r}, expected items such as (type, start, end).")
    return ((set(here), set(there)) for here, there in zip(true, predicted))
