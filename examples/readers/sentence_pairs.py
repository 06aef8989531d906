"""Pairs of sentences with labels: LCQMC and OCNLI in their public layouts."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class SentencePair(NamedTuple):
    first: str
    second: str
    label: int


@dataclass(frozen=True)
class Task:
    """Where the pairs are, what their labels are, and whether the two sentences may change places."""

    train: str
    valid: str
    labels: tuple
    symmetric: bool


TASKS = {
    "lcqmc": Task("LCQMC.train.data", "LCQMC.valid.data", ("0", "1"), symmetric=True),
    "ocnli": Task("train.3k.json", "dev.json", ("contradiction", "neutral", "entailment"), symmetric=False),
}


def read_pairs(path, task):
    """The pairs of a file: lines ``text1 TAB text2 TAB label``, or JSON lines where its name ends in ``.json``.

    Pairs that the annotators did not agree about have the label ``-`` and are left out.
    """
    path, labels, pairs = Path(path), TASKS[task].labels, []
    with path.open(encoding="utf-8-sig") as file:
        for line in filter(str.strip, file):
            if path.suffix == ".json":
                row = json.loads(line)
                first, second, label = row["sentence1"], row["sentence2"], row["label"]
            else:
                first, second, label = line.rstrip("\n").split("\t")
            if label != "-":
                pairs.append(SentencePair(first, second, labels.index(label)))
    return pairs


def write_synthetic(folder):
    """Some pairs of both tasks."""
    same = [
        ("怎么去火车站", "火车站怎么走"),
        ("苹果好吃吗", "苹果味道好吗"),
        ("几点开门", "什么时候开门"),
        ("花怎么养", "怎么养花"),
    ]
    other = [("怎么去火车站", "火车票多少钱"), ("苹果好吃吗", "手机好用吗"), ("几点开门", "门怎么修"), ("花怎么养", "花了多少钱")]
    lines = [f"{a}\t{b}\t{label}\n" for label, pairs in enumerate((other, same)) for a, b in pairs]
    inferences = [
        ("他在跑步", "他在运动", "entailment"),
        ("他在跑步", "他在睡觉", "contradiction"),
        ("他在跑步", "他很年轻", "neutral"),
    ]
    inferences += [("雨停了", "天晴了", "-"), ("她买了书", "她买了东西", "entailment"), ("她买了书", "书很贵", "neutral")]
    rows = [json.dumps({"sentence1": a, "sentence2": b, "label": label}, ensure_ascii=False) + "\n" for a, b, label in inferences]
    for task, content in (("lcqmc", lines), ("ocnli", rows)):
        for name in (TASKS[task].train, TASKS[task].valid):
            (folder / name).write_text("".join(content), encoding="utf-8")
