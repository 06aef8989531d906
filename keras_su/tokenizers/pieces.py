"""Greedy longest-match cutting of words into pieces, remembered word by word."""

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
        self.vocabulary_size = len(token_dict)

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
