"""Copied answers and rules of functions, against lists of all spans."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_su.decoding import beam_search
from keras_su.decoding.allowed_tokens import AllowedTokens
from keras_su.decoding.passages import PassageConstraint
from keras_su.errors import KerasSuError

VOCABULARY = 5
END = 0
PASSAGE = st.lists(st.integers(0, VOCABULARY - 1), max_size=7)
PASSAGES = st.lists(PASSAGE, min_size=1, max_size=3).filter(lambda several: any(any(each) for each in several))


def scorer(seed):
    def step(hypotheses):
        logits = [np.random.default_rng([seed, *ids.tolist()]).normal(size=VOCABULARY) * 2 for ids in hypotheses]
        return np.array([row - np.logaddexp.reduce(row) for row in logits])

    return step


def spans(passages, longest):
    """Every contiguous piece without an end id, up to a length."""
    pieces = [passage[i:j] for passage in passages for i in range(len(passage)) for j in range(i + 1, len(passage) + 1)]
    return {tuple(piece) for piece in pieces if END not in piece and len(piece) <= longest}


def ranking(step, prompt, answers, starts, normalize):
    """Every answer and its score, token by token among what may follow the same beginning in ``starts``."""
    found = {}
    for answer in answers:
        score, tokens = 0.0, (*answer, END)
        for i, token in enumerate(tokens):
            allowed = {(*other, END)[i] for other in starts if other[:i] == answer[:i]}
            log_probs = step([np.array([*prompt, *tokens[:i]])])[0]
            score += log_probs[token] - (np.logaddexp.reduce([log_probs[t] for t in allowed]) if normalize else 0)
        found[tokens] = score
    return found


@given(PASSAGES, PASSAGES, st.integers(0, 999), st.booleans(), st.booleans())
def test_answers_are_the_spans_of_their_own_passages(first, second, seed, allow_empty, normalize):
    constraint = PassageConstraint([first, second], END, allow_empty=allow_empty, normalize=normalize)
    step, prompts = scorer(seed), [[1], [2, 2]]
    found = beam_search(step, prompts, beam=99, max_new_tokens=4, end_ids=END, processors=[constraint])
    for prompt, passages, some in zip(prompts, (first, second), found):
        empty = {()} if allow_empty else set()
        answers = spans(passages, 3) | empty
        expected = ranking(step, prompt, answers, spans(passages, 4) | empty, normalize)
        assert {tuple(each.tokens.tolist()): each.score for each in some if each.finished} == pytest.approx(expected)
        assert all(tuple(each.tokens.tolist()) in spans(passages, 4) for each in some if not each.finished)


def test_one_passage_or_several_as_lists_or_arrays():
    found = []
    for passages in ([4, 2], [[4, 2]], np.array([4, 2]), (np.array([4, 2]),), [[4, 2], []]):
        constraint = PassageConstraint([passages], END)
        results = beam_search(scorer(1), [[1]], beam=9, max_new_tokens=3, end_ids=END, processors=[constraint])[0]
        found.append([each.tokens.tolist() for each in results])
    assert all(each == found[0] for each in found) and sorted(found[0]) == [[2, 0], [4, 0], [4, 2, 0]]


def test_after_the_end_only_the_end_follows():
    constraint = PassageConstraint([[4, END, 2]], END)
    found = beam_search(scorer(1), [[1]], beam=9, max_new_tokens=4, end_ids=END, min_ends=2, processors=[constraint])[0]
    assert sorted(each.tokens.tolist() for each in found) == [[2, 0, 0], [4, 0, 0]]


def test_without_a_passage_the_answer_is_empty():
    found = beam_search(
        scorer(1), [[1]], max_new_tokens=2, end_ids=END, processors=[PassageConstraint([[]], END, allow_empty=True)]
    )
    assert [each.tokens.tolist() for each in found[0]] == [[END]]


@pytest.mark.parametrize("passages", [[[]], [[END, END]], [[[]]], [[1.5]], [[[1], [-1]]], [["a"]]])
def test_wrong_passages(passages):
    with pytest.raises(KerasSuError, match="passages: got"):
        PassageConstraint(passages, END)


def test_wrong_number_of_passages():
    with pytest.raises(KerasSuError, match="got 1, expected one entry for each of the 2 prompts"):
        beam_search(scorer(1), [[1], [2]], max_new_tokens=2, end_ids=END, processors=[PassageConstraint([[1]], END)])


@given(PASSAGES, st.integers(0, 999), st.booleans())
def test_a_function_can_say_the_same_as_passages(passages, seed, normalize):
    def allowed(prompt, generated):
        text = tuple(generated.tolist())
        following = [span[-1] for span in spans(passages, len(text) + 1) if span[:-1] == text and len(span) == len(text) + 1]
        return following + [END] * bool(text)

    found = []
    for processor in (AllowedTokens(allowed, normalize), PassageConstraint([passages], END, normalize=normalize)):
        results = beam_search(scorer(seed), [[1]], beam=4, max_new_tokens=3, end_ids=END, processors=[processor])[0]
        found.append([(each.tokens.tolist(), each.score, each.finished) for each in results])
    assert found[0] == found[1]


def test_the_function_gets_the_number_of_the_prompt():
    constraint = AllowedTokens(lambda prompt, generated: iter((END,)) if len(generated) else np.array([prompt + 1]))
    found = beam_search(scorer(1), [[1], [2], [3]], max_new_tokens=3, end_ids=END, processors=[constraint])
    assert [some[0].tokens.tolist() for some in found] == [[1, 0], [2, 0], [3, 0]]
    assert constraint.shift_invariant and not AllowedTokens(print, normalize=False).shift_invariant


def test_wrong_functions():
    with pytest.raises(KerasSuError, match="function: got 3"):
        AllowedTokens(3)
    for wrong in ([], [-1], [0.5], [[1]]):
        with pytest.raises(KerasSuError, match=r"prompt 0 after \[\]"):
            constraint = AllowedTokens(lambda prompt, generated, wrong=wrong: wrong)
            beam_search(scorer(1), [[1]], max_new_tokens=2, end_ids=END, processors=[constraint])
