"""Plain text to learn from: one sentence a line, a blank line between documents; and pairs of neighbouring pieces of it."""

import lzma
import random
from itertools import groupby

import numpy as np
from tqdm import tqdm

from keras_su.tokenizers import segmenter

IS_NEXT, IS_RANDOM = 0, 1  # the order of BERT's two classes


def text_files(folder):
    """All files of texts in a folder, by name: ``.txt`` or ``.txt.xz``."""
    files = sorted(path for path in folder.iterdir() if path.name.endswith((".txt", ".txt.xz")))
    if not files:
        raise FileNotFoundError(f"There is no file .txt or .txt.xz in {folder}.")
    return files


def read_documents(path):
    """The documents of a file, each a list of sentences."""
    with (lzma.open if path.suffix == ".xz" else open)(path, "rt", encoding="utf-8") as lines:
        stripped = (line.strip() for line in lines)
        return [list(sentences) for has_text, sentences in groupby(stripped, key=bool) if has_text]


def hold_out(documents, part=0.02):
    """Two lists: documents to learn from, and at least one that is kept for the evaluation; always the same ones."""
    documents = random.Random(0).sample(documents, len(documents))
    count = max(int(part * len(documents)), 1)
    return documents[count:], documents[:count]


def encode_documents(documents, tokenizer, whole_word=False):
    """Each sentence as an array ``(2, length)``: ids, and the number of the word that a token belongs to."""
    cut = segmenter() if whole_word else None

    def encode(text):
        if cut is None:
            ids = tokenizer.encode(text)[0][1:-1]
            return np.array([ids, range(len(ids))], np.int32)
        words = [tokenizer.encode(word)[0][1:-1] for word in cut(text)]
        numbers = [number for number, word in enumerate(words) for _ in word]
        return np.array([sum(words, []), numbers], np.int32)

    encoded = ([encode(text) for text in document] for document in tqdm(documents, desc="encode", disable=None))
    kept = ([sentence for sentence in document if sentence.size] for document in encoded)
    return [document for document in kept if document]


def joined(parts):
    """Sentences, or pieces of them, one behind the other; words are numbered anew, so that they stay distinct."""
    ids, words, next_word = [], [], 0
    for part in parts:
        ids.append(part[0])
        words.append(part[1] - part[1, 0] + next_word)
        next_word = words[-1][-1] + 1
    return np.array([np.concatenate(ids), np.concatenate(words)])


class Rows:
    """Rows of at most ``length`` tokens, drawn anew whenever the documents are gone through.

    Most are ``[CLS] A [SEP] B [SEP]``: B is what follows A in the document or, half of the time, something from another one.
    What has no next sentence, such as a title, is packed with its like, ``[CLS] A [SEP] A' [SEP] A'' [SEP]``, all in segment 0.

    Args:
        documents: what `encode_documents` returned.
        tokenizer: knows ``[CLS]`` and ``[SEP]``.
        length: most tokens in a row.
        seed: of everything that is drawn.
    """

    def __init__(self, documents, tokenizer, length, seed):
        self.documents, self.length, self.dice = documents, length, np.random.default_rng(seed)
        self.start, self.end = (np.array([[i], [0]], np.int32) for i in (tokenizer.start_id, tokenizer.end_id))

    def __iter__(self):
        """``(ids and words, tokens in segment 0, label)`` for each row of one pass; the label of packed rows is ``None``."""
        waiting = []
        for number in self.dice.permutation(len(self.documents)):
            for a, b, label in self._pieces(number):
                if label is not None:
                    yield self._pair(a, b, label)
                    continue
                if waiting and 1 + sum(part.shape[1] + 1 for part in (*waiting, a)) > self.length:
                    yield self._packed(waiting)
                    waiting = []
                waiting.append(a)
        if waiting:
            yield self._packed(waiting)

    def _pieces(self, number):
        """``(A, B, label)``, or ``(A, None, None)`` for what has no next sentence."""
        document, first = self.documents[number], 0
        while first < len(document):
            last, size = first, 0
            while last < len(document) and size < self.length - 3:
                size += document[last].shape[1]
                last += 1
            if last - first == 1:
                yield document[first], None, None
            else:
                middle = int(self.dice.integers(first + 1, last))
                if len(self.documents) == 1 or self.dice.random() < 0.5:
                    yield joined(document[first:middle]), joined(document[middle:last]), IS_NEXT
                else:
                    yield joined(document[first:middle]), self._elsewhere(number), IS_RANDOM
                    last = middle  # what would have been B is still to be read
            first = last

    def _elsewhere(self, number):
        """Some sentences of another document."""
        other = self.documents[(number + self.dice.integers(1, len(self.documents))) % len(self.documents)]
        first = self.dice.integers(len(other))
        return joined(other[first : first + 4])

    def _pair(self, a, b, label):
        room = self.length - 3
        a = a[:, -max(room - b.shape[1], room // 2) :]  # its end, which is next to B
        b = b[:, : room - a.shape[1]]
        return joined([self.start, a, self.end, b, self.end]), a.shape[1] + 2, label

    def _packed(self, parts):
        row = joined([self.start, *(each for part in parts for each in (part[:, : self.length - 2], self.end))])
        return row, row.shape[1], None


def write_synthetic(folder):
    """Two small files in the layout of a corpus: stories of several sentences, and titles of one."""
    dice = random.Random(0)
    who, where, what = ("小明", "小红", "老师", "奶奶"), ("公园", "学校", "山上", "河边"), ("看书", "唱歌", "画画", "跑步")

    def story():
        person, place = dice.choice(who), dice.choice(where)
        return "\n".join(f"{person}{dice.choice(('今天', '早上', '晚上'))}在{place}{dice.choice(what)}。" for _ in range(6))

    stories = "\n\n".join(story() for _ in range(30))
    (folder / "stories.txt").write_text(stories + "\n", encoding="utf-8")
    titles = "\n\n".join(f"{dice.choice(where)}里的{dice.choice(who)}喜欢{dice.choice(what)}" for _ in range(30))
    with lzma.open(folder / "titles.txt.xz", "wt", encoding="utf-8") as file:
        file.write(titles + "\n")
