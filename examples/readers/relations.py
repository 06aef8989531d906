"""Sentences with triples: the files of DuIE 2.0 and of LIC2019, and where the names of a triple stand among the tokens."""

import json
import re
from collections import defaultdict
from itertools import product
from pathlib import Path
from typing import NamedTuple

from keras_su.metrics import span_scores

FILES = {  # layout: training, evaluation, schema
    "duie": ("duie_train.json", "duie_dev.json", "duie_schema.json"),
    "lic2019": ("train_data.json", "dev_data.json", "all_50_schemas"),
}


class Triple(NamedTuple):
    subject: str
    predicate: str
    object: str


class Sentence(NamedTuple):
    """A text, the set of its triples, and the types of the names in them."""

    text: str
    triples: frozenset
    types: dict


def read_relations(folder):
    """``(training sentences, evaluation sentences, predicates)`` of a folder in either layout."""
    folder = Path(folder)
    for names in FILES.values():
        train, dev, schema = (folder / name for name in names)
        if schema.is_file():
            predicates = list(dict.fromkeys(row["predicate"] for row in _rows(schema)))  # some stand there for several types
            return read_sentences(train), read_sentences(dev), predicates
    expected = " or ".join(", ".join(names) for names in FILES.values())
    raise FileNotFoundError(f"{str(folder)!r} holds neither layout: {expected}.")


def read_sentences(path):
    """Sentences of a file. Of an object with several parts (DuIE 2.0: a role and the film it is in), the value counts."""
    sentences = []
    for row in _rows(path):
        triples, types = set(), {}
        for item in row.get("spo_list", ()):
            value, kind = (_value(item[key]) for key in ("object", "object_type"))
            triples.add(Triple(item["subject"], item["predicate"], value))
            types[value] = kind
            types[item["subject"]] = item["subject_type"]
        sentences.append(Sentence(row["text"], frozenset(triples), types))
    return sentences


def _rows(path):
    with open(path, encoding="utf-8-sig") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def _value(item):
    return item["@value"] if isinstance(item, dict) else item


def places(text, name):
    """Where a name stands in a text, in either case: ``[(start, stop), ...]``."""
    return [match.span() for match in re.finditer(re.escape(name), text, re.IGNORECASE)] if name else []


def closest(text, first, second):
    """The places of two names that are nearest to each other, or ``None``.

    A long sentence may mention a name several times, and says how two of them are related where they stand side by side. Places
    that overlap are taken only where there are no others.
    """

    def rank(pair):
        gap = max(pair[0][0], pair[1][0]) - min(pair[0][1], pair[1][1])
        return gap < 0, abs(gap)

    return min(product(places(text, first), places(text, second)), key=rank, default=None)


def token_span(offsets, start, stop):
    """First and last token of ``text[start:stop]``, or ``None`` if they were cut off.

    Args:
        offsets: ``(start, stop)`` in the text for each token, as of ``tokenizer.offsets``; ``(0, 0)`` for special tokens.
        start: place of the first character.
        stop: place behind the last one.
    """
    inside = [i for i, (first, last) in enumerate(offsets) if first < stop and last > start]
    if not inside or offsets[inside[-1]][1] < stop:
        return None
    return inside[0], inside[-1]


def token_triples(sentence, offsets):
    """``[(span of the subject, predicate, span of the object), ...]``; spans are a first and a last token."""
    found = set()
    for subject, predicate, object_ in sentence.triples:
        pair = closest(sentence.text, subject, object_)
        spans = [token_span(offsets, *place) for place in pair or ()]
        if spans and None not in spans:
            found.add((spans[0], predicate, spans[1]))
    return sorted(found)


def text_of(text, offsets, span):
    """What stands in the text from the first to the last token of a span."""
    return text[offsets[span[0]][0] : offsets[span[1]][1]]


class Renaming:
    """Sentences in which names are exchanged for others of the same type.

    A small model learns names by heart if it sees them in every epoch. With other names each time it has to look at the words
    around them, which is what says how they are related.

    Args:
        sentences: where the names come from.
        random: NumPy generator.
        chance: how often a name is exchanged.
    """

    def __init__(self, sentences, random, chance=0.5):
        names = defaultdict(set)
        for sentence in sentences:
            for name, kind in sentence.types.items():
                names[kind].add(name)
        self.names = {kind: sorted(group) for kind, group in names.items()}
        self.random, self.chance = random, chance

    def __call__(self, sentence):
        text, new = sentence.text, {}
        names = list(sentence.types)
        for name in names:
            # A name inside another one, or one that is written in another case, is left alone: nothing may come apart.
            alone = name in text and not any(name != other and (name in other or other in name) for other in names)
            other = str(self.random.choice(self.names[sentence.types[name]]))
            if alone and self.random.random() < self.chance and other not in text:
                text = text.replace(name, other)
                new[name] = other
        triples = frozenset(Triple(new.get(s, s), p, new.get(o, o)) for s, p, o in sentence.triples)
        return Sentence(text, triples, {new.get(name, name): kind for name, kind in sentence.types.items()})


def known_pairs(train, sentences):
    """Without a model: the triples of training whose subject and object both stand in a sentence."""
    triples = sorted({triple for sentence in train for triple in sentence.triples})
    return [{t for t in triples if t.subject in sentence.text and t.object in sentence.text} for sentence in sentences]


def figures(sentences, found):
    """Precision, recall and F1 in percent; a triple counts if all of its texts are right."""
    scores = span_scores([sentence.triples for sentence in sentences], found)
    return {name: 100 * getattr(scores, name) for name in ("precision", "recall", "f1")}


def write_synthetic(folder):
    """A few sentences in the layout of DuIE 2.0."""
    schema = [("导演", "影视作品", "人物"), ("主演", "影视作品", "人物"), ("作者", "图书作品", "人物")]
    titles, people = ["春水", "远山", "夜航", "归途", "长街"], ["王小明", "李大山", "赵云飞", "钱多多", "孙晓月"]
    rows = []
    for i in range(24):
        title, one, other = titles[i % 5], people[i % 4], people[(i + 2) % 5]
        texts = [f"《{title}》由{one}导演，{other}主演", f"{one}的小说《{title}》很好看"]
        facts = [[(0, one), (1, other)], [(2, one)]]
        rows.append((texts[i % 2], [(title, *schema[kind], name) for kind, name in facts[i % 2]]))
    lines = [
        {
            "text": text,
            "spo_list": [
                {"predicate": p, "subject": s, "subject_type": st, "object": {"@value": o}, "object_type": {"@value": ot}}
                for s, p, st, ot, o in triples
            ],
        }
        for text, triples in rows
    ]
    kinds = [{"predicate": p, "subject_type": st, "object_type": {"@value": ot}} for p, st, ot in schema]
    for name, content in zip(FILES["duie"], (lines[:16], lines[16:], kinds)):
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in content)
        (Path(folder) / name).write_text(text, encoding="utf-8")
