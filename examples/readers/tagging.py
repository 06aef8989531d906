"""Readers of named entities and of segmented words: every sample is ``(characters, spans)``.

``characters`` is a list of strings, one for each tag of the file, ``spans`` a set of ``(type, first, last)`` with the last
character included. A list, because what a file counts as one character may be two code points.
"""

import json
import random
import re
from pathlib import Path

from keras_su.metrics import entities


def read_columns(path, scheme, digits=False):
    """Lines ``character TAG``, separated by a blank or a tab, with an empty line between sentences.

    Args:
        path: of the file.
        scheme: of the tags, ``"BIO"`` or ``"BMES"``.
        digits: behind the character stands its place in its word (``甜2``), which is taken off.
    """
    samples, characters, tags = [], [], []
    for line in [*Path(path).read_text(encoding="utf-8").split("\n"), ""]:
        if line.strip("\r"):
            character, tag = re.fullmatch(r"(.+?)[ \t](\S+)\s*", line).groups()
            characters.append(re.sub(r"(?<=.)\d+$", "", character) if digits else character)
            tags.append(tag)
        elif tags:
            samples.append((characters, entities(tags, scheme)))
            characters, tags = [], []
    return samples


def read_cluener(path):
    """JSON lines ``{"text", "label": {type: {mention: [[first, last], ...]}}}``."""
    samples = []
    for line in Path(path).read_text(encoding="utf-8").split("\n"):
        if line.strip():
            row = json.loads(line)
            mentions = [(kind, places) for kind, found in row["label"].items() for places in found.values()]
            samples.append((list(row["text"]), {(kind, *place) for kind, places in mentions for place in places}))
    return samples


NER = {  # name: file of a part, and how to read it
    "people_daily": ("example.{}", lambda path: read_columns(path, "BIO")),
    "weibo": ("weiboNER_2nd_conll.{}", lambda path: read_columns(path, "BIO", digits=True)),
    "resume": ("{}.char.bmes", lambda path: read_columns(path, "BMES")),
    "cluener": ("{}.json", read_cluener),
}


def read_ner(folder, task, part):
    """The samples of a part, ``"train"`` or ``"dev"``."""
    name, read = NER[task]
    return read(Path(folder) / name.format(part))


def words_as_sample(words):
    """A sample whose spans, of the type ``""``, are the words."""
    spans, first = set(), 0
    for word in words:
        spans.add(("", first, first + len(word) - 1))
        first += len(word)
    return list("".join(words)), spans


def read_words(path):
    """Lines of words with two blanks between them. Only blanks separate: the ideographic space U+3000 is a character."""
    lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    lines = [[word for word in line.strip("\r").split(" ") if word] for line in lines]
    return [words_as_sample(words) for words in lines if words]


def read_conll_words(path):
    """CoNLL-U: the word is the second column; comments and the numbers of contracted words (``3-4``) are left out."""
    samples, words = [], []
    for line in [*Path(path).read_text(encoding="utf-8").split("\n"), ""]:
        columns = line.rstrip("\r").split("\t")
        if len(columns) > 1 and columns[0].isdigit():
            words.append(columns[1])
        elif len(columns) == 1 and not columns[0].startswith("#") and words:
            samples.append(words_as_sample(words))
            words = []
    return samples


def read_segmentation(folder, task):
    """Training and evaluation samples. PKU and MSR: the last tenth of the lines of the training file is for evaluation."""
    if task == "gsd":
        return [read_conll_words(Path(folder) / f"{part}.conll") for part in ("train", "dev")]
    samples = read_words(Path(folder) / "training" / f"{task}_training.utf8")
    first = len(samples) - len(samples) // 10
    return [samples[:first], samples[first:]]


# ---- small files in the same layouts

_NAMES, _PLACES, _VERBS = ("王小明", "李华", "欧阳春"), ("北京", "杭州市", "沪"), ("去了", "喜欢", "离开")


def _sentences(count):
    """Sentences as lists of ``(word, type or "")``."""
    dice = random.Random(1)
    for _ in range(count):
        name, verb, place = (dice.choice(words) for words in (_NAMES, _VERBS, _PLACES))
        yield [(name, "NAME"), (verb, ""), (place, "LOC"), ("。", "")] + [("他", ""), ("很", ""), ("好", "")] * dice.randint(0, 6)


def _tagged(word, kind, scheme):
    """Pairs of a character and its tag."""
    middle, end, single = ("M", "E", "S") if scheme == "BMES" else ("I", "I", "B")
    letters = ["B", *[middle] * (len(word) - 2), end] if len(word) > 1 else [single]
    return [(character, f"{letter}-{kind}" if kind else "O") for character, letter in zip(word, letters)]


def write_synthetic_ner(folder):
    """The files of all four data sets."""
    for part, count in (("train", 24), ("dev", 6)):
        lines = {"people_daily": [], "weibo": [], "resume": [], "cluener": []}
        for words in _sentences(count):
            characters, spans = words_as_sample([word for word, _ in words])
            order = sorted(spans, key=lambda span: span[1])
            labels = {}
            for (_, first, last), (word, kind) in zip(order, words):
                if kind:
                    labels.setdefault(kind.lower(), {}).setdefault(word, []).append([first, last])
            lines["cluener"].append(json.dumps({"text": "".join(characters), "label": labels}, ensure_ascii=False))
            bio, bmes = ([pair for word in words for pair in _tagged(*word, scheme)] for scheme in ("BIO", "BMES"))
            lines["people_daily"] += [*(f"{character} {tag}" for character, tag in bio), ""]
            lines["resume"] += [*(f"{character} {tag}" for character, tag in bmes), ""]
            places = [place for word, _ in words for place in range(len(word))]
            weibo = (f"{c}{place}\t{tag}{'.NAM' if tag != 'O' else ''}" for (c, tag), place in zip(bio, places))
            lines["weibo"] += [*weibo, "\ufffd\ufffd0\tO", ""]
        for task, (name, _) in NER.items():
            (Path(folder) / name.format(part)).write_text("\n".join(lines[task]) + "\n", encoding="utf-8")


def write_synthetic_words(folder):
    """The training files of PKU and MSR, and GSD's."""
    folder = Path(folder)
    (folder / "training").mkdir()
    lines = [[word for word, _ in words] for words in _sentences(26)]
    for task in ("pku", "msr"):
        text = "".join("  ".join(words) + "  \n" for words in lines)
        (folder / "training" / f"{task}_training.utf8").write_text(text, encoding="utf-8")
    for part in ("train", "dev"):
        rows = ("".join(f"{i}\t{word}\t_\tX\n" for i, word in enumerate(words, 1)) for words in lines)
        (folder / f"{part}.conll").write_text("\n".join(rows), encoding="utf-8")
