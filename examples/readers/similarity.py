"""Similar texts: groups of them (SimBERT), and pairs with a label (ATEC, BQ, LCQMC, PAWSX, STS-B, NLI)."""

import json
import random
from dataclasses import dataclass

SETS = ("ATEC", "BQ", "LCQMC", "PAWSX", "STS-B")
NLI = ("contradiction", "entailment", "neutral")


@dataclass(frozen=True)
class Pair:
    """Two texts and how similar they are, or what class their relation has; ``source`` is the name of the set."""

    first: str
    second: str
    label: float
    source: str


def read_groups(path):
    """``{"text": ..., "synonyms": [...]}`` in each line: lists of texts, at least two different ones each."""
    groups = []
    with open(path, encoding="utf-8") as lines:
        for line in filter(str.strip, lines):
            row = json.loads(line)
            texts = list(dict.fromkeys(text.strip() for text in (row["text"], *row["synonyms"])))
            if len(texts) > 1 and all(texts):
                groups.append(texts)
    return groups


def hold_out(rows, part=0.06, seed=0):
    """Two lists: what to learn from, and at least two rows that are kept for an evaluation; the choice is fixed."""
    rows = random.Random(seed).sample(rows, len(rows))
    count = max(int(part * len(rows)), 2)
    return rows[count:], rows[:count]


def read_pairs(folder, name, part):
    """The pairs of a set, from ``NAME/NAME.train.data`` or ``NAME/NAME.valid.data``: ``text TAB text TAB label``."""
    pairs = []
    with open(folder / name / f"{name}.{part}.data", encoding="utf-8") as lines:
        for line in filter(str.strip, lines):
            first, second, label = line.rstrip("\n").split("\t")
            pairs.append(Pair(first, second, float(label), name))
    return pairs


def read_nli(path):
    """Pairs of CNSD or OCNLI, JSON lines; ``label`` is an index of `NLI`. Rows without a majority (``-``) are left out."""
    pairs = []
    with open(path, encoding="utf-8") as lines:
        for row in map(json.loads, filter(str.strip, lines)):
            label = row["gold_label"] if "gold_label" in row else row["label"]
            if label in NLI:
                pairs.append(Pair(row["sentence1"], row["sentence2"], NLI.index(label), "NLI"))
    return pairs


def write_synthetic(folder):
    """Small files in the layouts of all of these."""
    dice = random.Random(0)
    who, what, where = (
        ("小明", "老师", "奶奶", "医生", "司机"),
        ("看书", "唱歌", "做饭", "画画"),
        ("公园", "学校", "家里", "河边"),
    )
    scenes = [(a, b, c) for a in who for b in what for c in where]
    dice.shuffle(scenes)
    ask = lambda person, act, place: (f"{person}在{place}{act}吗", f"{person}是不是在{place}{act}？")  # noqa: E731
    with open(folder / "data_similarity.json", "w", encoding="utf-8") as file:
        for scene in scenes[:48]:
            text, other = ask(*scene)
            file.write(json.dumps({"text": text, "synonyms": [other]}, ensure_ascii=False) + "\n")
    for name in SETS:
        (folder / name).mkdir()
        for part, count in (("train", 16), ("valid", 12)):
            with open(folder / name / f"{name}.{part}.data", "w", encoding="utf-8") as file:
                for number in range(count):
                    scene, other = dice.sample(scenes, 2)
                    second = ask(*(other if number % 2 else scene))[1]
                    label = 0 if number % 2 else 1
                    file.write(f"{ask(*scene)[0]}\t{second}\t{label * dice.choice((3, 4, 5)) if name == 'STS-B' else label}\n")
    with open(folder / "nli.jsonl", "w", encoding="utf-8") as file:
        for number, (person, act, place) in enumerate(scenes[:24]):
            second = (f"{person}不在{place}", f"{person}在{place}", f"{person}很高兴")[number % 3]
            row = {"gold_label": NLI[number % 3], "sentence1": f"{person}在{place}{act}", "sentence2": second}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
