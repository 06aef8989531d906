"""BERT's WordPiece tokenizer with the semantics of bert4keras."""

import operator
import os
import re
from itertools import chain, repeat
from typing import NamedTuple

from keras_su import errors
from keras_su.tokenizers import text as characters
from keras_su.tokenizers.alignment import align
from keras_su.tokenizers.base import TokenizerBase
from keras_su.tokenizers.bulk import BulkIds
from keras_su.tokenizers.detokenize import join_pieces
from keras_su.tokenizers.paths import folder_lower_case
from keras_su.tokenizers.pieces import RunIds, SegmentedTextIds, TextIds, WordIds, WordPieces
from keras_su.tokenizers.vocab import is_redundant, load_vocab, stem

# Methods that a script may replace, in a subclass or on the tokenizer itself; ids then come from tokens, one after another.
HOOKS = ("_tokenize", "_word_piece_tokenize", "token_to_id", "tokens_to_ids")


class Memory(NamedTuple):
    """What a tokenizer remembers while its settings, and the size of its vocabulary, stay as they are."""

    version: object  # of the settings
    size: int  # of the vocabulary
    hooked: bool  # whether one of `HOOKS` was replaced
    pieces: WordPieces
    text_ids: TextIds | SegmentedTextIds | None  # None where ids have to come from tokens
    texts_ids: BulkIds | None  # None where texts have to come one by one
    around: tuple | None  # ids before and after each text; None where they have to be asked for


