"""Any tokenizer that a ``tokenizer.json`` describes: the byte-level BPE of Llama and Qwen, and what else the format holds."""

import json
import operator
import os

from keras_su import errors
from keras_su.tokenizers.base import TokenizerBase
from keras_su.tokenizers.batch import checked_length
from keras_su.tokenizers.paths import existing_file
from keras_su.tokenizers.truncation import check_truncate_from, truncate

# For each role, what tokenizer_config.json calls its token, and what it looks like where no file says it.
_ROLES = {
    "pad": (("pad_token",), ("[PAD]", "<pad>", "<|pad|>")),
    "unk": (("unk_token",), ("[UNK]", "<unk>")),
    "mask": (("mask_token",), ("[MASK]", "<mask>")),
    "start": (("bos_token", "cls_token"), ("[CLS]", "<s>", "<bos>", "<|begin_of_text|>")),
    "end": (("eos_token", "sep_token"), ("[SEP]", "</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>")),
}
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
# Hugging Face's classes that put start and end token as tokenizer_config.json says, whatever tokenizer.json says.
_SWITCHED = ("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer")


class JsonTokenizer(TokenizerBase):
    """Tokenizer on a ``tokenizer.json``; needs the package ``tokenizers``.

    What stands around a text and between two texts, and the segment of each token, is what the file says. The special tokens
    are those that ``tokenizer_config.json`` or ``special_tokens_map.json`` beside it name (``start_id`` is its bos or cls token,
    ``end_id`` its eos or sep token). What the file says about truncation and padding is not used: ``maxlen`` and ``length`` are.

    Special tokens inside a text are recognised, as by the library. Tokens of a byte-level vocabulary read as their bytes in
    disguise (``"Ġthe"``); `decode` gives the text back.

    Args:
        path: the file, or the folder that holds ``tokenizer.json``.
        token_start: token before every text, or ``None``; by default (``...``) what the file puts there.
        token_end: token after every text, or ``None``; by default (``...``) what the file puts there.

    Raises:
        MissingDependencyError: ``tokenizers`` is not installed.
        KerasSuError: no readable file at that path, a token that the vocabulary lacks, or two files that contradict each other.

    Example:
        ```
        tokenizer = JsonTokenizer("Qwen2.5-0.5B")
        token_ids, segment_ids = tokenizer.encode("今天天气不错")
        tokenizer.decode(token_ids)  # 今天天气不错
        ```

    Reference: https://github.com/huggingface/tokenizers.
    """

    def __init__(self, path, token_start=..., token_end=...):
        super().__init__(None, None)
        self._library = errors.require("tokenizers", "bpe", "JsonTokenizer")
        path = os.fspath(path)
        if os.path.isfile(os.path.join(path, "tokenizer.json")):
            path = os.path.join(path, "tokenizer.json")
        with open(existing_file(path, "tokenizer.json (or a folder with one)"), "rb") as file:
            content = file.read()
        try:
            text = content.decode("utf-8")
            self.tokenizer = self._library.Tokenizer.from_str(text)
        except Exception as error:  # the library raises nothing more special
            raise errors.KerasSuError(f"{path!r} does not describe a tokenizer ({error}).") from error
        description = json.loads(text)
        config = _read_settings(os.path.dirname(path))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self._add_tokens(config.get("added_tokens_decoder") or {}, path)
        self._prepare_as(config, description.get("normalizer") or {})
        self._vocab_size = max(self.tokenizer.get_vocab().values(), default=-1) + 1
        self._find_special_tokens(config, description)
        self._surround_with(token_start, token_end, config, description)

    # ---- what the files say

    def _add_tokens(self, listed, path):
        """Tokens that only ``tokenizer_config.json`` lists."""
        for index, entry in sorted(listed.items(), key=lambda item: int(item[0])):
            token = entry["content"]
            if not self._knows(token):
                flags = {
                    flag: entry[flag] for flag in ("single_word", "lstrip", "rstrip", "normalized", "special") if flag in entry
                }
                self.tokenizer.add_tokens([self._library.AddedToken(token, **flags)])
            if self.tokenizer.token_to_id(token) != int(index):
                raise errors.KerasSuError(
                    f"The token {token!r} has id {index} in tokenizer_config.json, but {self.tokenizer.token_to_id(token)} in "
                    f"{path!r}. Expected files of one model."
                )

    def _prepare_as(self, config, normalizer):
        """Where the two files differ about the preparation of a BERT, ``tokenizer_config.json`` counts, as for Hugging Face."""
        if normalizer.get("type") == "BertNormalizer" and config.get("do_lower_case") is not None:
            self.tokenizer.normalizer = self._library.normalizers.BertNormalizer(
                clean_text=normalizer.get("clean_text", True),
                handle_chinese_chars=config.get("tokenize_chinese_chars", normalizer.get("handle_chinese_chars", True)),
                strip_accents=config.get("strip_accents", normalizer.get("strip_accents")),
                lowercase=config["do_lower_case"],
            )

    def _find_special_tokens(self, config, description):
        model = description.get("model") or {}
        unknown = model.get("unk_token")
        if isinstance(model.get("unk_id"), int):
            unknown = self.tokenizer.id_to_token(model["unk_id"])
        found = {"unk": unknown, "pad": (description.get("padding") or {}).get("pad_token")}
        silent = not any(config.get(name) for names, _ in _ROLES.values() for name in names)
        for role, (names, guesses) in _ROLES.items():
            candidates = [_text_of(config[name]) for name in names if config.get(name)]
            candidates += [found.get(role), *(guesses if silent else ())]
            token = next((token for token in candidates if token and self._knows(token)), None)
            if role not in ("start", "end"):
                setattr(self, f"_token_{role}", token)
            setattr(self, f"_token_{role}_id", None if token is None else self.tokenizer.token_to_id(token))

    def _surround_with(self, start, end, config, description):
        """Put the wanted tokens around texts, and find out which ones stand there."""
        given = start is not ... or end is not ...
        switched = str(config.get("tokenizer_class")).removesuffix("Fast") in _SWITCHED
        if switched:
            bos, eos = (_text_of(config[name]) if config.get(name) else None for name in ("bos_token", "eos_token"))
            start = start if start is not ... else bos if config.get("add_bos_token", True) else None
            end = end if end is not ... else eos if config.get("add_eos_token", False) else None
        if given or switched:
            before, after = self._around()
            before = before if start is ... else [start] if start is not None else []
            after = after if end is ... else [end] if end is not None else []
            self._set_template(before, after, before if switched else [], description.get("post_processor"))
            for role, token in (("start", start), ("end", end)):
                if given and token not in (..., None):
                    setattr(self, f"_token_{role}_id", self.tokenizer.token_to_id(token))
        self._before, self._after = self._around()
        self._token_start = self._before[0] if len(self._before) == 1 else None
        self._token_end = self._after[0] if len(self._after) == 1 else None

    def _around(self):
        """The tokens that stand before and after a text."""
        encoding = self.tokenizer.encode("a")
        inside = [place for place, part in enumerate(encoding.sequence_ids) if part == 0]
        if not inside:  # a vocabulary without this letter
            return [], []
        return encoding.tokens[: inside[0]], encoding.tokens[inside[-1] + 1 :]

    def _set_template(self, before, after, second_start, processor):
        for token in (*before, *after):
            if not self._knows(token):
                near = errors.did_you_mean(token, self.tokenizer.get_vocab()) if isinstance(token, str) else ""
                raise errors.KerasSuError(f"The vocabulary has no token {token!r} to put around texts.{near}")
        single = [*before, "$A", *after]
        pair = [*single, *(f"{token}:1" for token in second_start), "$B:1", *(f"{token}:1" for token in after)]
        processors = self._library.processors
        template = processors.TemplateProcessing(
            single=single, pair=pair, special_tokens=[(t, self.tokenizer.token_to_id(t)) for t in {*before, *after}]
        )
        parts = (processor or {}).get("processors", [processor or {}])
        trims = [part.get("trim_offsets", True) for part in parts if part.get("type") == "ByteLevel"]
        if trims:  # keeps the blank before a word out of its offsets
            template = processors.Sequence([processors.ByteLevel(trim_offsets=trims[0]), template])
        self.tokenizer.post_processor = template

    # ---- tokens and ids

    def token_to_id(self, token):
        """Id of a token; that of the unknown token when the vocabulary lacks it."""
        index = self.tokenizer.token_to_id(token)
        if index is None:
            index = self._token_unk_id
        if index is None:
            raise errors.KerasSuError(
                f"The vocabulary has no token {token!r}, and none for unknown words. "
                "Assign the id of unknown words: tokenizer.unk_id = 0."
            )
        return index

    def id_to_token(self, index):
        """Token of an id (Python or numpy integer); empty past the vocabulary, as embedding tables may have more rows."""
        return self.tokenizer.id_to_token(self._checked_id(index)) or ""

    def decode(self, ids, tokens=None):
        """Readable text of ids, without special tokens.

        Args:
            ids: sequence of Python or numpy integers.
            tokens: tokens to join instead of those of ``ids``.
        """
        ids = map(self._checked_id, ids) if tokens is None else self.tokens_to_ids(tokens)
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def tokenize(self, text, maxlen=None):
        """Tokens of a text, with what the file puts around it, at most ``maxlen`` in all."""
        encoding, kept = self._encoding(text, None, maxlen, "right")
        return [encoding.tokens[place] for place in kept]

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

        As `TokenizerBase.encode`, except that what stands between two texts, and the segment ids, are what the file says:
        ``'S*E*E'`` has no effect, and ``'S*ES*E'`` repeats what stands around one text.
        """
        texts = (first_text, second_text)
        if pattern != "S*E*E" or not all(isinstance(text, str) or text is None for text in texts) or first_text is None:
            return super().encode(first_text, second_text, maxlen, pattern, truncate_from, max_length, return_offsets)
        if max_length is not None:
            if maxlen is not None:
                raise errors.bad_value("max_length", max_length, "nothing, since maxlen (its newer name) is given too")
            maxlen = max_length
        encoding, kept = self._encoding(first_text, second_text, maxlen, truncate_from)
        columns = [encoding.ids, encoding.type_ids] + ([encoding.offsets] if return_offsets else [])
        return tuple(column if len(kept) == len(column) else [column[place] for place in kept] for column in columns)

    def offsets(self, text):
        """Where each token of ``tokenize(text)`` stands in the text: ``(start, stop)``; ``(0, 0)`` for what stands around it.

        A character that takes several tokens has the same place in each.
        """
        return self._encoding(text, None, None, "right")[0].offsets

    def _encoding(self, first, second, maxlen, truncate_from):
        """What the library makes of one or two texts, and the places in it that truncation leaves."""
        if not isinstance(first, str):
            raise errors.bad_value("text", first, "a text (str)")
        check_truncate_from(truncate_from)
        limit = None if maxlen is None else checked_length("maxlen", maxlen)
        encoding = self.tokenizer.encode(first, second)
        excess = 0 if limit is None else len(encoding) - limit
        if excess <= 0:
            return encoding, range(len(encoding))
        bodies = []
        for number in range(1 if second is None else 2):
            inside = [place for place, part in enumerate(encoding.sequence_ids) if part == number]
            bodies.append((inside[0], inside[-1] + 1) if inside else (0, 0))
        fixed = len(encoding) - sum(stop - start for start, stop in bodies)
        if fixed > limit:
            raise errors.bad_value("maxlen", maxlen, f"at least {fixed}, the number of special tokens")
        # Each text is shortened as if it stood alone, with its own tokens around it, so that positions count as elsewhere.
        lead, tail = len(self._before), len(self._after)
        alone = [(lead, lead + stop - start) for start, stop in bodies]
        lengths = [stop + tail for _, stop in alone]
        cuts = truncate([range(n) for n in lengths], alone, sum(lengths) - excess, truncate_from)
        gone = set()
        for (first_place, _), (start, stop) in zip(bodies, cuts):
            gone.update(range(first_place + start - lead, first_place + stop - lead))
        return encoding, [place for place in range(len(encoding)) if place not in gone]

    def _tokenize(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).tokens

    def _body(self, tokens):
        start = len(self._before) if tokens[: len(self._before)] == self._before else 0
        stop = len(tokens) - (len(self._after) if tokens[len(tokens) - len(self._after) :] == self._after else 0)
        return start, max(start, stop)

    def _knows(self, token):
        return isinstance(token, str) and self.tokenizer.token_to_id(token) is not None

    @staticmethod
    def _checked_id(index):
        try:
            index = operator.index(index)
        except TypeError:
            raise errors.bad_value("id", index, "an integer") from None
        if index < 0:
            raise errors.bad_value("id", index, "zero or more")
        return index


def _read_settings(folder):
    """``tokenizer_config.json``, over ``special_tokens_map.json``, as far as they are there."""
    settings = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            try:
                with open(path, encoding="utf-8") as file:
                    values = json.load(file)
            except ValueError as error:
                raise errors.KerasSuError(f"{path!r} is not a JSON file ({error}).") from error
            settings.update({key: value for key, value in values.items() if value is not None or key not in settings})
    return settings


def _text_of(token):
    """The text of a special token, which the files write as a string or with its flags."""
    return token["content"] if isinstance(token, dict) else token
