"""Texts with one label each: sentiment, TNEWS, IFLYTEK."""

import json
import random
from typing import NamedTuple

from readers.fewclue import read_rows
from readers.sentiment import read_sentiment, write_sentiment

TASKS = ("sentiment", "tnews", "iflytek")


class Corpus(NamedTuple):
    """Pairs of a text and the number of its class, for training and for evaluation.

    Attributes:
        train, valid: the pairs.
        classes: the labels of the files, in the order of the numbers.
    """

    train: list
    valid: list
    classes: list


def read_corpus(folder, task):
    """The corpus of ``task``. Texts that stand in the evaluation, too, or twice, are left out of the training set.

    =========  ==========================================================================================================
    sentiment  ``sentiment.train.data``, ``sentiment.valid.data``
    tnews      ``train.json``, ``dev.json`` of CLUE
    iflytek    the same of CLUE; or of FewCLUE ``train_0.json``, ``train_few_all.json`` (both, where they are), ``dev_0.json``
    =========  ==========================================================================================================
    """
    if task == "sentiment":
        train, valid = (read_sentiment(folder / f"sentiment.{part}.data") for part in ("train", "valid"))
    else:
        names = ("train.json", "train_0.json", "train_few_all.json")
        train = [pair for name in names if (folder / name).is_file() for pair in read_sentences(folder / name)]
        valid = read_sentences(folder / ("dev.json" if (folder / "dev.json").is_file() else "dev_0.json"))
    asked = {text for text, _ in valid}
    train = [(text, label) for text, label in dict(train).items() if text not in asked]
    classes = sorted({label for _, label in train + valid})
    return Corpus(*([(text, classes.index(label)) for text, label in part] for part in (train, valid)), classes)


def read_sentences(path):
    """Pairs of a text and its label, a number (CLUE writes it as a string, FewCLUE does not)."""
    return [(row["sentence"], int(row["label"])) for row in read_rows(path)]


def write_synthetic(folder):
    """Small files of all three tasks in the published layouts."""
    write_sentiment(folder)
    dice = random.Random(0)
    topics = (("球队", "比赛", "进球"), ("手机", "芯片", "屏幕"), ("电影", "演员", "票房"))
    for name, numbers in (("train", range(24)), ("dev", range(24, 36))):
        rows = []
        for number in numbers:
            first, second = dice.sample(topics[number % 3], 2)
            sentence = f"{first}和{second}，今天的第{number}条消息"
            rows.append({"label": str(100 + number % 3), "label_desc": "news", "sentence": sentence, "keywords": first})
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.json").write_text(lines, encoding="utf-8")
