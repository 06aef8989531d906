"""FewCLUE: nine tasks with a few labels each, as texts with prompts (https://github.com/CLUEbenchmark/FewCLUE)."""

import json
from dataclasses import dataclass
from typing import NamedTuple

BLANK = "#idiom#"


class Sample(NamedTuple):
    """A text and what may be said about it.

    Attributes:
        text: the text; for a task with a blank, the two texts around it.
        prompts: one for each class, or for each candidate; a single one where samples are ranked.
        answer: number of the right prompt, or of the class, lowest first.
    """

    text: object
    prompts: tuple
    answer: int


@dataclass(frozen=True)
class Task:
    """How NSP-BERT asks: prompts, where they stand, and what competes.

    Attributes:
        order: "prefix" (the prompt is the first segment) or "suffix".
        classes: how many, or ``None``: as many as the data have.
        ranked: whether samples are ranked by their scores (sample contrast); otherwise prompts compete (candidate contrast).
        template: a prompt with ``{label}``, where classes have names.
        truncate_from: the side of long texts that may go.
    """

    order: str = "prefix"
    classes: int | None = None
    ranked: bool = False
    template: str | None = None
    truncate_from: str = "right"


TASKS = {
    "eprstmt": Task(classes=2, template="这次买的东西很{label}"),
    "csldcp": Task(template="这是一篇{label}类论文"),
    "tnews": Task(template="这是一则{label}新闻"),
    "iflytek": Task(template="这是一款{label}类软件"),
    "ocnli": Task(classes=3, ranked=True),
    "bustm": Task(classes=2, ranked=True),
    "csl": Task(order="suffix", classes=2, ranked=True),
    "chid": Task(),
    "cluewsc": Task(classes=2, ranked=True, truncate_from="left"),
}

LABELS = {"eprstmt": "label", "csldcp": "label", "tnews": "label_desc", "iflytek": "label_des"}
RANKS = {  # from what belongs together least
    "ocnli": ("contradiction", "neutral", "entailment"),
    "bustm": ("0", "1"),
    "csl": ("0", "1"),
    "cluewsc": ("false", "true"),
}


def read_rows(path):
    """The rows of a file. Some files have Windows line ends, one has a byte-order mark inside a text."""
    with open(path, encoding="utf-8-sig") as file:
        return [json.loads(line.replace("\ufeff", "")) for line in file if line.strip()]


def read_label_words(folder, task):
    """``{label in the rows: its word in prompts}``, in the order of the classes."""
    if task == "eprstmt":
        return {"Positive": "好", "Negative": "差"}
    if task == "tnews":
        return {row["label_desc"]: row["label_zh"] for row in read_rows(folder / task / "label_index2en2zh.json")}
    if task == "csldcp":
        words = (folder / task / "labels_all.txt").read_text(encoding="utf-8-sig").split()
        return dict(zip(words, words))
    numbered = {row["label"]: row["label_des"] for row in read_rows(folder / task / "train_0.json")}  # iflytek has no list
    return {numbered[number]: numbered[number] for number in sorted(numbered)}


def read_samples(folder, task, split, template=None):
    """The samples of ``folder/task/split.json``; rows whose annotators did not agree (``-``) are left out."""
    rows = [row for row in read_rows(folder / task / f"{split}.json") if row.get("label") != "-"]
    if task in LABELS:
        words = read_label_words(folder, task)
        template = template or TASKS[task].template
        prompts, labels = tuple(template.format(label=word) for word in words.values()), list(words)
        return [Sample(_text(row), prompts, labels.index(row[LABELS[task]])) for row in rows]
    if task == "chid":
        return [Sample(tuple(row["content"].split(BLANK, 1)), tuple(row["candidates"]), int(row["answer"])) for row in rows]
    return [Sample(*_asked(task, row), RANKS[task].index(str(row["label"]))) for row in rows]


def _text(row):
    return row["sentence"] if "sentence" in row else row["content"]


def _asked(task, row):
    """The text and the single prompt of the tasks whose samples are ranked."""
    if task == "csl":  # do these keywords belong to this abstract?
        return row["abst"], (",".join(row["keyword"]),)
    if task == "cluewsc":  # does this pronoun mean that noun?
        target = row["target"]
        return f"{row['text']}上文中{target['span2_text']}是指", (target["span1_text"],)
    return row["sentence1"], (row["sentence2"],)  # as prefix, the second sentence comes first


