"""Reviews with a sentiment: ``text TAB 0 or 1``, a line each."""

import random


def read_sentiment(path):
    """Pairs of a text and 0 (bad) or 1 (good)."""
    with open(path, encoding="utf-8") as lines:
        rows = [line.rstrip("\n").rsplit("\t", 1) for line in lines if line.strip()]
    return [(text, int(label)) for text, label in rows]


def write_sentiment(folder):
    """Two small files in the published layout."""
    things = ("房间", "书", "电脑", "早餐", "屏幕", "服务")
    words = (("太小了", "很差", "让人失望"), ("很大", "非常好", "值得推荐"))
    bad, good = ([f"这家的{thing}{word}，{who}说。" for thing in things for word in some for who in "我你他"] for some in words)
    dice = random.Random(0)
    dice.shuffle(bad)
    dice.shuffle(good)
    for part, rows in (("train", slice(0, 16)), ("valid", slice(16, 24))):  # no text twice
        lines = [f"{text}\t{label}\n" for pair in zip(bad[rows], good[rows]) for label, text in enumerate(pair)]
        (folder / f"sentiment.{part}.data").write_text("".join(lines), encoding="utf-8")
