"""Greedy longest-match cutting of words into pieces, remembered word by word."""

from keras_su.tokenizers.text import SELF_STANDING, resolve_context, words_of_resolved

CACHED_WORDS = 1 << 16


class WordPieces(dict):
    """Word -> its pieces, cut at the first request. A full cache (`CACHED_WORDS` words) starts over, so memory stays bounded.

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

    def __missing__(self, word):
        if len(self) >= CACHED_WORDS:
            self.clear()
        pieces = self[word] = self.cut(word)
        return pieces

    def cut(self, word):
        """The longest pieces of the vocabulary from left to right; the word itself when that leads nowhere or it is too long."""
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

    def __reduce__(self):  # what is remembered does not travel to other processes
        return WordPieces, (self.token_dict, self.word_maxlen)


class WordIds(dict):
    """Word -> the ids of its pieces, remembered like `WordPieces`.

    Args:
        pieces: the `WordPieces` that cut words.
        unk_id: id of pieces that the vocabulary lacks.
    """

    def __init__(self, pieces, unk_id):
        super().__init__()
        self.pieces, self.unk_id = pieces, unk_id

    def __missing__(self, word):
        if len(self) >= CACHED_WORDS:
            self.clear()
        ids = self[word] = tuple(self.pieces.token_dict.get(piece, self.unk_id) for piece in self.pieces.cut(word))
        return ids

    def __reduce__(self):
        return WordIds, (self.pieces, self.unk_id)


class TextIds:
    """Ids of whole texts: one look-up per self-standing character, one per word of everything else.

    Args:
        pieces: the `WordPieces` that cut words.
        unk_id: id of pieces that the vocabulary lacks.
        lower: whether texts are lower-cased.
    """

    def __init__(self, pieces, unk_id, lower):
        self.lower = lower
        self.of_words = WordIds(pieces, unk_id)
        self.of_characters = SelfStandingIds(self.of_words, lower)

    def __call__(self, text):
        ids = []
        for number, run in enumerate(SELF_STANDING.split(resolve_context(text, self.lower))):
            if number % 2:
                ids.extend(map(self.of_characters.__getitem__, run))
            elif run:
                for word in words_of_resolved(run, self.lower):
                    ids += self.of_words[word]
        return ids


class SelfStandingIds(dict):
    """Self-standing character -> its id."""

    def __init__(self, word_ids, lower):
        super().__init__()
        self.word_ids, self.lower = word_ids, lower

    def __missing__(self, character):
        (word,) = words_of_resolved(character, self.lower)
        (index,) = self.word_ids[word]
        self[character] = index
        return index

    def __reduce__(self):
        return SelfStandingIds, (self.word_ids, self.lower)
