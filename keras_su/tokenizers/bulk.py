"""Ids of many texts at once: one look-up in an array per character, one in a dictionary per word of everything else."""

from itertools import chain
from typing import NamedTuple

import numpy as np

from keras_su.tokenizers.pieces import without_capital_sigma
from keras_su.tokenizers.text import spaced_forms

CHUNK = 1 << 16  # characters that are worked on together: few enough for the arrays to stay in the processor's cache
PLANE = 1 << 16  # code points with an entry of their own; what lies above is looked up as words

# What the table says of a character that is no word of its own. Ids, even an unknown id of -1, lie above.
UNSEEN, IN_WORD, SPACE = range(-(2**31), -(2**31) + 3)
LOWEST_ID = SPACE + 1

PLAIN_IDEOGRAPHS = range(0x4E00, 0xA000), range(0x3400, 0x4DC0)  # whose normal form is the character itself


class Ragged(NamedTuple):
    """Rows of different lengths: the ids of all rows one after another, and the length of each row."""

    ids: np.ndarray
    lengths: np.ndarray


def stretches(starts, lengths):
    """All integers of the stretches ``start, start + 1, ...`` of the given lengths, as one array.

    >>> stretches(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist()
    [5, 6, 9, 10, 11]
    """
    stops = lengths.cumsum()
    found = (starts - stops + lengths).repeat(lengths)
    found += np.arange(len(found))
    return found


class BulkIds:
    """Ids of lists of texts, the same as those of `TextIds`.

    The table is filled as characters turn up; a new one costs 256 KB and no time to speak of. Texts may be encoded in several
    threads: what two of them write into the table or a dictionary at once is the same.

    Args:
        run_ids: the `RunIds` of the runs.

    >>> from keras_su.tokenizers.pieces import RunIds, WordIds, WordPieces
    >>> vocabulary = {"[UNK]": 0, "天": 1, "play": 2, "##ing": 3}
    >>> BulkIds(RunIds(WordIds(WordPieces(vocabulary, 200), 0), lower=True))(["Playing天", "天?"])
    Ragged(ids=array([2, 3, 1, 1, 0], dtype=int32), lengths=array([3, 2]))
    """

    def __init__(self, run_ids):
        self.of_runs, self.lower = run_ids, run_ids.lower
        self.table = np.full(PLANE, UNSEEN, "int32")
        self.table[-1] = IN_WORD  # U+FFFF is no character: its entry stands for the planes above

    def __call__(self, texts):
        lengths = _lengths(texts)
        stops = lengths.cumsum()
        chunks, start, done = [], 0, 0
        while start < len(texts):
            stop = max(start + 1, int(stops.searchsorted(done + CHUNK, "right")))
            chunks.append(self._chunk(texts[start:stop], lengths[start:stop]))
            start, done = stop, int(stops[stop - 1])
        if len(chunks) == 1:
            return chunks[0]
        ids, lengths = zip((np.empty(0, "int32"), np.empty(0, np.intp)), *chunks)
        return Ragged(np.concatenate(ids), np.concatenate(lengths))

    def _chunk(self, texts, lengths):
        text = f" {' '.join(texts)} "
        if self.lower and "Σ" in text:
            texts = [without_capital_sigma(text, self.lower) for text in texts]
            text, lengths = f" {' '.join(texts)} ", _lengths(texts)
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        found = self._look_up(codes)
        in_word = found == IN_WORD
        edges = (in_word[1:] != in_word[:-1]).nonzero()[0] + 1
        starts, stops = edges[::2], edges[1::2]
        ends = (lengths + 1).cumsum()  # of the texts: the blanks between them
        if len(starts):
            runs = list(map(self.of_runs.__getitem__, _cut_out(codes, in_word, starts, stops)))
            counts = _lengths(runs)
            missing = counts - (stops - starts)
            if missing.max() > 0:  # more ids than characters, as for Hangul: make room
                room = np.ones(len(found), np.intp)
                room[starts] += missing.clip(0)
                place = room.cumsum() - room
                found, starts, ends = found.repeat(room), place[starts], place[ends]
            places = stretches(starts, counts)
            found[places] = np.fromiter(chain.from_iterable(runs), "int32", len(places))
        kept = (found >= LOWEST_ID).nonzero()[0]
        lengths = kept.searchsorted(ends)
        lengths[1:] -= lengths[:-1].copy()
        return Ragged(found.take(kept), lengths)

    def _look_up(self, codes):
        found = self.table.take(codes, mode="clip")
        if found.min() == UNSEEN:
            for code in np.unique(codes[found == UNSEEN]).tolist():
                self.table[code] = self._entry(code)
            found = self.table.take(codes, mode="clip")
        return found

    def _entry(self, code):
        word_ids = self.of_runs.word_ids
        if code in PLAIN_IDEOGRAPHS[0] or code in PLAIN_IDEOGRAPHS[1]:
            return word_ids.pieces.token_dict.get(chr(code), word_ids.unk_id)
        form = spaced_forms(self.lower)[code]
        if form == " ":
            return SPACE
        if len(form) == 3 and form[0] == form[2] == " ":
            return word_ids.compute(form[1])[0]
        return IN_WORD


def _lengths(items):
    return np.fromiter(map(len, items), np.intp, len(items))


def _cut_out(codes, in_word, starts, stops):
    """The runs as strings, made from one array at once."""
    with_blanks = in_word.copy()
    with_blanks[stops] = True
    codes = codes[with_blanks]
    codes[(stops - starts + 1).cumsum() - 1] = 32
    return codes[:-1].tobytes().decode("utf-32-le", "surrogatepass").split(" ")
