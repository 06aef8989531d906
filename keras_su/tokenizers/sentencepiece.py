"""Tokenizer on a SentencePiece model, as T5, mT5, CPM and many decoders ship it."""

import operator
import os

from keras_su import errors
from keras_su.tokenizers.base import TokenizerBase
from keras_su.tokenizers.paths import only_model_file

BLANK = "▁"  # SentencePiece's visible blank


class SpTokenizer(TokenizerBase):
    """SentencePiece tokenizer, compatible with bert4keras; needs the package ``sentencepiece``.

    The padding and unknown tokens are those of the model. Start and end token must be pieces of it, so most models need
    ``token_start=None`` and, for T5, ``token_end='</s>'``.

    Args:
        sp_model_path: path of the model (``spiece.model``, ``sentencepiece.model``), or a folder with exactly one ``*.model``.
        token_start: piece before every text, or ``None``.
        token_end: piece after every text, or ``None``.
        pre_tokenize: function from the text to its words, which are then joined by blanks (CPM).
        token_translate: ``{piece: other piece}`` applied to the pieces of a text; `decode` applies the inverse.

    Raises:
        MissingDependencyError: ``sentencepiece`` is not installed.
        KerasSuError: no readable model at that path.

    Example:
        ```
        tokenizer = SpTokenizer("mt5/sentencepiece_cn.model", token_start=None, token_end="</s>")
        token_ids, segment_ids = tokenizer.encode("今天天气不错")
        ```

    Reference: https://github.com/google/sentencepiece.
    """

    def __init__(self, sp_model_path, token_start="[CLS]", token_end="[SEP]", pre_tokenize=None, token_translate=None):
        super().__init__(token_start, token_end, pre_tokenize, token_translate)
        sentencepiece = errors.require("sentencepiece", "sentencepiece", "SpTokenizer")
        path = only_model_file(os.fspath(sp_model_path))
        self.sp_model = sentencepiece.SentencePieceProcessor()
        try:
            self.sp_model.Load(path)
        except (RuntimeError, OSError) as error:
            raise errors.KerasSuError(f"{path!r} is not a SentencePiece model ({error}).") from error
        self._vocab_size = self.sp_model.get_piece_size()
        pad_id = self.sp_model.pad_id()
        self._token_pad = self.sp_model.id_to_piece(pad_id) if pad_id >= 0 else None
        self._token_unk = self.sp_model.id_to_piece(self.sp_model.unk_id())
        for role in ("pad", "unk", "mask", "start", "end"):
            token = getattr(self, f"_token_{role}")
            setattr(self, f"_token_{role}_id", self.sp_model.piece_to_id(token) if token and self._knows(token) else None)

    def token_to_id(self, token):
        """Id of a piece; that of the unknown piece when the model lacks it."""
        return self.sp_model.piece_to_id(token)

    def id_to_token(self, index):
        """Piece of an id (Python or numpy integer).

        Ids past the model's pieces are empty: the embedding tables of T5 models have more rows than their vocabulary has pieces.
        """
        try:
            index = operator.index(index)
        except TypeError:
            raise errors.bad_value("id", index, "an integer") from None
        if index < 0:
            raise errors.bad_value("id", index, f"0 to {self._vocab_size - 1}, the ids of the vocabulary")
        return self.sp_model.id_to_piece(index) if index < self._vocab_size else ""

    def decode(self, ids, tokens=None):
        """Readable text of ids.

        Args:
            ids: sequence of Python or numpy integers.
            tokens: pieces to join instead of those of ``ids``.
        """
        tokens = self.ids_to_tokens(ids) if tokens is None else tokens
        pieces = [self._token_translate_inv.get(token, token) for token in tokens]
        return self.sp_model.decode_pieces([piece for piece in pieces if piece])

    def offsets(self, text):
        """Where each piece of ``tokenize(text)`` stands in the text, without the blank before it.

        Returns:
            A list of ``(start, stop)``; ``start == stop`` for a piece that is only a blank, ``(0, 0)`` for start and end token.

        Raises:
            KerasSuError: the tokenizer has ``pre_tokenize``, which may rewrite the text.
        """
        if self._pre_tokenize is not None:
            raise errors.KerasSuError("offsets: pre_tokenize may rewrite the text, so positions in it are not known. Use none.")
        normal, starts = self.sp_model.normalize(text, with_offsets=True)
        spans, position = [], 0
        for piece in self._tokenize(text):
            index = self.sp_model.piece_to_id(piece)
            if self.sp_model.is_byte(index):  # one character in several pieces, one for each of its UTF-8 bytes
                if 0x80 <= int(piece[3:5], 16) < 0xC0:
                    spans.append(spans[-1])
                    continue
                length = 1
            else:
                length = len(piece)
            first, last = position, position + length
            while first < last and normal[first] == BLANK:
                first += 1
            spans.append((starts[first], _source_stop(starts, last) if first < last else starts[first]))
            position = last
        return self._surrounded(spans, (0, 0), (0, 0))

    def _tokenize(self, text):
        if self._pre_tokenize is not None:
            text = " ".join(self._pre_tokenize(text))
        return self.sp_model.encode_as_pieces(text)

    def _knows(self, token):
        index = self.sp_model.piece_to_id(token)
        return index != self.sp_model.unk_id() or token == self._token_unk

    def _is_special(self, index):
        """Whether the id is a control, unknown or unused piece."""
        index = operator.index(index)
        return self.sp_model.is_control(index) or self.sp_model.is_unknown(index) or self.sp_model.is_unused(index)

    def _is_decodable(self, index):
        """Whether the id is a piece of the vocabulary that stands for text."""
        return index < self._vocab_size and not self._is_special(index)


def _source_stop(starts, last):
    """Where the source of the normal characters before ``last`` ends: one source character may have become several."""
    begun = starts[last - 1]
    return next((start for start in starts[last:] if start > begun), starts[-1])
