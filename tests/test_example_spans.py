"""Examples that quote from texts: what their readers make of difficult rows, and that every place is the place it seems."""

import itertools
import json

import numpy as np
import pytest
from example_modules import load

from keras_su.tokenizers import Tokenizer


@pytest.fixture(scope="module")
def relations():
    return load("readers.relations")


@pytest.fixture(scope="module")
def reading():
    return load("readers.reading")


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) + "\n", encoding="utf-8")


def test_both_layouts_of_relations_are_read_alike(relations, tmp_path):
    rich = {
        "subject": "甲",
        "subject_type": "影视作品",
        "predicate": "配音",
        "object_type": {"@value": "人物", "inWork": "影视作品"},
    }
    flat = {**rich, "object": "乙", "object_type": "人物"}
    rich["object"] = {"@value": "乙", "inWork": "丙"}
    schema = [{"predicate": "配音", "object_type": "人物", "subject_type": kind} for kind in ("影视作品", "角色")]
    read = []
    for layout, item in (("duie", rich), ("lic2019", flat)):
        folder = tmp_path / layout
        folder.mkdir()
        for name in relations.FILES[layout][:2]:
            write_lines(folder / name, [{"text": "甲由乙配音", "spo_list": [item, item]}, {"text": "无", "spo_list": []}])
        write_lines(folder / relations.FILES[layout][2], schema)
        read.append(relations.read_relations(folder))
    assert read[0] == read[1]
    train, _, predicates = read[0]
    assert predicates == ["配音"]
    assert train[0].triples == {("甲", "配音", "乙")} and train[1].triples == set()
    with pytest.raises(FileNotFoundError, match="train_data.json"):
        relations.read_relations(tmp_path)


def test_closest_places(relations):
    text = "王明，王明的《长街》，李大导演"
    assert relations.closest(text, "长街", "王明") == ((7, 9), (3, 5))
    assert relations.closest(text, "长街", "张三") is None
    assert relations.closest("北京大学在北京", "北京大学", "北京") == ((0, 4), (5, 7))  # not the one inside
    assert relations.closest("北京大学", "北京大学", "北京") == ((0, 4), (0, 2))  # where there is no other
    assert relations.closest("(a+) ABC", "(A+)", "abc") == ((0, 4), (5, 8))


