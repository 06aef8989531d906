"""Abstracts and their titles (CSL), and which part of an abstract comes closest to its title."""

from collections import Counter
from pathlib import Path

from keras_su.metrics import CommonSubsequence
from keras_su.snippets import longest_common_subsequence

LONGEST = 40  # tokens of a title that is copied in one piece


def read_titles(path):
    """Lines ``title TAB abstract`` as pairs ``(title, abstract)``; incomplete lines are left out."""
    pairs = []
    for line in Path(path).read_text(encoding="utf-8").split("\n"):
        title, _, abstract = (part.strip() for part in line.partition("\t"))
        if title and abstract:
            pairs.append((title, abstract))
    return pairs


def closest_span(title, abstract, longest=LONGEST):
    """The span of an abstract with the best ROUGE-L to a title: ``(F1, start, stop)``, the first one of equals.

    Both are sequences of items, characters for instance. ``(0.0, 0, 0)`` if they have nothing in common.
    """
    common, items, best = CommonSubsequence(title), set(title), (0.0, 0, 0)
    for start, item in enumerate(abstract):
        if item not in items:
            continue  # would be better without its first item
        state = common.start
        for stop, item in enumerate(abstract[start : start + longest], start + 1):
            state = common.advance(state, item)
            score = 2 * common.length(state) / (len(title) + stop - start)
            if score > best[0]:
                best = score, start, stop
    return best


def copy_marks(title, abstract):
    """For every item of an abstract 1 if the title takes it, else 0.

    Only the closest span counts: most characters of a title also stand somewhere else in the abstract, by chance.
    """
    marks = [0] * len(abstract)
    _, start, stop = closest_span(title, abstract)
    for position, _ in longest_common_subsequence(abstract[start:stop], title)[1]:
        marks[start + position] = 1
    return marks


def repetitions(items, most=3):
    """For every item how often a pair of neighbours that it belongs to stands in the sequence, at most ``most`` times.

    A term that an abstract repeats is likely to be in its title. A small model cannot see that by itself.
    """
    pairs = list(zip(items, items[1:]))
    counts = Counter(pairs)
    counted = [0, *(min(counts[pair], most) for pair in pairs), 0]
    return [max(both) for both in zip(counted, counted[1:])][: len(items)]


def write_synthetic(folder):
    """Abstracts of a few patterns, in the layout of CSL."""
    things = ["水稻产量", "桥梁振动", "土壤水分", "图像分割", "企业绩效", "城市交通", "药物释放", "湖泊水质"]
    causes = ["温度", "施工方法", "政策变化", "网络结构"]
    rows = [
        f"{cause}对{thing}的影响\t为提高效益，研究了{cause}对{thing}的影响。结果表明，{cause}的作用显著，{thing}明显改善。"
        for thing in things
        for cause in causes
    ]
    for name, part in (("train.tsv", rows[:24]), ("val.tsv", rows[24:])):
        (Path(folder) / name).write_text("\n".join(part) + "\n", encoding="utf-8")
