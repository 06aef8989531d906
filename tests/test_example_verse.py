"""Couplets, poems and titles in the examples: public layouts, forms that a search must keep, and what stands beside a title."""

import json

import numpy as np
import pytest
from example_modules import load

from keras_su.decoding import AllowedTokens, beam_search
from keras_su.metrics import lcs_f1
from keras_su.tokenizers import Tokenizer

titles = load("readers.titles")
verse, ngrams = load("readers.verse"), load("toolbox.ngrams")
TOKENIZER = Tokenizer({token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"，。天地人风月云a"])})


def test_couplets(tmp_path):
    folder = tmp_path / "train"
    folder.mkdir()
    (folder / "in.txt").write_text("天 高 ， 云 淡 \n一 二\n\n", encoding="utf-8")
    (folder / "out.txt").write_text("地 阔 ， 风 清\n一 二 三\n\n", encoding="utf-8")
    assert verse.read_couplets(tmp_path, "train") == [("天高，云淡", "地阔，风清")]
    (folder / "out.txt").write_text("地\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"in.txt has 3 lines, out.txt 1"):
        verse.read_couplets(tmp_path, "train")


def test_poems(tmp_path):
    poems = [
        {"title": "甲", "paragraphs": ["天高，云淡。", "望断？"]},
        {"title": "lost", "paragraphs": ["天□，云淡。"]},
        {"title": "note", "paragraphs": ["天高[一作地]，云淡。"]},
        {"title": "empty", "paragraphs": []},
    ]
    songs = [{"rhythmic": "导引", "paragraphs": ["天、地"]}]
    for kind, content in (("tang", poems), ("song", songs)):
        path = tmp_path / verse.COLLECTIONS[kind].replace("*", "1000")
        path.parent.mkdir()
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    assert verse.read_poems(tmp_path, "tang") == [verse.Poem("甲", ("天高，", "云淡。", "望断？"))]
    assert verse.read_poems(tmp_path, "song") == [verse.Poem("导引", ("天、", "地"))]


def generated(slots, forbidden=None, seed=0):
    """What a beam search over random scores writes inside the slots."""
    scores = np.log(np.random.default_rng(seed).dirichlet(np.ones(TOKENIZER.vocab_size), size=40))
    form = AllowedTokens(verse.Form([slots], TOKENIZER, forbidden))
    step = lambda hypotheses: np.repeat(scores[hypotheses.generated.shape[1]][None], len(hypotheses), axis=0)  # noqa: E731
    found = beam_search(step, [[2]], beam=3, max_new_tokens=40, end_ids=TOKENIZER.end_id, processors=[form])
    return ["".join(TOKENIZER.ids_to_tokens(one.tokens)) for one in found[0]]


@pytest.mark.parametrize("seed", range(5))
def test_second_lines(seed):
    first = "天天，地。"
    for second in generated(verse.couplet_slots(first), [first], seed):
        assert second.endswith("[SEP]")
        a, b, comma, c, stop = second.removesuffix("[SEP]")
        assert a == b != c and (comma, stop) == ("，", "。") and {a, c} <= set("人风月云")


def test_acrostics():
    lines = verse.regular_lines(3, 4)
    assert [len(line) for line in lines] == [5, 5, 5] and "".join(line[-1] for line in lines) == "，。，"
    for text in generated(verse.acrostic_slots(lines, "云月")):
        written = verse.split_lines(text.removesuffix("[SEP]"))
        assert [line[-1] for line in written] == ["，", "。", "，"] and [line[0] for line in written[:2]] == ["云", "月"]
        assert all(len(line) == 5 and set(line[:-1]) <= set("天地人风月云") for line in written)


def test_naive_models_are_distributions():
    for order in (1, 2):
        model = ngrams.NGrams([[1, 2, 1, 3], [2]], 5, order, weight=3.0)
        for previous in (None, 0, 1, 3):
            assert sum(model.probability(index, previous) for index in range(5)) == pytest.approx(1)
    assert model.probability(2, 1) > model.probability(2)
    assert model.bits([2, 1], 1) == pytest.approx(-np.log2(model.probability(2, 1) * model.probability(1, 2)))
    assert np.exp(model.log_frequencies()).sum() == pytest.approx(1)
    assert verse.prediction_figures(6.0, 3, 16) == {"bits saved": 2.0, "perplexity": 4.0}


def test_closest_span():
    rng = np.random.default_rng(1)
    for _ in range(20):
        title, abstract = (rng.integers(0, 5, size).tolist() for size in (4, 12))
        score, start, stop = titles.closest_span(title, abstract, longest=6)
        spans = [(i, j) for i in range(12) for j in range(i + 1, min(i + 6, 12) + 1)]
        assert score == pytest.approx(max(lcs_f1(abstract[i:j], title) for i, j in spans))
        assert stop == start or score == pytest.approx(lcs_f1(abstract[start:stop], title))


def test_marks():
    assert titles.copy_marks("风与月", "天地，风和月，人，与") == [0, 0, 0, 1, 0, 1, 0, 0, 0, 0]
    assert titles.copy_marks("风", "天地") == [0, 0]
    assert titles.repetitions("天地，天地。地天") == [2, 2, 1, 2, 2, 1, 1, 1]
    assert titles.repetitions("") == []


def test_titles(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text("题\t文 一。\n缺\n\n 又\t文\u2028二\t三\n", encoding="utf-8")
    assert titles.read_titles(path) == [("题", "文 一。"), ("又", "文\u2028二\t三")]


def test_best_guesses_are_the_most_frequent_followers():
    assert ngrams.NGrams([[1, 2, 1, 3, 1, 3], [2, 1]], 5).best_guesses() == {1: 3, 2: 1, 3: 1}
