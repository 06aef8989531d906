"""Grammars against Python's own ``re`` and ``json``, over all texts that a tiny vocabulary can write."""

import importlib.util
import itertools
import json
import re
import sys

import numpy as np
import pytest

from keras_su.decoding import Hypotheses, beam_search
from keras_su.decoding.grammar import GrammarConstraint
from keras_su.errors import KerasSuError, MissingDependencyError
from keras_su.tokenizers import Tokenizer

END = 0
engine = pytest.mark.skipif(
    importlib.util.find_spec("llguidance") is None, reason="llguidance, the grammar engine, is not installed"
)


def scorer(seed, size):
    def step(hypotheses):
        logits = [np.random.default_rng([seed, *ids.tolist()]).normal(size=size) for ids in hypotheses]
        return np.array([row - np.logaddexp.reduce(row) for row in logits])

    return step


def search(constraint, size, beam=400, length=5, prompts=([1],), **options):
    return beam_search(
        scorer(1, size), prompts, beam=beam, max_new_tokens=length, end_ids=END, processors=[constraint], **options
    )


def texts(words, matches, length):
    """Ids of every sequence of at most ``length`` words whose text is accepted, with the end id."""
    found = set()
    for size in range(length + 1):
        for ids in itertools.product(range(1, len(words)), repeat=size):
            if matches("".join(words[i] for i in ids)):
                found.add((*ids, END))
    return found


WORDS = ["", "a", "b", "ab", "天", "1"]


@engine
@pytest.mark.parametrize("pattern", ["(ab)*", "a|b1", "[^1]{2,3}", "天?(a|ab)+1", "a*b*"])
def test_regular_expressions_allow_every_match_in_every_spelling(pattern):
    constraint = GrammarConstraint(WORDS, END, regex=pattern)
    found = search(constraint, len(WORDS), length=4)[0]
    expected = texts(WORDS, re.compile(pattern).fullmatch, 3)
    assert {tuple(each.tokens.tolist()) for each in found if each.finished} == expected
    if not any(not each.finished for each in found):  # where every text is short enough, nothing is lost
        assert sum(np.exp(each.score) for each in found) == pytest.approx(1)


@engine
def test_hypotheses_that_fork_do_not_disturb_each_other():
    """Both branches of every fork are still there, for every prompt, also where rows are reordered."""
    constraint = GrammarConstraint(WORDS, END, regex="(a|b)(a|b)(a|b)")
    alone = search(constraint, len(WORDS), length=5)[0]
    together = search(constraint, len(WORDS), length=5, prompts=([1], [2, 3], [1]))
    key = lambda some: [(each.tokens.tolist(), each.score) for each in some]  # noqa: E731
    assert len(alone) == len(texts(WORDS, re.compile("[ab]{3}").fullmatch, 3))
    assert key(together[0]) == key(together[2]) == key(alone)
    assert sorted(each.tokens.tolist() for each in together[1]) == sorted(each.tokens.tolist() for each in alone)


@engine
def test_tokens_of_single_bytes_make_characters():
    tokens = [b"", *(bytes([byte]) for byte in "天气".encode()), "气".encode()]
    found = search(GrammarConstraint(tokens, END, regex="天气|气"), len(tokens), length=8)[0]
    assert {b"".join(tokens[i] for i in each.tokens).decode() for each in found if each.finished} == {"天气", "气"}


@engine
def test_json_schema():
    words = ["", "{", "}", '"', "a", ":", "1", "23", ",", "true", '":', "x"]
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
    for given in (schema, json.dumps(schema)):
        found = search(GrammarConstraint(words, END, json_schema=given), len(words), beam=30, length=9)[0]
        answers = [json.loads("".join(words[i] for i in each.tokens)) for each in found if each.finished]
        assert len(answers) > 5 and all(list(each) == ["a"] and isinstance(each["a"], int) for each in answers)
    anything = search(GrammarConstraint(words, END, json_schema=True), len(words), beam=30, length=4)[0]
    assert [json.loads("".join(words[i] for i in each.tokens)) for each in anything if each.finished]


@engine
@pytest.mark.parametrize("rules", [{"lark": 'start: "a" start "b" | "1"'}, {"gbnf": 'root ::= "a" root "b" | "1"'}])
def test_rules_that_no_regular_expression_can_say(rules):
    found = search(GrammarConstraint(WORDS, END, **rules), len(WORDS), length=6)[0]
    nested = lambda text: re.fullmatch("a*1b*", text) and text.count("a") == text.count("b")  # noqa: E731
    assert {tuple(each.tokens.tolist()) for each in found if each.finished} == texts(WORDS, nested, 5)