class Tokenizer(TokenizerBase):
    """WordPiece tokenizer of BERT-like models, compatible with bert4keras.

    A text is prepared (lower-cased and stripped of accents if asked, ideographs and punctuation set apart), split at white
    space, and each word is cut greedily into the longest pieces of the vocabulary. A word that cannot be cut stays whole as a
    token and has the id of ``[UNK]``, so that `rematch` still finds it.

    Ids agree with Hugging Face's ``BertTokenizer`` except for: ``[MASK]`` and the like inside a text, which are ordinary text
    unless listed in ``special_tokens``; private-use and unassigned code points, which stay; a word-final capital sigma, which
    becomes ``ς``; the ideographs U+2B820 to U+2B91F, which stand alone as in Google's code; words of more than 100 characters;
    and characters that the two sides' Unicode versions class differently.

    Args:
        token_dict: path of a vocabulary file; ``{token: id}``; or a folder with ``vocab.txt`` (a Hugging Face model).
        do_lower_case: lower-case and strip accents. ``None`` means ``False`` for files and dicts; for a folder with a
            ``tokenizer_config.json`` it means what that file says (``True`` if it is silent, as for Hugging Face).
        word_maxlen: longer words (in characters) are not cut.
        token_start: token before every text, or ``None``.
        token_end: token after every text, or ``None``.
        pre_tokenize: function from the (lower-cased) text to its words, such as `segmenter` gives or
            ``lambda text: jieba.cut(text, HMM=False)``; words of the vocabulary stay whole, others are tokenized as usual.
        token_translate: ``{token: other token}``, applied to the tokens of a text.
        special_tokens: tokens of the vocabulary to recognise inside texts, such as ``["[MASK]"]``.

    Raises:
        KerasSuError: no readable vocabulary at the path, or an argument that makes no sense.

    Example:
        >>> tokenizer = Tokenizer({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "play": 4, "##ing": 5, "天": 6})
        >>> tokenizer.tokenize("playing 天 x")
        ['[CLS]', 'play', '##ing', '天', 'x', '[SEP]']
        >>> tokenizer.encode("playing 天 x")[0]
        [2, 4, 5, 6, 1, 3]
        >>> tokenizer.decode([2, 4, 5, 6, 3])
        'playing天'

    Reference: https://github.com/google-research/bert (tokenization.py), https://github.com/bojone/bert4keras (tokenizers.py).
    """

    _memory = None

    def __init__(
        self,
        token_dict,
        do_lower_case=None,
        word_maxlen=200,
        token_start="[CLS]",
        token_end="[SEP]",
        pre_tokenize=None,
        token_translate=None,
        special_tokens=None,
    ):
        super().__init__(token_start, token_end, pre_tokenize, token_translate)
        if isinstance(token_dict, (str, os.PathLike)):
            if os.path.isfile(os.path.join(token_dict, "vocab.txt")):
                do_lower_case = folder_lower_case(token_dict) if do_lower_case is None else do_lower_case
                token_dict = os.path.join(token_dict, "vocab.txt")
            token_dict = load_vocab(token_dict)
        elif not isinstance(token_dict, dict) or not token_dict:
            raise errors.bad_value("token_dict", token_dict, "a path, or a dict of tokens and ids that is not empty")
        self._token_dict = token_dict
        self._token_dict_inv = {index: token for token, index in token_dict.items()}
        self._vocab_size = max(token_dict.values()) + 1
        self._do_lower_case = bool(do_lower_case)
        self._word_maxlen = word_maxlen
        for role in ("pad", "unk", "mask", "start", "end"):
            setattr(self, f"_token_{role}_id", token_dict.get(getattr(self, f"_token_{role}")))
        self._special_tokens = list(special_tokens or [])
        for token in self._special_tokens:
            if token not in token_dict:
                raise errors.KerasSuError(
                    f"special_tokens: the vocabulary has no token {token!r}.{errors.did_you_mean(token, token_dict)}"
                )
        longest_first = sorted(self._special_tokens, key=len, reverse=True)
        self._special_pattern = re.compile("({})".format("|".join(map(re.escape, longest_first)))) if longest_first else None

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        # Settings may be assigned from outside, methods as well: what was remembered under the old ones is forgotten.
        self.__dict__["_version"] = object()

    @property
    def _remembered(self):
        """The `Memory` that goes with the present settings and vocabulary."""
        memory = self._memory
        if memory is None or memory.version is not self._version or memory.size != len(self._token_dict):
            memory = self.__dict__["_memory"] = self._new_memory(self._version)
        return memory

    def _new_memory(self, version):
        pieces = WordPieces(self._token_dict, self._word_maxlen)
        hooked = any(getattr(type(self), name) is not getattr(Tokenizer, name) or name in self.__dict__ for name in HOOKS)
        text_ids = texts_ids = around = None
        if not (hooked or self._special_pattern or self._token_translate or self._token_unk_id is None):
            run_ids = RunIds(WordIds(pieces, self._token_unk_id), self._do_lower_case)
            if self._pre_tokenize is None:
                text_ids, texts_ids = TextIds(run_ids), BulkIds(run_ids)
            else:
                text_ids = SegmentedTextIds(run_ids, self._pre_tokenize)
        if not hooked and all(token is None or token in self._token_dict for token in (self._token_start, self._token_end)):
            around = super()._ids_around()
        return Memory(version, len(self._token_dict), hooked, pieces, text_ids, texts_ids, around)

    def __getstate__(self):  # what is remembered does not travel to other processes
        return {**self.__dict__, "_memory": None}

    def token_to_id(self, token):
        """Id of a token; that of the unknown token when the vocabulary lacks it."""
        index = self._token_dict.get(token, self._token_unk_id)
        if index is None:
            raise errors.KerasSuError(
                f"The vocabulary has neither the token {token!r} nor {self._token_unk!r} for unknown words. "
                "Assign the id of unknown words: tokenizer.unk_id = 0."
            )
        return index

    def tokens_to_ids(self, tokens):
        """Ids of tokens, as a list."""
        if self._token_unk_id is None or type(self).token_to_id is not Tokenizer.token_to_id:
            return super().tokens_to_ids(tokens)
        return list(map(self._token_dict.get, tokens, repeat(self._token_unk_id)))

    def id_to_token(self, index):
        """Token of an id (Python or numpy integer). Ids of blank and repeated vocabulary lines read as the unknown token."""
        try:
            index = operator.index(index)
        except TypeError:
            raise errors.bad_value("id", index, "an integer") from None
        if index not in self._token_dict_inv and not 0 <= index < self._vocab_size:
            raise errors.bad_value("id", index, f"0 to {self._vocab_size - 1}, the ids of the vocabulary")
        return self._token_dict_inv.get(index, self._token_unk)

    def decode(self, ids, tokens=None):
        """Readable text of ids, without special tokens.

        Args:
            ids: sequence of Python or numpy integers.
            tokens: tokens to join instead of those of ``ids``.
        """
        tokens = self.ids_to_tokens(ids) if tokens is None else tokens
        return join_pieces([token for token in tokens if not self._is_special(token)])

    def rematch(self, text, tokens):
        """For each token the list of positions of its characters in ``text.lower()`` (in ``text``, for a cased tokenizer).

        This is bert4keras' ``rematch``. ``İ`` (U+0130) is the only character that grows when lower-cased; in a text without it
        the positions are those of ``text`` itself, and `offsets` counts in the text itself always. Special tokens, and tokens
        that do not occur in the text, have an empty list; nothing raises.

        Args:
            text: the text that was tokenized.
            tokens: its tokens, as `tokenize` gives them.

        Example:
            >>> tokenizer = Tokenizer({"[UNK]": 0, "play": 1, "##ing": 2}, do_lower_case=True)
            >>> tokenizer.rematch("Playing", ["[CLS]", "play", "##ing", "[SEP]"])
            [[], [0, 1, 2, 3], [4, 5, 6], []]
        """
        tokens = list(tokens)
        start, stop = self._body(tokens)
        aligned = [[]] * start + self._aligned(text, tokens[start:stop]) + [[]] * (len(tokens) - stop)
        aligned = [[] if self._is_special(token) else list(positions) for token, positions in zip(tokens, aligned)]
        if self._do_lower_case and "\u0130" in text:
            grown = [position + text.count("\u0130", 0, position) for position in range(len(text))]
            aligned = [[grown[position] for position in positions] for positions in aligned]
        return aligned

    def offsets(self, text):
        """Where each token of ``tokenize(text)`` stands in the text.

        Returns:
            A list of ``(start, stop)``: ``text[start:stop]`` holds the token's characters (and control characters among them).
            ``(0, 0)`` for start and end token.

        Example:
            >>> tokenizer = Tokenizer({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "is": 3, "##tan": 4}, do_lower_case=True)
            >>> tokenizer.offsets("İstan")
            [(0, 0), (0, 2), (2, 5), (0, 0)]
        """
        aligned = self._aligned(text, self._tokenize(text))
        return self._surrounded([(min(p), max(p) + 1) if p else (0, 0) for p in aligned], (0, 0), (0, 0))

    def _aligned(self, text, tokens):
        pieces = []
        for token in tokens:
            if token in self._special_tokens:
                pieces.append(characters.normalize_with_positions(token, self._do_lower_case)[0])
            elif self._is_special(token):
                pieces.append(None)
            else:
                pieces.append(stem(self._token_translate_inv.get(token, token)))
        return align(text, pieces, self._do_lower_case)

    def _tokenize(self, text, pre_tokenize=True):
        """Tokens of a text without special tokens around them; without word segmentation if ``pre_tokenize`` is ``False``."""
        segment = self._pre_tokenize if pre_tokenize else None
        if self._special_pattern is None:
            return self._plain_tokens(text, segment)
        chunks = self._special_pattern.split(text)  # every second one is a special token
        return list(chain.from_iterable([c] if i % 2 else self._plain_tokens(c, segment) for i, c in enumerate(chunks)))

    def _word_piece_tokenize(self, word):
        """Pieces of a word, as a list."""
        return list(self._remembered.pieces[word])

    def _plain_tokens(self, text, segment):
        memory = self._remembered
        cut = self._word_piece_tokenize if memory.hooked else memory.pieces.__getitem__
        if segment is None:
            return list(chain.from_iterable(map(cut, characters.words(text, self._do_lower_case))))
        tokens = []
        for word in segment(characters.lowercase_and_normalize(text) if self._do_lower_case else text):
            parts = characters.words(word, self._do_lower_case)
            tokens += [word] if word in self._token_dict else chain.from_iterable(map(cut, parts))
        return tokens

    def _text_ids(self, text):
        """Ids of a text without special tokens around them, straight from its words unless something has to see the tokens."""
        ids_of = self._remembered.text_ids
        return super()._text_ids(text) if ids_of is None else ids_of(text)

    def _texts_ids(self, texts):
        """The same for many texts, as `Ragged`, or ``None`` where something has to see the tokens."""
        ids_of = self._remembered.texts_ids
        return None if ids_of is None else ids_of(texts)

    def _ids_around(self):
        return self._remembered.around or super()._ids_around()

    def _knows(self, token):
        return token in self._token_dict

    stem = staticmethod(stem)
    _is_redundant = staticmethod(is_redundant)
    _is_space = staticmethod(characters.is_space)
    _is_punctuation = staticmethod(characters.is_punctuation)
    _is_cjk_character = staticmethod(characters.is_cjk_character)
    _is_control = staticmethod(characters.is_control)

    @staticmethod
    def _cjk_punctuation():
        return characters.CJK_PUNCTUATION

    @staticmethod
    def _is_special(token):
        """Whether the token is one in square brackets, such as ``[CLS]``."""
        return token.startswith("[") and token.endswith("]")
