"""Couplets and poems: public files, forms as slots to fill, and how well their characters are predicted."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_su.losses import next_token_crossentropy

PUNCTUATION = frozenset("，。、；：？！,.;:?!")
COLLECTIONS = {"tang": "全唐诗/poet.tang.*.json", "song": "宋词/ci.song.*.json"}


def read_couplets(folder, part):
    """``part/in.txt`` and ``part/out.txt``, characters separated by spaces: pairs ``(first, second)`` of equal length."""
    files = [(Path(folder) / part / f"{side}.txt").read_text(encoding="utf-8").splitlines() for side in ("in", "out")]
    if len(files[0]) != len(files[1]):
        raise ValueError(f"{folder}/{part}: in.txt has {len(files[0])} lines, out.txt {len(files[1])}.")
    pairs = [tuple("".join(line.split()) for line in pair) for pair in zip(*files)]
    return [(first, second) for first, second in pairs if first and len(first) == len(second)]


@dataclass(frozen=True)
class Poem:
    """A title, for ci the name of the tune, and lines that end with their punctuation."""

    title: str
    lines: tuple


def read_poems(folder, kind):
    """Poems of chinese-poetry, ``kind`` is a key of ``COLLECTIONS``. Poems with lost characters or notes are left out."""
    poems = []
    for path in sorted(Path(folder).glob(COLLECTIONS[kind])):
        for entry in json.loads(path.read_text(encoding="utf-8")):
            text = "".join("".join(entry["paragraphs"]).split())
            if text and all(character in PUNCTUATION or character.isalpha() for character in text):
                poems.append(Poem(entry.get("title") or entry["rhythmic"], tuple(split_lines(text))))
    return poems


def split_lines(text):
    """A text cut behind every punctuation mark."""
    lines, line = [], ""
    for character in text:
        line += character
        if character in PUNCTUATION:
            lines.append(line)
            line = ""
    return [*lines, line] if line else lines


def couplet_slots(first):
    """The form of a second line: a list of slots, each one a character, or the number of a free choice.

    Punctuation stays. Slots with one number hold the same character, those with different numbers different ones: a second line
    repeats a character exactly where the first line does.
    """
    numbers = {}
    return [character if character in PUNCTUATION else numbers.setdefault(character, len(numbers)) for character in first]


def acrostic_slots(lines, heads=""):
    """The form of a poem with given first characters, as slots: what is free is ``None``.

    Args:
        lines: lengths and punctuation are taken from these lines.
        heads: first character of each line in turn; lines beyond are free. It may hold fewer characters than there are lines.
    """
    slots = []
    for number, line in enumerate(lines):
        slots += [character if character in PUNCTUATION else None for character in line]
        if number < len(heads):
            slots[-len(line)] = heads[number]
    return slots


def regular_lines(count, width):
    """A pattern for `acrostic_slots`: ``count`` lines of ``width`` characters, comma and full stop in turn."""
    return ["一" * width + "，。"[number % 2] for number in range(count)]


class Form:
    """Which ids may follow, for texts with given slots: the function that ``AllowedTokens`` wants.

    Args:
        slots: for each prompt its list of slots, see `couplet_slots` and `acrostic_slots`.
        tokenizer: with single characters as tokens.
        forbidden: for each prompt characters that no free slot may take; default none.
    """

    def __init__(self, slots, tokenizer, forbidden=None):
        self.slots, self.end = slots, tokenizer.end_id
        self.id_of = tokenizer.token_to_id
        tokens = {index: tokenizer.id_to_token(index) for index in range(tokenizer.vocab_size)}
        self.free = {index for index, token in tokens.items() if len(token) == 1 and token.isalpha() and not token.isascii()}
        self.forbidden = [set(map(self.id_of, each)) for each in forbidden or [""] * len(slots)]

    def __call__(self, prompt, ids):
        slots = self.slots[prompt]
        if len(ids) >= len(slots):
            return [self.end]
        slot = slots[len(ids)]
        if isinstance(slot, str):
            return [self.id_of(slot)]
        if slot is None:
            return sorted(self.free - self.forbidden[prompt])
        chosen = {number: index for number, index in zip(slots, ids.tolist()) if isinstance(number, int)}
        if slot in chosen:
            return [chosen[slot]]
        return sorted(self.free - self.forbidden[prompt] - set(chosen.values()))


def prediction_figures(bits, count, size):
    """How well ``count`` characters were predicted: bits saved a character, against guessing among ``size``; and perplexity."""
    return {"bits saved": math.log2(size) - bits / count, "perplexity": 2 ** (bits / count)}


def write_synthetic_couplets(folder):
    """Couplets of two patterns, in the layout of couplet-clean-dataset."""
    nature, action = "风月山云花雨", "来去动开飞落"
    pairs = [(f"春{a}{x}，千里", f"秋{b}{y}，万家") for a, b, x, y in zip(nature * 4, nature[1:] * 4, action * 4, action[1:] * 4)]
    for part, chosen in (("train", pairs[:16]), ("valid", pairs[16:])):
        (Path(folder) / part).mkdir(parents=True, exist_ok=True)
        for side, lines in zip(("in", "out"), zip(*chosen)):
            text = "".join(" ".join(line) + "\n" for line in lines)
            (Path(folder) / part / f"{side}.txt").write_text(text, encoding="utf-8")


def write_synthetic_poems(folder):
    """Small poems of one pattern, in the layout of chinese-poetry."""
    for kind, title in (("tang", "title"), ("song", "rhythmic")):
        path = Path(folder) / COLLECTIONS[kind].replace("*", "0")
        path.parent.mkdir(parents=True, exist_ok=True)
        scenes = [f"{a}{b}" for a in "春秋" for b in "风月山云花雨江天"]
        poems = [
            {"author": "佚名", title: f"{scene}", "paragraphs": [f"{scene}照人来，人间几度开。", f"不知{scene}去，何日又归来。"]}
            for scene in scenes
        ]
        path.write_text(json.dumps(poems, ensure_ascii=False), encoding="utf-8")


def measured_bits(model, dataset):
    """What a language model needs for the tokens that have a weight: the sum of ``-log2 p``, and how many these are.

    Args:
        model: returns logits.
        dataset: batches ``(inputs, token ids, weights)``, as for training.
    """
    bits = count = 0.0
    for number in range(len(dataset)):
        inputs, token_ids, weights = dataset[number]
        losses = next_token_crossentropy(token_ids, model.predict_on_batch(inputs), weights)
        bits += float(keras.ops.sum(losses)) / math.log(2)
        count += float(np.sum(weights))
    return bits, count
