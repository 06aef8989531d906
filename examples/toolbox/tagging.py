"""Characters in, spans out: what the examples of named entities and of word segmentation share."""

from collections import Counter
from dataclasses import replace
from functools import lru_cache

import keras
import numpy as np

from keras_su.data import sequence_padding
from keras_su.decoding.viterbi import ViterbiDecoder
from keras_su.metrics import entities
from keras_su.models.spec import Extra
from toolbox.batches import padded

PUNCTUATION = ("。！？!?", "；;", "，,：:、", " ）)”」》")


class CharacterEncoder:
    """A model that has one vector for each character of a text, and the inputs it wants.

    The ids are those of single characters, so that vectors and characters correspond whatever the tokenizer makes of words,
    numbers and blanks: what it has no single token for is ``[UNK]``.

    A small model that is trained from scratch learns much from few texts if it sees *pairs* of characters, too: two tables more
    are added to its embeddings, for the pair with the neighbour on the left and on the right. And as it will meet characters
    that it has never seen, rare ones are at times replaced by ``[UNK]`` in training, and pairs by "no known pair".

    Args:
        backbone: of the model.
        texts: training texts, lists of characters.
        pairs: whether to have these tables.
        seed: of the replacements.
    """

    def __init__(self, backbone, texts, pairs, seed=0):
        self.backbone, self.tokenizer, self.dice = backbone, backbone.tokenizer, np.random.default_rng(seed)
        self.character_id = lru_cache(None)(self.character_id)
        rows = [self.ids(text) for text in texts]
        self.counts = np.bincount([index for row in rows for index in row], minlength=self.tokenizer.vocab_size)
        self.pairs = None
        if pairs:
            found = Counter(pair for row in rows for pair in zip(row, row[1:]))
            often = [pair for pair, count in found.most_common(50_000) if count > 1]
            self.pairs = {pair: i for i, pair in enumerate(often, 2)}  # 0 is padding, 1 no known pair

    def character_id(self, character):
        ids = self.tokenizer.encode(character)[0][1:-1]
        return ids[0] if len(ids) == 1 else self.tokenizer.token_to_id("[UNK]")

    def ids(self, text):
        """``[CLS]``, the characters, ``[SEP]``."""
        return [self.tokenizer.start_id, *map(self.character_id, text), self.tokenizer.end_id]

    def inputs(self, texts, training=False):
        """Inputs of the model for a batch of texts."""
        rows = [np.array(self.ids(text)) for text in texts]
        if self.pairs is None:
            tokens = padded(rows)
            return [tokens, np.zeros_like(tokens)]
        if training:
            unknown = self.tokenizer.token_to_id("[UNK]")
            rows = [np.where(self.dice.random(len(row)) < 0.3 / (0.3 + self.counts[row]), unknown, row) for row in rows]
        known = [np.array([self.pairs.get(pair, 1) for pair in zip(row.tolist(), row.tolist()[1:])]) for row in rows]
        if training:
            known = [np.where(self.dice.random(len(row)) < 0.2, 1, row) for row in known]
        before, after = ([np.pad(row, sides, constant_values=1) for row in known] for sides in ((1, 0), (0, 1)))
        tokens = padded(rows)
        return [tokens, np.zeros_like(tokens), padded(before), padded(after)]

    def build(self):
        """A new model from `inputs` to vectors ``(batch, length, width)``."""
        options = {}
        if self.pairs is not None:
            tables = tuple(Extra(name=name, rows=len(self.pairs) + 2, input=True) for name in ("Pair-Before", "Pair-After"))
            options["edit"] = lambda spec: replace(spec, embeddings=replace(spec.embeddings, extras=tables))
        return self.backbone.build(**options).model