@pytest.mark.parametrize("known", ["", "abcdefghijklmnopqrstuvwxyz0123456789"])
def test_token_spans_give_the_names_back(relations, known):
    """Whatever the tokens are: single characters, or whole words that nobody knows."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"《》长街由导演", *known, *(f"##{c}" for c in known)]
    tokenizer = Tokenizer({token: i for i, token in enumerate(tokens)}, do_lower_case=True)
    text = "《长街 2》由Fresh果果、 王龘导演"
    triples = frozenset([relations.Triple("长街 2", "导演", "Fresh果果"), relations.Triple("长街 2", "导演", "王龘")])
    sentence, offsets = relations.Sentence(text, triples, {}), tokenizer.offsets(text)
    found = relations.token_triples(sentence, offsets)
    quoted = {(relations.text_of(text, offsets, s), p, relations.text_of(text, offsets, o)) for s, p, o in found}
    assert quoted == triples
    cut = offsets[: found[0][2][1]]  # the last token of one object is missing
    assert len(relations.token_triples(sentence, cut)) < 2
    assert relations.token_span(offsets[:2], 1, 3) is None


def test_renaming_keeps_triples_in_the_text(relations):
    kinds = {"春水": "影视作品", "王小明": "人物", "王小": "人物", "远山": "影视作品", "李大山": "人物"}
    first = relations.Sentence("《春水》由王小明导演，春水", frozenset([relations.Triple("春水", "导演", "王小明")]), {})
    first = first._replace(types={name: kinds[name] for name in ("春水", "王小明")})
    nested = relations.Sentence("王小明即王小", frozenset([relations.Triple("王小明", "简称", "王小")]), {})
    nested = nested._replace(types={name: kinds[name] for name in ("王小明", "王小")})
    other = relations.Sentence("《远山》由李大山导演", frozenset(), {name: kinds[name] for name in ("远山", "李大山")})
    renaming = relations.Renaming([first, nested, other], np.random.default_rng(0), chance=1.0)
    assert renaming(nested) == nested  # neither can be exchanged without breaking the other
    texts = set()
    for _ in range(20):
        renamed = renaming(first)
        [(subject, predicate, object_)] = renamed.triples
        assert renamed.text == f"《{subject}》由{object_}导演，{subject}" and predicate == "导演"
        assert {renamed.types[subject], renamed.types[object_]} == {"影视作品", "人物"}
        texts.add(renamed.text)
    assert len(texts) > 1


def test_passages_are_never_in_both_parts(reading, tmp_path):
    reading.write_synthetic(tmp_path)
    for task in ("webqa", "cmrc"):
        train, dev = reading.read_reading(task, tmp_path)
        shown = [{passage.text for question in part for passage in question.passages} for part in (train, dev)]
        assert shown[0] and shown[1] and not shown[0] & shown[1]


def test_answers_that_do_not_stand_where_they_should(reading, tmp_path):
    answers = [{"text": "三 天", "answer_start": 0}, {"text": "三天", "answer_start": 99}, {"text": "三天", "answer_start": 2}]
    paragraph = {"context": "他等了三天。", "id": "1", "qas": [{"question": "几天？", "id": "1_0", "answers": answers}]}
    (tmp_path / "cmrc.json").write_text(json.dumps({"data": [{"paragraphs": [paragraph]}]}), encoding="utf-8")
    [question] = reading.read_cmrc(tmp_path / "cmrc.json")
    assert question.answers == ("三 天", "三天") and question.passages == (("他等了三天。", "三天"),)
    passages = [{"passage": "", "answer": ""}, {"passage": "无关", "answer": ""}, {"passage": "三天", "answer": "三天"}]
    (tmp_path / "web.json").write_text(json.dumps([{"question": "几天？", "passages": passages}]), encoding="utf-8")
    [question] = reading.read_webqa(tmp_path / "web.json")
    assert question.answers == ("三天",) and [passage.answer for passage in question.passages] == ["", "三天"]


def test_window(reading):
    passage = list("一二三四五六七八九十甲乙丙丁")
    assert reading.window(list("七八"), passage, 20) == (0, 14)
    start, stop = reading.window(list("七八九"), passage, 5)
    assert stop - start == 5 and start <= 6 and stop >= 9
    for answer in itertools.combinations(range(15), 2):  # an answer is inside if there is room for it
        start, stop = reading.window(list("七八九"), passage, 5, answer)
        assert 0 <= start <= answer[0] and stop <= 14 and (answer[1] <= stop or answer[1] - answer[0] > 5)


def test_made_questions_are_answered_by_their_text(reading):
    text, random = "王小明生于江城，年轻时喜欢游泳。他在冬天办了展览！短。", np.random.default_rng(0)
    for _ in range(50):
        question, answer = reading.cloze(text, random)
        assert answer and answer in text and question.endswith("？")
    assert reading.cloze("短。", random) is None


def test_best_piece_is_that_of_all_pieces(reading):
    random = np.random.default_rng(0)
    for length in (1, 3, 9):
        passage, scores = random.integers(4, 9, length).tolist(), random.normal(size=(4, 9))
        mean = lambda start, stop: np.mean([*scores[range(stop - start), passage[start:stop]], scores[stop - start, 3]])  # noqa: E731, B023
        spans = [(i, j) for i, j in itertools.combinations(range(length + 1), 2) if j - i < 4]
        (start, stop), score = reading.best_piece(scores, passage, end=3)
        assert np.isclose(score, max(mean(*span) for span in spans)) and np.isclose(score, mean(start, stop))


def test_votes(reading):
    assert reading.vote([("甲", 0.5), ("乙", 0.4), ("乙", 0.4)]) == "乙"  # 0.167, and 0.178 for two
    assert reading.vote([("甲", 0.9), ("乙", 0.3), ("乙", 0.3)]) == "甲"


def test_decoded_triples():
    from task_relation_extraction_casrel import names
    from task_relation_extraction_gplinker import decode

    marks = np.full((6, 2), -9.0)
    marks[[0, 1, 4], 0] = marks[[2, 5, 0], 1] = 0  # starts 0 (no name: the start token), 1, 4; ends 0, 2, 5
    assert names(marks, 6) == [(1, 2), (4, 5)]
    assert names(marks, 5) == [(1, 2)]  # token 5 is padding
    spans, firsts, lasts = np.full((2, 6, 6), -1), np.full((3, 6, 6), -1), np.full((3, 6, 6), -1)
    spans[0, 1, 2] = spans[1, 4, 5] = spans[1, 4, 4] = 1
    firsts[2, 1, 4] = lasts[2, 2, 5] = firsts[0, 1, 4] = 1  # predicate 0 lacks its last tokens
    assert [(tuple(s), p, tuple(o)) for s, p, o in decode(spans, firsts, lasts)] == [((1, 2), 2, (4, 5))]
