"""Questions with passages that answer them: the files of WebQA, SogouQA and CMRC 2018, and questions made from passages."""

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_su.metrics import exact_match, lcs_f1


class Passage(NamedTuple):
    """A text, and the answer as it stands there; empty where the text does not tell."""

    text: str
    answer: str


class Question(NamedTuple):
    """A question, its passages, and all answers that count as right."""

    text: str
    passages: tuple
    answers: tuple


def read_reading(task, folder):
    """``(training questions, evaluation questions)``; no passage is in both."""
    folder = Path(folder)
    if task == "cmrc":
        train, dev = (read_cmrc(folder / f"cmrc2018_{part}.json") for part in ("trial", "dev"))
        known = {passage.text for question in dev for passage in question.passages}
        return [question for question in train if not any(passage.text in known for passage in question.passages)], dev
    return split([question for name in ("WebQA", "SogouQA") for question in read_webqa(folder / f"{name}.json")])


def read_webqa(path):
    """Rows with a list of passages, each with its own answer; a file without empty passages is read the same way."""
    questions = []
    for row in json.loads(Path(path).read_text(encoding="utf-8-sig")):
        passages = tuple(Passage(item["passage"], item["answer"]) for item in row["passages"] if item["passage"].strip())
        answers = tuple(dict.fromkeys(passage.answer for passage in passages if passage.answer))
        if answers:
            questions.append(Question(row["question"], passages, answers))
    return questions


def read_cmrc(path):
    """The layout of SQuAD. Places of answers are not read: some are wrong, and some answers differ from the text by a space."""
    questions = []
    for article in json.loads(Path(path).read_text(encoding="utf-8-sig"))["data"]:
        for paragraph in article["paragraphs"]:
            for row in paragraph["qas"]:
                answers = tuple(dict.fromkeys(answer["text"] for answer in row["answers"]))
                quoted = next((answer for answer in answers if answer in paragraph["context"]), "")
                questions.append(Question(row["question"], (Passage(paragraph["context"], quoted),), answers))
    return questions


def split(questions, every=5):
    """The questions about each fifth passage are for evaluation. Passages are counted, as several questions may share one."""
    number, train, dev = {}, [], []
    for question in questions:
        group = number.setdefault(question.passages[0].text, len(number))
        (train if group % every else dev).append(question)
    shown = {passage.text for question in dev for passage in question.passages}
    return [question for question in train if not any(passage.text in shown for passage in question.passages)], dev


def sentences(text):
    """The sentences of a text, with the marks that end them."""
    return [part for part in re.findall(r"[^。！？!?；;\n]+[。！？!?；;\n]*", text) if part.strip()]


def best_sentence(question):
    """Without a model: the sentence with most pairs of characters in common with the question, the shortest of several."""
    pairs = lambda text: {text[i : i + 2] for i in range(len(text) - 1)}  # noqa: E731
    asked = pairs(question.text)
    found = [sentence for passage in question.passages for sentence in sentences(passage.text)]
    return max(found, key=lambda sentence: (len(asked & pairs(sentence)), -len(sentence)))