@engine
def test_a_tokenizer_is_a_vocabulary():
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "play", "##ing", "ing", "天"]
    tokenizer = Tokenizer({word: index for index, word in enumerate(words)})
    constraint = GrammarConstraint(tokenizer, regex="playing|天天")
    assert constraint.end_id == tokenizer.end_id == 3
    found = beam_search(scorer(1, 8), [[2]], beam=9, max_new_tokens=4, end_ids=3, processors=[constraint])[0]
    assert sorted(each.tokens.tolist() for each in found) == [[4, 5, 3], [4, 6, 3], [7, 7, 3]]


@engine
@pytest.mark.parametrize("normalize", [True, False])
def test_dead_ends_are_left(normalize):
    """No token writes what would follow "b": only the other beginning has an end."""
    constraint = GrammarConstraint(WORDS, END, regex="a1|b气", normalize=normalize)
    found = search(constraint, len(WORDS))[0]
    assert [each.tokens.tolist() for each in found] == [[1, 5, END]]
    assert constraint.shift_invariant == normalize
    only_dead = GrammarConstraint(WORDS, END, regex="b气")
    with pytest.raises(KerasSuError, match="No token has a probability above zero for prompt 0 after 1"):
        search(only_dead, len(WORDS))


@engine
def test_a_token_that_may_not_follow_is_a_dead_end():
    """It can come from a search that forgets to ask; the hypothesis then has probability zero, and no error comes of it."""
    constraint = GrammarConstraint(WORDS, END, regex="ab|b")
    start = Hypotheses.start([np.array([1])])
    constraint.allowed(start)
    following = start.extend(np.array([0, 0]), np.array([5, 1]), np.zeros(2), np.zeros(2, int))
    scores = constraint(np.zeros((2, len(WORDS))), following)
    assert (scores[0] == -np.inf).all() and np.flatnonzero(scores[1] > -np.inf).tolist() == [2]


@engine
def test_a_grammar_that_is_too_complex_is_an_error():
    rules = ["start: " + " | ".join(f"r{i}" for i in range(3000)), *(f'r{i}: "a" r{i} "b" | "1"' for i in range(3000))]
    with pytest.raises(KerasSuError, match="gives up on the grammar: .*items"):
        search(GrammarConstraint(WORDS, END, lark="\n".join(rules)), len(WORDS), beam=1)


@engine
def test_after_the_end_only_the_end_follows():
    found = search(GrammarConstraint(WORDS, END, regex="a|b*"), len(WORDS), length=3, min_ends=2)[0]
    assert {tuple(each.tokens.tolist()) for each in found if each.finished} == {(END, END), (1, END, END), (2, END, END)}


@engine
def test_not_normalized_scores_are_those_of_the_model():
    found = search(GrammarConstraint(WORDS, END, regex="ab", normalize=False), len(WORDS))[0]
    step = scorer(1, len(WORDS))
    for each in found:
        tokens = each.tokens.tolist()
        assert each.score == pytest.approx(sum(step([np.array([1, *tokens[:i]])])[0, token] for i, token in enumerate(tokens)))


@engine
@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "exactly one of regex, json_schema, lark, gbnf"),
        ({"regex": "a", "lark": "b"}, "exactly one"),
        ({"regex": 3}, "regex: got 3, expected a text"),
        ({"regex": "(a"}, "unclosed group"),
        ({"lark": "start: foo"}, "foo"),
        ({"lark": "start ="}, "does not understand the grammar"),
        ({"gbnf": "root ="}, "gbnf: got .*Expected ::="),
        ({"json_schema": "{"}, "json_schema: got"),
        ({"json_schema": 3}, "a text or a dict"),
        ({"json_schema": {"type": "nothing"}}, "does not understand the grammar"),
        ({"regex": "x"}, "cannot write the beginning"),
        ({"regex": "a", "end_id": None}, "end_id: got None"),
        ({"regex": "a", "end_id": 6}, "end_id: got 6, expected an id of the vocabulary, 0 to 5"),
    ],
)
def test_wrong_grammars(options, message):
    with pytest.raises(KerasSuError, match=message):
        GrammarConstraint(WORDS, **{"end_id": END, **options})


def test_without_the_engine_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "keras_su\[grammar\]"'):
        GrammarConstraint(WORDS, END, regex="a")