def write_synthetic(folder):
    """A few rows of each task in the public layout."""
    files = {
        "eprstmt": [
            {"id": 0, "sentence": "屏幕很亮，非常满意。", "label": "Positive"},
            {"id": 1, "sentence": "用了两天就坏了。", "label": "Negative"},
            {"id": 2, "sentence": "质量不错，下次还买。", "label": "Positive"},
        ],
        "csldcp": [
            {"content": "研究水稻的播种期与产量的关系.", "label": "作物学", "id": 0},
            {"content": "讨论牛群疫苗的效果.", "label": "畜牧学/兽医学", "id": 1},
            {"content": "证明一类方程解的存在性.", "label": "数学", "id": 2},
        ],
        "tnews": [
            {"label": 103, "label_desc": "news_sports", "sentence": "\ufeff主队昨晚赢得比赛", "keywords": "", "id": 0},
            {"label": 109, "label_desc": "news_tech", "sentence": "新款手机下周发布", "keywords": "手机", "id": 1},
            {"label": 103, "label_desc": "news_sports", "sentence": "球队换了教练", "keywords": "", "id": 2},
        ],
        "iflytek": [
            {"label": 10, "label_des": "K歌", "sentence": "在家唱歌，和朋友比分。", "id": 0},
            {"label": 2, "label_des": "免费WIFI", "sentence": "一键连上附近的网络。", "id": 1},
            {"label": 61, "label_des": "语言(非英语)", "sentence": "每天学十个法语单词。", "id": 2},
        ],
        "ocnli": [
            {"sentence1": "他每天早上跑步", "sentence2": "他从不运动", "label": "contradiction", "id": 0},
            {"sentence1": "桌上有一本书", "sentence2": "那本书很贵", "label": "neutral", "id": 1},
            {"sentence1": "小李买了两个苹果", "sentence2": "小李买了水果", "label": "entailment", "id": 2},
            {"sentence1": "雨下了一夜", "sentence2": "天很冷", "label": "-", "id": 3},
        ],
        "bustm": [
            {"id": 0, "sentence1": "放一首歌", "sentence2": "我想听歌", "label": "1"},
            {"id": 1, "sentence1": "明天下雨吗", "sentence2": "你叫什么", "label": "0"},
        ],
        "csl": [
            {"id": 0, "abst": "提出一种图像去噪方法,用小波变换.", "keyword": ["图像去噪", "小波变换"], "label": "1"},
            {"id": 1, "abst": "分析城市地铁的客流.", "keyword": ["地铁", "基因"], "label": "0"},
        ],
        "chid": [
            {"id": 0, "candidates": ["一帆风顺", "画蛇添足"], "content": "祝你#idiom#,早日归来。", "answer": 0},
            {"id": 1, "candidates": ["守株待兔", "雪中送炭"], "content": "#idiom#胜过锦上添花。", "answer": 1},
        ],
        "cluewsc": [
            {
                "target": {"span1_index": 0, "span1_text": "小猫", "span2_index": 8, "span2_text": "它"},
                "idx": 0,
                "label": "true",
                "text": "小猫跳上桌子，因为它饿了。",
            },
            {
                "target": {"span1_index": 4, "span1_text": "桌子", "span2_index": 8, "span2_text": "它"},
                "idx": 1,
                "label": "false",
                "text": "小猫跳上桌子，因为它饿了。",
            },
        ],
    }
    for task, rows in files.items():
        (folder / task).mkdir(parents=True)
        end = "\r\n" if task in ("ocnli", "bustm") else "\n"
        text = "".join(json.dumps(row, ensure_ascii=False) + end for row in rows)
        for split in ("train_0", "dev_0"):
            (folder / task / f"{split}.json").write_text(text, encoding="utf-8", newline="")
    words = [{"label": "103", "label_desc": "news_sports", "label_zh": "体育"}]
    words.append({"label": "109", "label_desc": "news_tech", "label_zh": "科技"})
    lines = "".join(json.dumps(word, ensure_ascii=False) + "\n" for word in words)
    (folder / "tnews" / "label_index2en2zh.json").write_text(lines, encoding="utf-8")
    (folder / "csldcp" / "labels_all.txt").write_text("作物学\n畜牧学/兽医学\n数学\n", encoding="utf-8")
