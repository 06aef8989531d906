"""Greedy longest-match cutting of words into pieces, remembered word by word."""

from itertools import chain

from keras_su.tokenizers.text import APART, lowercase_and_normalize, words

CACHED_WORDS = 1 << 16
CACHED_LENGTH = 64


class Remembered(dict):
    """Text -> what `compute` makes of it, computed at the first request.

    Memory stays bounded: texts of more than `CACHED_LENGTH` characters are not kept, and a dictionary that holds `CACHED_WORDS`
    starts over. Threads may share it; at worst both compute the same value.
    """

    def __missing__(self, text):
        value = self.compute(text)
        if len(text) <= CACHED_LENGTH:
            if len(self) >= CACHED_WORDS:
                self.clear()
            self[text] = value
        return value

    def compute(self, text):
        """The value for a text."""
        raise NotImplementedError


class WordPieces(Remembered):
    """Word -> its pieces: the longest ones of the vocabulary from left to right.

    Args:
        token_dict: the vocabulary, ``{token: id}``; pieces that continue a word begin with ``##``.
        word_maxlen: longer words (in characters) are not cut.

    >>> pieces = WordPieces({"play": 0, "##ing": 1}, word_maxlen=200)
    >>> pieces["playing"], pieces["plaything"]
    (('play', '##ing'), ('plaything',))
    """

    def __init__(self, token_dict, word_maxlen):
        super().__init__()
        self.token_dict, self.word_maxlen = token_dict, word_maxlen

    def compute(self, word):
        """The pieces; the word itself when cutting it leads nowhere or it is too long."""
        if len(word) > self.word_maxlen:
            return (word,)
        pieces, start = [], 0
        while start < len(word):
            for stop in range(len(word), start, -1):
                piece = word[start:stop] if start == 0 else "##" + word[start:stop]
                if piece in self.token_dict:
                    break
            else:
                return (word,)
            pieces.append(piece)
            start = stop
        return tuple(pieces)


class WordIds(Remembered):
    """Word -> the ids of its pieces.

    Args:
        pieces: the `WordPieces` that cut words.
        unk_id: id of pieces that the vocabulary lacks.
    """

    def __init__(self, pieces, unk_id):
        super().__init__()
        self.pieces, self.unk_id = pieces, unk_id

    def compute(self, word):
        return tuple(self.pieces.token_dict.get(piece, self.unk_id) for piece in self.pieces.compute(word))


class RunIds(Remembered):
    """Run of characters between self-standing ones and blanks -> the ids of its words.

    Args:
        word_ids: the `WordIds` of the words.
        lower: whether texts are lower-cased.
    """

    def __init__(self, word_ids, lower):
        super().__init__()
        self.word_ids, self.lower = word_ids, lower

    def compute(self, run):
        return tuple(chain.from_iterable(map(self.word_ids.__getitem__, words(run, self.lower))))


class TextIds:
    """Ids of whole texts: one look-up per self-standing character, one per run of everything else.

    Args:
        run_ids: the `RunIds` of the runs.
    """

    def __init__(self, run_ids):
        self.of_runs = run_ids
        self.of_characters = SelfStandingIds(run_ids)

    def __call__(self, text):
        of_runs, of_character = self.of_runs, self.of_characters.__getitem__
        first, *rest = APART.split(without_capital_sigma(text, of_runs.lower))
        ids = list(of_runs[first])
        for apart, run in zip(rest[::2], rest[1::2]):
            ids += map(of_character, apart.replace(" ", ""))
            ids += of_runs[run]
        return ids


class SelfStandingIds(dict):
    """Self-standing character -> its id. There are fewer than 100,000 of them."""

    def __init__(self, run_ids):
        super().__init__()
        self.run_ids = run_ids

    def __missing__(self, character):
        (self[character],) = self.run_ids.compute(character)
        return self[character]


class SegmentIds(Remembered):
    """Word that a segmenter has cut out -> its ids: that of the word itself if the vocabulary has it, otherwise as in any text.

    Args:
        run_ids: the `RunIds` for other words.
    """

    def __init__(self, run_ids):
        super().__init__()
        self.run_ids = run_ids

    def compute(self, word):
        index = self.run_ids.word_ids.pieces.token_dict.get(word)
        return self.run_ids.compute(word) if index is None else (index,)


class SegmentedTextIds:
    """Ids of whole texts by way of a segmenter.

    Args:
        run_ids: the `RunIds` for words that the vocabulary lacks.
        segment: function from a (lower-cased) text to its words.
    """

    def __init__(self, run_ids, segment):
        self.segment, self.lower = segment, run_ids.lower
        self.of_segments = SegmentIds(run_ids)

    def __call__(self, text):
        text = lowercase_and_normalize(text) if self.lower else text
        return list(chain.from_iterable(map(self.of_segments.__getitem__, self.segment(text))))


def without_capital_sigma(text, lower):
    """The text ready to be taken apart: what is left of its normal form depends on no more than a run of characters.

    A capital sigma is lower-cased by its neighbours, in other words and in signs between them. Marks that are reordered among
    others stay in one run.
    """
    return text.lower() if lower and "Σ" in text else text
