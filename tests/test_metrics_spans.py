"""Entities that tags spell, against tags spelled for known entities; and scores of spans, against counting."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_su.errors import KerasSuError
from keras_su.metrics import SpanScores, entities, entity_scores, span_scores
from keras_su.metrics.spans import SCHEMES


def spell(spans, length, scheme):
    """Tags of a text in which ``(type, start, end)`` do not overlap."""
    begin, inside, end, single = {
        "BIO": "BIIB",
        "BIOES": "BIES",
        "BMES": "BMES",
        "BMEWO": "BMEW",
        "BILOU": "BILU",
    }[scheme]
    tags = ["O"] * length
    for kind, first, last in spans:
        letters = [single] if first == last else [begin, *[inside] * (last - first - 1), end]
        tags[first : last + 1] = [f"{letter}-{kind}" if kind else letter for letter in letters]
    return tags


@st.composite
def texts(draw):
    """Lengths of entities and of gaps, one after the other."""
    spans, place = set(), 0
    for gap, size, kind in draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from(["A", "B-C", ""])), max_size=5)
    ):
        spans.add((kind, place + gap, place + gap + size - 1))
        place += gap + size
    return spans, place + draw(st.integers(0, 2))


@settings(max_examples=50)
@given(texts(), st.sampled_from(sorted(SCHEMES)))
def test_tags_spell_their_entities(text, scheme):
    spans, length = text
    assert entities(spell(spans, length, scheme), scheme) == spans


@pytest.mark.parametrize(
    ("scheme", "tags", "found"),
    [
        ("BIO", "I-A I-A O", set()),
        ("BIO", "B-A I-B I-A", {("A", 0, 0)}),
        ("BIO", "B-A B-A I-A", {("A", 0, 0), ("A", 1, 2)}),
        ("BMES", "B-A M-A", set()),
        ("BMES", "B-A M-B E-A", set()),
        ("BMES", "B-A B-A E-A E-A", {("A", 1, 2)}),
        ("BMEWO", "B-A W-A E-A", {("A", 1, 1)}),
        ("BIOES", "B-A O E-A S-B", {("B", 3, 3)}),
        ("BILOU", "", set()),
    ],
)
def test_what_is_not_well_formed_is_no_entity(scheme, tags, found):
    assert entities(tags.split(), scheme) == found


def test_words_have_no_type():
    assert entities("B E S B M E".split(), "BMES") == {("", 0, 1), ("", 2, 2), ("", 3, 5)}


def test_what_is_refused():
    with pytest.raises(KerasSuError, match="Unknown tagging scheme 'BIOS'. Did you mean 'BIOES'"):
        entities(["O"], "BIOS")
    with pytest.raises(KerasSuError, match="Unknown tag of BIO 'M-PER'"):
        entities(["B-PER", "M-PER"])
    with pytest.raises(KerasSuError, match="got 2 texts and 1 predictions"):
        span_scores([set(), set()], [set()])
    with pytest.raises(KerasSuError, match=r"got the text 'B-PER', expected items such as \(type, start, end\)"):
        entity_scores([["B-PER"]], ["B-PER"])


SPANS = st.lists(
    st.frozensets(st.tuples(st.sampled_from("AB"), st.integers(0, 2), st.integers(2, 3)), max_size=5), min_size=3, max_size=3
)


@settings(max_examples=50)
@given(SPANS, SPANS)
def test_scores_against_counting(true, predicted):
    """Over all texts together; precision and recall change places with the sides; types add up to the whole."""
    scores = entity_scores(true, predicted)
    hits = sum(item in there for here, there in zip(true, predicted) for item in here)
    assert scores.micro == SpanScores(hits, sum(map(len, predicted)), sum(map(len, true))) == span_scores(true, predicted)
    swapped = span_scores(predicted, true)
    assert (swapped.precision, swapped.recall, swapped.f1) == (scores.micro.recall, scores.micro.precision, scores.micro.f1)
    for field in ("correct", "predicted", "actual"):
        assert sum(getattr(one, field) for one in scores.by_type.values()) == getattr(scores.micro, field)
    for kind, one in scores.by_type.items():
        only = [[{item for item in items if item[0] == kind} for items in side] for side in (true, predicted)]
        assert one == span_scores(*only)


def test_ratios():
    scores = span_scores([[(0, 1), (0, 1), (2, 2)]], [[(0, 1), (2, 3), (5, 5)]])
    assert (scores.precision, scores.recall, scores.f1) == (pytest.approx(1 / 3), 0.5, 0.4)
    nothing = span_scores([[]], [[]])
    assert (nothing.precision, nothing.recall, nothing.f1) == (0.0, 0.0, 0.0)