class Tags:
    """The tags of some types of spans in the scheme BMES (begin, middle, end, single), as numbers.

    Args:
        types: of spans; ``[""]`` for words.
        outside: whether there are characters in no span.
    """

    def __init__(self, types, outside=True):
        self.names = [*(["O"] if outside else []), *(f"{letter}-{kind}".strip("-") for kind in types for letter in "BMES")]
        self.index = {name: i for i, name in enumerate(self.names)}

    def __len__(self):
        return len(self.names)

    def of(self, length, spans):
        """A list of tags. Of spans that overlap, the longer one stays: a sequence of tags cannot say more.

        Without a tag for outside, a character in no span, such as those of a word that was cut through, has no label: -1.
        """
        tags = ["O"] * length
        for kind, first, last in sorted(spans, key=lambda span: (span[1] - span[2], span)):
            if all(tag == "O" for tag in tags[first : last + 1]):
                letters = ["B", *"M" * (last - first - 1), "E"] if last > first else ["S"]
                tags[first : last + 1] = [f"{letter}-{kind}".strip("-") for letter in letters]
        return [self.index.get(tag, -1) for tag in tags]

    def spans(self, tags):
        """The set of ``(type, first, last)`` that tags spell."""
        return entities([self.names[tag] for tag in tags], "BMES")

    def allowed(self):
        """Which tag may follow which: ``B-X`` and ``M-X`` want ``M-X`` or ``E-X``, all others anything but these."""
        opens = np.array([name[0] in "BM" for name in self.names])
        goes_on = np.array([name[0] in "ME" for name in self.names])
        kinds = np.array([name[2:] for name in self.names])
        return np.where(opens[:, None], goes_on & (kinds[:, None] == kinds), ~goes_on)

    def starts(self):
        return [i for i, name in enumerate(self.names) if name[0] not in "ME"]

    def ends(self):
        return [i for i, name in enumerate(self.names) if name[0] not in "BM"]

    def decoder(self, transitions):
        """A Viterbi decoder that finds paths of whole spans only: not one of them is lost for a tag that cannot be there."""
        transitions = np.where(self.allowed(), keras.ops.convert_to_numpy(transitions), -1e9)
        return ViterbiDecoder(transitions, self.starts(), self.ends())


def tag_labels(tags, samples, length):
    """Tags of samples ``(characters, spans)`` as ``(batch, length)``; -1, no label, for ``[CLS]``, ``[SEP]`` and padding."""
    rows = [[-1, *tags.of(len(characters), spans)] for characters, spans in samples]
    return sequence_padding(rows, length=length, value=-1)


def cut(text, longest):
    """``(first, behind the last)`` of pieces of at most ``longest`` characters, cut behind punctuation where possible."""
    pieces, first = [], 0
    while len(text) - first > longest:
        window = text[first : first + longest]
        places = ([i for i, character in enumerate(window) if character in marks] for marks in PUNCTUATION)
        end = first + next((found[-1] + 1 for found in places if found and found[-1] >= longest // 3), longest)
        pieces.append((first, end))
        first = end
    return [*pieces, (first, len(text))]


def cut_samples(samples, longest):
    """Training samples none of which is longer; spans across a cut are left out."""
    return [
        (text[start:end], {(kind, i - start, j - start) for kind, i, j in spans if start <= i and j < end})
        for text, spans in samples
        for start, end in cut(text, longest)
    ]


def predict_spans(find, texts, longest):
    """The spans of whole texts, from pieces of them.

    Args:
        find: function from a list of pieces to their sets of spans.
        texts: of any length.
        longest: characters in a piece.
    """
    pieces = [(number, start, end) for number, text in enumerate(texts) for start, end in cut(text, longest)]
    spans = [set() for _ in texts]
    for (number, start, _), found in zip(pieces, find([texts[number][start:end] for number, start, end in pieces])):
        spans[number] |= {(kind, start + i, start + j) for kind, i, j in found}
    return spans


class LongestMatch:
    """A dictionary of the spans of training texts: the longest known string at each place, with its most frequent type."""

    def __init__(self, samples):
        found = Counter(("".join(text[i : j + 1]), kind) for text, spans in samples for kind, i, j in spans)
        self.types = {}
        for (string, kind), _ in found.most_common():
            self.types.setdefault(string, kind)
        self.longest = max(map(len, self.types), default=0)

    def spans(self, text, every=False):
        """Spans of a text; with ``every``, what is unknown is a span of one character: forward maximum matching of words."""
        spans, place = set(), 0
        while place < len(text):
            ends = range(min(place + self.longest, len(text)), place, -1)
            end = next((end for end in ends if "".join(text[place:end]) in self.types), None)
            if end or every:
                end = end or place + 1
                spans.add((self.types.get("".join(text[place:end]), ""), place, end - 1))
            place = end or place + 1
        return spans
