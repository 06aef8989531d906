"""Reviews with a sentiment: ``text TAB 0 or 1``, a line each."""

import random


def read_sentiment(path):
    """Pairs of a text and 0 (bad) or 1 (good)."""
    with open(path, encoding="utf-8") as lines:
        rows = [line.rstrip("\n").rsplit("\t", 1) for line in lines if line.strip()]
    return [(text, int(label)) for text, label in rows]


def write_sentiment(folder):
    """Two small files in the published layout."""
    dice = random.Random(0)
    things, words = (
        ("房间", "书", "电脑", "早餐", "屏幕", "服务"),
        (("太小了", "很差", "让人失望"), ("很大", "非常好", "值得推荐")),
    )
    for part, count in (("train", 32), ("valid", 16)):
        rows = (
            f"这家的{dice.choice(things)}{dice.choice(words[i % 2])}，{dice.choice('我你他')}说。\t{i % 2}" for i in range(count)
        )
        (folder / f"sentiment.{part}.data").write_text("\n".join(rows) + "\n", encoding="utf-8")
