"""The KgCLUE example: reading the files, training examples, answers that are always entries of the graph, the command line."""

import itertools
import json

import numpy as np
import pytest
from example_modules import EXAMPLES, load

MINI = EXAMPLES / "data" / "kg_mini"


@pytest.fixture(scope="module")
def example():
    return load("task_kgclue_seq2seq")


@pytest.fixture(scope="module")
def knowledge(example):
    """The shipped graph."""
    files = [MINI / "Knowledge.txt"]
    texts = [text for entry, _ in example.read_knowledge(files) for text in entry[:3]]
    texts += [question for name in ("train", "dev") for question, _ in example.read_questions(MINI / f"{name}.json")]
    return example.Knowledge(example.Tokenizer(example.character_vocabulary(texts), do_lower_case=True)).build(files)


@pytest.fixture(scope="module")
def models(example, knowledge):
    """The two models, which have learned nothing."""
    config = example.small_config(knowledge.tokenizer.vocab_size)
    return example.build_model({**config, "hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 16}, None, "bert")


@pytest.fixture(scope="module")
def writer(models):
    return models[1]


def test_triples(example):
    assert example.triple("牛顿（力的单位）", "单位符号", "N  m ") == ("牛顿", "单位符号", "力的单位", "N m")
    assert example.triple("浙江", "简称", "浙") == ("浙江", "简称", "", "浙")
    assert example.triple("a（b）c", "p", "o") == ("a（b）c", "p", "", "o")
    assert example.triple("a（b（c））", "p", "o") == ("a", "p", "b（c）", "o")


def test_shipped_graph(example):
    lines = (MINI / "Knowledge.txt").read_text(encoding="utf-8").splitlines()
    entries = [entry for entry, _ in example.read_knowledge([MINI / "Knowledge.txt"])]
    train, dev = (example.read_questions(MINI / f"{name}.json") for name in ("train", "dev"))
    assert len(entries) == len(lines) == len(set(lines)) >= 300
    assert len(train) + len(dev) >= 600
    assert not {entry.predicate for _, entry in train} & {entry.predicate for _, entry in dev}
    first = {}
    for entry in entries:
        first.setdefault(entry[:3], entry)
    for question, entry in train + dev:
        assert first[entry[:3]] == entry and entry.subject in question
    assert len({question for question, _ in train + dev}) > 0.98 * (len(train) + len(dev))
    subjects = {entry[::2] for entry in entries}
    assert any(a != b and a[0] == b[0] for a, b in itertools.product(subjects, subjects)), "homonyms"
    assert len(first) < len(entries), "several objects"


def test_vocabulary_covers_its_texts(example):
    texts = ["Rio是2004年的酒", "Café（咖啡）", "21°2′22.9″N"]
    tokenizer = example.Tokenizer(example.character_vocabulary(texts), do_lower_case=True)
    for text in texts:
        tokens = tokenizer.tokenize(text)[1:-1]
        assert tokenizer.unk_id not in tokenizer.tokens_to_ids(tokens)
        assert all(len(token.removeprefix("##")) == 1 for token in tokens)


def test_training_examples_stay_consistent(example, knowledge):
    from readers.kgclue import find

    questions = example.read_questions(MINI / "train.json")
    lessons = example.Lessons(questions, knowledge, batch_size=16, steps=4, seed=1)
    assert len(lessons) == 4
    subjects = {tuple(knowledge.ids(entry.subject)) for _, entry in questions}
    for batch in lessons.batches:
        for question, (subject, _, _) in batch:
            assert tuple(subject) in subjects
            assert find(question, list(subject)) is not None
    end, start = knowledge.end, knowledge.tokenizer.start_id
    for index in range(len(lessons)):
        (token_ids, segment_ids, positions), targets, weights = lessons[index]
        for row in range(len(token_ids)):
            places = weights[row] > 0
            answer = targets[row, places, 0]
            assert (answer == end).sum() == 3 and answer[-1] == end
            # The model sees the answer shifted by one, in segment 1, after the question and its end.
            np.testing.assert_array_equal(token_ids[row, positions[row, places] + 1], answer)
            np.testing.assert_array_equal(token_ids[row, segment_ids[row] == 1], answer)
            assert token_ids[row, 0] == start and token_ids[row, positions[row, 0]] == end
            # Rivals are other tokens, and only where the predicate stands.
            rivals = targets[row, :, 1:]
            assert not (rivals == targets[row, :, :1])[rivals > 0].any()
            fields = np.cumsum(answer == end) - (answer == end)
            assert set(fields[(rivals > 0).any(axis=1)[: len(answer)]]) <= {1}
    first = lessons.batches
    lessons.on_epoch_end()
    assert lessons.batches != first


def test_original_questions_are_left_alone(example, knowledge):
    questions = example.read_questions(MINI / "train.json")[:5]
    lessons = example.Lessons(questions, knowledge, batch_size=2, steps=1, seed=1)
    before = json.dumps(lessons.rows)
    for _ in range(50):
        for row in lessons.rows:
            lessons.varied(*row)
    assert json.dumps(lessons.rows) == before


def test_loss_is_cross_entropy_over_the_vocabulary_and_over_the_rivals(example):
    logits = np.log([[[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]]]).astype("float32")
    targets = np.array([[[3, 1, 2], [1, 0, 0]]])
    weights = np.array([[1.0, 0.5]], "float32")
    first = -np.log(0.4) - 2 * np.log(0.4 / 0.9)
    second = -np.log(0.1)  # no rivals
    loss = float(example.ReadingLoss()(targets, logits, weights))
    assert loss == pytest.approx((first + 0.5 * second) / 1.5, rel=1e-5)


def test_logits_at_positions_equal_those_of_the_whole_sequence(models):
    learner, writer = models
    token_ids = np.arange(4, 24).reshape(2, 10)
    segment_ids = (np.arange(10) > 5).astype(int) + np.zeros((2, 1), int)
    everywhere = writer.predict_on_batch([token_ids, segment_ids])
    some = learner.predict_on_batch([token_ids, segment_ids, np.array([[6, 9], [7, 8]])])
    np.testing.assert_allclose(some, np.stack([everywhere[0, [6, 9]], everywhere[1, [7, 8]]]), atol=1e-5)


@pytest.mark.parametrize("look_ahead", [False, True])
def test_every_answer_is_an_entry_of_the_graph_even_of_an_untrained_model(example, knowledge, writer, look_ahead):
    entries = {entry for entry, _ in example.read_knowledge([MINI / "Knowledge.txt"])}
    questions = [question for question, _ in example.read_questions(MINI / "dev.json")[:12]] + ["完全无关的问题！", "x", ""]
    for beam in (1, 3):
        for entry, probability in example.answer(writer, knowledge, questions, beam, look_ahead):
            assert entry in entries
            assert 0 < probability <= 1


def test_wide_beam_finds_the_best_entry_of_all(example, knowledge, writer):
    """200 entries scored one by one, token by token among the branches of the tree, against a beam that holds them all."""
    few = example.Knowledge(knowledge.tokenizer)
    lines = (MINI / "Knowledge.txt").read_text(encoding="utf-8").splitlines()[::4][:200]
    keys = {tuple(few.key(example.triple(*line.split("\t")))): line for line in reversed(lines)}
    few.tree = example.PrefixTree.build(keys.items(), progress=False)
    question = "杜甫的代表作是什么？"
    prompt = [few.tokenizer.start_id, *few.ids(question), few.end]
    best = example.generate(
        writer,
        prompt,
        search=example.Beam(width=300, n_best=300),
        max_new_tokens=60,
        end_ids=few.end,
        min_ends=3,
        processors=[example.PrefixConstraint(few.tree, few.end)],
    )
    found = (best, *best.alternatives)
    allowed = {}
    for key in keys:
        for i, token in enumerate((*key, few.end)):
            allowed.setdefault(key[:i], set()).add(token)
    prefixes = [prefix for prefix, tokens in allowed.items() if len(tokens) > 1]
    texts = np.zeros((len(prefixes), 80), np.int32)
    for row, prefix in enumerate(prefixes):
        texts[row, : len(prompt) + len(prefix)] = [*prompt, *prefix]
    segments = np.broadcast_to(np.arange(80) >= len(prompt), texts.shape).astype(np.int32)
    everything = writer.predict([texts, segments], batch_size=16, verbose=0)
    logits = {prefix: rows[len(prompt) + len(prefix) - 1] for prefix, rows in zip(prefixes, everything)}
    scores = dict.fromkeys(keys, 0.0)
    for key in keys:
        for i, token in enumerate((*key, few.end)):
            if key[:i] in logits:
                row = logits[key[:i]].astype(np.float64)
                scores[key] += row[token] - np.logaddexp.reduce([row[other] for other in allowed[key[:i]]])
    first = max(scores, key=scores.get)
    assert found[0].tokens.tolist() == [*first, few.end]
    assert found[0].score == pytest.approx(scores[first], abs=1e-4)
    assert len(found) == len(keys)


def test_lexical_answer(example, knowledge):
    gold = dict(example.read_questions(MINI / "train.json"))
    assert knowledge.lexical_answer("请问苏轼的父亲是谁？")[:2] == ("苏轼", "父亲")
    assert knowledge.lexical_answer("完全无关！") is None
    answers = [knowledge.lexical_answer(question) for question in gold]
    assert np.mean([answer == entry for answer, entry in zip(answers, gold.values())]) > 0.5


def test_unknown_characters_in_a_subject_are_told_apart_by_the_question(example, tmp_path):
    (tmp_path / "Knowledge.txt").write_text("龘村\t人口\t一千\n靐村\t人口\t两千\n", encoding="utf-8")
    vocabulary = example.character_vocabulary(["村的人口"])
    rare = example.Knowledge(example.Tokenizer(vocabulary, do_lower_case=True)).build([tmp_path / "Knowledge.txt"])
    assert len(rare.tree) == 1
    ids = [rare.tokenizer.unk_id, *rare.ids("村"), rare.end, *rare.ids("人口"), rare.end, rare.end]
    assert rare.entry(ids, "靐村的人口").object == "两千"
    assert rare.entry(ids, "龘村的人口").object == "一千"


def test_command_line(example, tmp_path, capsys):
    answers, folder = tmp_path / "answers.jsonl", tmp_path / "model"
    example.main(["--smoke", "--beam", "1", "2", "--answers", str(answers), "--save", str(folder)])
    printed = capsys.readouterr().out
    assert all(row in printed for row in ("no model (LCS)", "beam 1 ", "beam 1, look-ahead", "beam 2 ", "beam 2, look-ahead"))
    lines = set((MINI / "Knowledge.txt").read_text(encoding="utf-8").splitlines())
    rows = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 8
    for row in rows:
        meaning = f"（{row['meaning']}）" if row["meaning"] else ""
        assert f"{row['subject']}{meaning}\t{row['predicate']}\t{row['object']}" in lines
        assert 0 <= row["score"] <= 1 and row["gold"].keys() == {"subject", "predicate", "meaning", "object"}
    example.main(["--load", str(folder), "--beam", "2", "--question", rows[0]["question"]])
    answered = capsys.readouterr().out
    assert f"{rows[0]['subject']}" in answered and rows[0]["predicate"] in answered and rows[0]["object"] in answered
