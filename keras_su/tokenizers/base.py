"""What every tokenizer shares: special tokens, one or two texts to ids, truncation, padded batches."""

from itertools import repeat

from keras_su import errors
from keras_su.tokenizers.batch import all_texts, checked_length, padded, text_columns
from keras_su.tokenizers.rows import Around, padded_rows, row_lengths, shortened
from keras_su.tokenizers.truncation import check_truncate_from, truncate

PATTERNS = ("S*E*E", "S*ES*E")


def _special_id(role):
    attribute = f"_token_{role}_id"
    return property(
        lambda self: getattr(self, attribute),
        lambda self, value: setattr(self, attribute, value),
        doc=f"Id of the {role} token, or None where the vocabulary has none; the same as ``{attribute}``.",
    )


def _check_room(maxlen, specials):
    if specials > maxlen:
        raise errors.bad_value("maxlen", maxlen, f"at least {specials}, the number of special tokens")


class TokenizerBase:
    """Texts to ids and back; a subclass brings the vocabulary: `_tokenize`, `token_to_id`, `id_to_token`, `decode`.

    The ids of the special tokens are attributes that may be assigned (``tokenizer.unk_id = 0``). `encode_batch` reads the one for
    padding, `token_to_id` the one for unknown words, your own code the others; what `encode` puts around a text are the *tokens*
    ``token_start`` and ``token_end``.

    Args:
        token_start: token before every text, or ``None``.
        token_end: token after every text, or ``None``.
        pre_tokenize: callable from a text to its words, run before the tokenizer proper (word segmentation).
        token_translate: ``{token: other token}``, applied to the outcome.
    """

    pad_id = _special_id("pad")
    unk_id = _special_id("unk")
    mask_id = _special_id("mask")
    start_id = _special_id("start")
    end_id = _special_id("end")

    def __init__(self, token_start="[CLS]", token_end="[SEP]", pre_tokenize=None, token_translate=None):
        if pre_tokenize is not None and not callable(pre_tokenize):
            raise errors.bad_value("pre_tokenize", pre_tokenize, "a function from a text to a list of words, or None")
        self._token_pad, self._token_unk, self._token_mask = "[PAD]", "[UNK]", "[MASK]"
        self._token_start, self._token_end = token_start, token_end
        self._token_pad_id = self._token_unk_id = self._token_mask_id = self._token_start_id = self._token_end_id = None
        self._pre_tokenize = pre_tokenize
        self._token_translate = dict(token_translate or {})
        self._token_translate_inv = {other: token for token, other in self._token_translate.items()}

    @property
    def vocab_size(self):
        """Number of ids: one more than the largest; the same as ``_vocab_size``."""
        return self._vocab_size

    @vocab_size.setter
    def vocab_size(self, value):
        self._vocab_size = value

    def _tokenize(self, text):
        """Tokens of a text without special tokens around them."""
        raise NotImplementedError

    def token_to_id(self, token):
        """Id of a token; that of the unknown token when the vocabulary lacks it."""
        raise NotImplementedError

    def id_to_token(self, index):
        """Token of an id (Python or numpy integer)."""
        raise NotImplementedError

    def decode(self, ids, tokens=None):
        """Readable text of ids."""
        raise NotImplementedError

    def offsets(self, text):
        """Where each token of ``tokenize(text)`` stands in the text: ``(start, stop)``, equal when it stands for no character."""
        raise NotImplementedError

    def tokens_to_ids(self, tokens):
        """Ids of tokens, as a list."""
        return [self.token_to_id(token) for token in tokens]

    def ids_to_tokens(self, ids):
        """Tokens of ids (any sequence of Python or numpy integers), as a list."""
        return [self.id_to_token(index) for index in ids]

    def tokenize(self, text, maxlen=None):
        """Tokens of a text, with ``token_start`` and ``token_end`` around them, at most ``maxlen`` in all."""
        tokens = self._surrounded(self._translated(text), self._token_start, self._token_end)
        if maxlen is None:
            return tokens
        ((start, stop),) = self._slices([tokens], [self._body(tokens)], checked_length("maxlen", maxlen), "right")
        return tokens[:start] + tokens[stop:]

    def encode(
        self,
        first_text,
        second_text=None,
        maxlen=None,
        pattern="S*E*E",
        truncate_from="right",
        max_length=None,
        return_offsets=False,
    ):
        """Ids and segment ids of one text or of a pair of texts.

        For many texts at once, as padded arrays, see `encode_batch`. A list here means *one* text that is tokenized already.

        Args:
            first_text: a text, or the list of its tokens (special tokens included, as `tokenize` gives them).
            second_text: the same for the second text, or ``None``.
            maxlen: most ids in all. The longer text is shortened first; special tokens stay.
            pattern: ``'S*E*E'`` leaves out the start token of the second text, ``'S*ES*E'`` keeps it.
            truncate_from: ``'right'`` drops the last tokens, ``'left'`` the first ones, an integer those from that position on.
            max_length: older name of ``maxlen``.
            return_offsets: also return where each token stands in its text.

        Returns:
            ``(token_ids, segment_ids)``, two lists of one length: segment 0 for the first text, 1 for the second. With
            ``return_offsets`` a third list of ``(start, stop)``, see `offsets`.

        Raises:
            KerasSuError: something that is neither a text nor tokens, or a ``maxlen`` too small for the special tokens.

        Example:
            >>> from keras_su.tokenizers import Tokenizer
            >>> tokenizer = Tokenizer({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "天": 4, "气": 5})
            >>> tokenizer.encode("天气", "气")
            ([2, 4, 5, 3, 5, 3], [0, 0, 0, 0, 1, 1])
        """
        if pattern not in PATTERNS:
            raise errors.unknown_name("pattern", pattern, PATTERNS)
        if max_length is not None:
            if maxlen is not None:
                raise errors.bad_value("max_length", max_length, "nothing, since maxlen (its newer name) is given too")
            maxlen = max_length
        first, body = self._ids_of("first_text", first_text)
        sequences, bodies = [first], [body]
        drops_start = 0
        if second_text is not None:
            second, body = self._ids_of("second_text", second_text)
            drops_start = body[0] if pattern == "S*E*E" else 0
            sequences.append(second)
            bodies.append(body)
        spans = None
        if return_offsets:
            spans = [self._offsets_of("first_text", first_text), self._offsets_of("second_text", second_text)]
        if maxlen is not None:
            # The start token that the pattern drops afterwards takes no room.
            limit = checked_length("maxlen", maxlen)
            slices = self._slices(sequences, bodies, limit, check_truncate_from(truncate_from), drops_start)
            sequences = [ids[:start] + ids[stop:] for ids, (start, stop) in zip(sequences, slices)]
            if return_offsets:
                slices = [*slices, (0, 0)]  # there may be no second text
                spans = [offsets[:start] + offsets[stop:] for offsets, (start, stop) in zip(spans, slices)]
        token_ids = sequences[0]
        segment_ids = [0] * len(token_ids)
        if second_text is not None:
            second = sequences[1][drops_start:]
            token_ids = token_ids + second
            segment_ids += [1] * len(second)
        if return_offsets:
            return token_ids, segment_ids, spans[0] + spans[1][drops_start:]
        return token_ids, segment_ids

    def encode_batch(
        self,
        texts,
        second_texts=None,
        maxlen=None,
        pattern="S*E*E",
        truncate_from="right",
        length=None,
        padding_side="right",
        dtype="int32",
    ):
        """Padded ids and segment ids of many texts, ready for a model.

        Args:
            texts: a list of texts. An entry may also be a tuple ``(first, second)`` of texts; a list is one tokenized text.
            second_texts: the second texts, as many as ``texts``, or ``None``.
            maxlen: most ids in a row; the arrays are as wide as the longest row.
            pattern: see `encode`.
            truncate_from: see `encode`.
            length: exact width of the arrays; longer rows are truncated to it.
            padding_side: ``'right'`` (BERT) or ``'left'`` (decoders that go on from the last column).
            dtype: integer type of the arrays.

        Returns:
            ``(token_ids, segment_ids)``, arrays of shape ``(batch, width)``; padding is ``pad_id`` and segment 0.

        Example:
            >>> from keras_su.tokenizers import Tokenizer
            >>> tokenizer = Tokenizer({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "天": 4, "气": 5})
            >>> tokenizer.encode_batch(["天气", "气"])[0].tolist()
            [[2, 4, 5, 3], [2, 5, 3, 0]]
        """
        if padding_side not in ("right", "left"):
            raise errors.unknown_name("padding_side", padding_side, ("right", "left"))
        if length is not None:
            maxlen = min(checked_length("length", length), length if maxlen is None else checked_length("maxlen", maxlen))
        firsts, seconds = text_columns(texts, second_texts)
        columns = self._columns_of_ids(firsts, seconds)
        if columns is not None:
            return self._padded_columns(columns, maxlen, pattern, truncate_from, length, padding_side, dtype)
        rows = [
            self.encode(first, second, maxlen=maxlen, pattern=pattern, truncate_from=truncate_from)
            for first, second in zip(firsts, repeat(None) if seconds is None else seconds)
        ]
        lengths = [len(token_ids) for token_ids, _ in rows]
        width = max(lengths, default=0) if length is None else length
        pad_id = self._padding_for(lengths, width)
        return (
            padded([token_ids for token_ids, _ in rows], width, pad_id, padding_side, dtype),
            padded([segment_ids for _, segment_ids in rows], width, 0, padding_side, dtype),
        )

    def _columns_of_ids(self, firsts, seconds):
        """A list of one or two `Ragged`, or ``None`` where something has to see the texts one by one."""
        columns = [firsts] if seconds is None else [firsts, seconds]
        if not firsts or not all(map(all_texts, columns)):
            return None
        if type(self).encode is not TokenizerBase.encode or type(self).tokenize is not TokenizerBase.tokenize:
            return None  # a subclass has its own
        columns = [self._texts_ids(texts) for texts in columns]
        return None if None in columns else columns

    def _padded_columns(self, columns, maxlen, pattern, truncate_from, length, padding_side, dtype):
        """What `encode_batch` returns, on arrays."""
        if pattern not in PATTERNS:
            raise errors.unknown_name("pattern", pattern, PATTERNS)
        start, end = self._ids_around()
        around = Around(start, end, start if pattern == "S*ES*E" else [])
        if maxlen is not None:
            limit = checked_length("maxlen", maxlen)
            _check_room(limit, around.count(len(columns)))
            columns = shortened(columns, around, limit, check_truncate_from(truncate_from))
        lengths = row_lengths(columns, around)
        width = int(lengths.max()) if length is None else length
        return padded_rows(columns, around, width, self._padding_for(lengths, width), padding_side, dtype)

    def _padding_for(self, lengths, width):
        """The id to pad with; the error for a vocabulary without one where a row is shorter than ``width``."""
        if self._token_pad_id is None and any(n < width for n in lengths):
            raise errors.KerasSuError(
                f"The vocabulary has no padding token {self._token_pad!r}. Assign the id to pad with: tokenizer.pad_id = 0."
            )
        return self._token_pad_id or 0

    def _translated(self, text):
        if not isinstance(text, str):
            raise errors.bad_value("text", text, "a text (str)")
        tokens = self._tokenize(text)
        if self._token_translate:
            tokens = [self._token_translate.get(token, token) for token in tokens]
        return tokens

    def _surrounded(self, items, start, end):
        """The list with ``start`` and ``end`` around it, each only where its special token is in use."""
        return [start] * (self._token_start is not None) + items + [end] * (self._token_end is not None)

    def _body(self, tokens):
        """Bounds of the tokens between the special ones at either end."""
        start = int(self._token_start is not None and tokens[:1] == [self._token_start])
        stop = len(tokens) - int(self._token_end is not None and tokens[-1:] == [self._token_end])
        return start, max(start, stop)

    def _slices(self, sequences, bodies, maxlen, truncate_from, dropped=0):
        """What to cut out of each sequence so that, without ``dropped`` of their tokens, they have ``maxlen`` together."""
        limit = maxlen + dropped
        fixed = sum(len(items) - stop + start for items, (start, stop) in zip(sequences, bodies))
        _check_room(maxlen, fixed - dropped)
        return truncate(sequences, bodies, limit, truncate_from)

    def _text_ids(self, text):
        """Ids of a text without special tokens around them; the hook for a faster road than through tokens."""
        return self.tokens_to_ids(self._translated(text))

    def _texts_ids(self, texts):
        """`_text_ids` of many texts as `Ragged`, or ``None``; the hook for a faster road than one text after another."""
        return None

    def _ids_of(self, name, text):
        """Ids of a text with its special tokens, or of tokens; and the bounds of those that truncation may take."""
        if isinstance(text, str) and type(self).tokenize is not TokenizerBase.tokenize:
            text = self.tokenize(text)  # a subclass has its own
        if isinstance(text, str):
            start, end = self._ids_around()
            ids = start + self._text_ids(text) + end
            return ids, (len(start), len(ids) - len(end))
        if not isinstance(text, (list, tuple)) or not all(isinstance(token, str) for token in text):
            if isinstance(text, (list, tuple)):
                raise errors.bad_value(name, text[:3], "a text or the tokens of one text; many texts go to encode_batch")
            raise errors.bad_value(name, text, "a text (str) or the list of one text's tokens")
        tokens = list(text)
        if tokens and not any(self._knows(token) for token in tokens) and any(len(self._tokenize(token)) > 1 for token in tokens):
            looks = "these look like texts, which go to encode_batch"
            raise errors.bad_value(name, tokens[:3], f"a text or the tokens of one text; {looks}")
        return self.tokens_to_ids(tokens), self._body(tokens)

    def _ids_around(self):
        """The ids before and after every text, as two lists of at most one id."""
        for role, token in (("start", self._token_start), ("end", self._token_end)):
            if token is not None and not self._knows(token):
                raise errors.KerasSuError(
                    f"The vocabulary has no {token!r}, which token_{role} puts around every text. "
                    f"Expected one of its tokens: pass token_{role}=, or token_{role}=None for nothing."
                )
        return tuple([] if t is None else [self.token_to_id(t)] for t in (self._token_start, self._token_end))

    def _offsets_of(self, name, text):
        if text is not None and not isinstance(text, str):
            raise errors.bad_value(name, text, "a text (str) when return_offsets is set: tokens have no positions")
        return [] if text is None else self.offsets(text)

    def _knows(self, token):
        """Whether the vocabulary has the token."""
        raise NotImplementedError