def cloze(text, random, longest=12, context=16):
    """A question that a text answers, without anybody having asked: ``(question, answer)``, or ``None`` for a very short text.

    A piece of a sentence is taken out and asked for. Some characters around it are left out as well, as people do not ask in the
    very words of a text. A small model learns from such questions what it would otherwise bring along from pre-training: find
    the place that the question is about, and copy what is missing.
    """
    choices = [sentence.strip() for sentence in sentences(text) if len(sentence.strip()) > 8]
    if not choices:
        return None
    sentence = choices[random.integers(len(choices))]
    size = int(random.integers(1, min(longest, len(sentence) // 2) + 1))
    start = int(random.integers(0, len(sentence) - size))
    before, after = sentence[max(0, start - context) : start], sentence[start + size : start + size + context]
    kept = ["".join(c for c in part if random.random() > 0.15) for part in (before, after)]
    wanted = "什么谁哪几"[random.integers(4) :][:2] if random.random() < 0.5 else "什么"
    return f"{kept[0]}{wanted}{kept[1].rstrip('。！？!?；;')}？", sentence[start : start + size]


def window(question, passage, room, answer=None):
    """Where to read a passage that is too long: ``(start, stop)``, the ``room`` tokens with most of the question in them.

    Args:
        question: token ids.
        passage: token ids.
        room: how many of them can be read.
        answer: ``(start, stop)`` of the answer in the passage, which must be inside: for training.
    """
    if len(passage) <= room:
        return 0, len(passage)
    pairs = list(zip(passage, passage[1:]))
    asked = set(zip(question, question[1:]))
    weights = [1 / pairs.count(pair) if pair in asked else 0 for pair in pairs]  # what a passage repeats says little
    totals = [0]
    for weight in weights:
        totals.append(totals[-1] + weight)
    starts = range(len(passage) - room + 1)
    if answer:
        starts = [start for start in starts if start <= answer[0] and answer[1] <= start + room] or [min(answer[0], starts[-1])]
    best = max(starts, key=lambda start: totals[start + room - 1] - totals[start])
    return best, best + room


def place(ids, part):
    """``(start, stop)`` of the first occurrence of ``part`` in ``ids``, or ``None``."""
    starts = range(len(ids) - len(part) + 1)
    return next(((i, i + len(part)) for i in starts if list(ids[i : i + len(part)]) == list(part)), None) if part else None


def best_piece(log_probabilities, passage, end):
    """The piece of a passage that the masks like best, and its score: the mean log-probability of its tokens and of the end.

    Args:
        log_probabilities: ``(masks, vocabulary)``.
        passage: token ids.
        end: id that follows the answer.

    Returns:
        ``((start, stop), score)``.
    """
    passage, masks = np.asarray(passage), len(log_probabilities)
    totals, best = np.zeros(len(passage)), ((0, 0), -np.inf)
    for size in range(1, min(masks - 1, len(passage)) + 1):  # totals[i]: of the piece with `size` tokens that starts at i
        totals = totals[: len(passage) - size + 1] + log_probabilities[size - 1, passage[size - 1 :]]
        scores = (totals + log_probabilities[size, end]) / (size + 1)
        start = int(scores.argmax())
        if scores[start] > best[1]:
            best = (start, start + size), float(scores[start])
    return best


def vote(candidates):
    """One answer out of ``[(answer, probability), ...]``: equal ones are worth ``sum(p²) / (1 + sum(p))`` together."""
    votes = defaultdict(list)
    for answer, probability in candidates:
        votes[answer].append(probability)
    return max(votes, key=lambda answer: sum(p * p for p in votes[answer]) / (1 + sum(votes[answer])))


def figures(questions, found):
    """Exact match and F1 in percent, each with the most similar of the right answers."""
    metrics = {"em": exact_match, "f1": lcs_f1}
    pairs = list(zip(found, questions))
    return {k: 100 * np.mean([max(metric(a, true) for true in q.answers) for a, q in pairs]) for k, metric in metrics.items()}


def write_synthetic(folder):
    """A few questions in both layouts."""
    people, towns = ["王小明", "李大山", "赵云飞", "钱多多", "孙晓月"], ["江城", "海口镇", "山阳", "河东", "林州"]
    rows, articles = [], []
    for i in range(10):
        person, town = people[i % 5], towns[(i + i // 5) % 5]
        text = f"{person}是一位画家。{person}生于{town}，年轻时喜欢游泳。第{i}次展览在冬天。"
        question = f"{person}生于哪里？"
        rows.append({"id": str(i), "question": question, "passages": [{"passage": text, "answer": town}]})
        answer = {"text": town, "answer_start": text.index(town)}
        qas = [{"id": f"{i}_0", "question": question, "answers": [answer]}]
        articles.append({"paragraphs": [{"id": str(i), "context": text, "qas": qas}], "id": str(i), "title": person})
    files = {"WebQA.json": rows[:5], "SogouQA.json": rows[5:]}
    files |= {f"cmrc2018_{part}.json": {"data": half} for part, half in (("trial", articles[:6]), ("dev", articles[6:]))}
    for name, content in files.items():
        (Path(folder) / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
