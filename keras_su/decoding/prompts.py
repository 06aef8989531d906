"""What people pass as prompts, as what a model reads."""

import numpy as np

from keras_su.errors import KerasSuError, bad_value


class Prompts:
    """The prompts of a call, each with its ids, segments and context.

    Args:
        given: a text, an id sequence, or a list of these; an array ``(prompts, length)``.
        model: :class:`~keras_su.decoding.token_model.TokenModel`.
        tokenizer: needed for texts.
        end_ids: array of ids that end a text.

    Attributes:
        single: whether one prompt was given, not a list.
        ids: what the decoder begins with, for each prompt a list of ints.
    """

    def __init__(self, given, model, tokenizer, end_ids):
        self.single = isinstance(given, str) or (len(given) > 0 and _is_id(given[0]))
        self.given = [given] if self.single else list(given)
        self.model = model
        self.tokenizer = tokenizer
        self.end_ids = end_ids
        self.source_input = next((name for name in model.context_inputs if name.endswith("Input-Token")), None)
        self.sources, self.ids, self.segments, self.context = None, None, None, {}

    def __len__(self):
        return len(self.given)

    def complete(self, segments, start_ids, context, config):
        """Tokenize texts, and give each prompt its start, its segments and its part of the context."""
        encoded = [self._encoded(number, prompt) for number, prompt in enumerate(self.given)]
        self.context = self._checked_context(context)
        if self.source_input is not None and self.source_input not in self.context:
            self.sources = encoded
            self.ids = self._starts(start_ids, config)
        elif start_ids is not None:
            raise bad_value("start_ids", start_ids, "None: the prompts are what this model begins with")
        else:
            self.ids = [self._open(ids) for ids in encoded]
        if segments is not None:
            segments = [segments] if self.single and all(_is_id(each) for each in segments) else segments
            if [len(each) for each in segments] != [len(each) for each in self.ids]:
                raise bad_value(
                    "lengths of segments", [len(each) for each in segments], f"those of the prompts, {[len(i) for i in self.ids]}"
                )
        self.segments = segments

    def _encoded(self, number, prompt):
        if isinstance(prompt, str):
            if self.tokenizer is None:
                raise KerasSuError(f"Prompt {number} is a text. Pass tokenizer=, or give its ids.")
            return [int(token) for token in self.tokenizer.encode(prompt)[0]]
        prompt = np.asarray(prompt)
        if prompt.ndim != 1 or (len(prompt) and prompt.dtype.kind not in "iu"):
            raise bad_value(f"prompt {number}", prompt.tolist(), "a text, or a sequence of token ids")
        return prompt.tolist()

    def _open(self, ids):
        """A prompt that goes on: tokenizers close a text with its end, after which nothing would follow."""
        closed = len(ids) > 1 and self.tokenizer is not None and ids[-1] in self.end_ids
        return ids[:-1] if closed and not self.model.reads_segments else ids

    def _starts(self, start_ids, config):
        if start_ids is None:
            settings = getattr(config, "values", None)  # of a handle; a model of the user's may have any attribute
            start_ids = settings.get("decoder_start_token_id") if isinstance(settings, dict) else None
        if start_ids is None:
            start_ids = getattr(self.tokenizer, "start_id", None)
        if start_ids is None:
            raise KerasSuError("What does the decoder start with? Pass start_ids=, for T5 the id 0.")
        if _is_id(start_ids) or all(_is_id(each) for each in start_ids):
            return [np.atleast_1d(start_ids).tolist()] * len(self.given)
        if len(start_ids) != len(self.given):
            raise bad_value("number of start_ids", len(start_ids), f"one sequence for each of the {len(self.given)} prompts")
        return [[int(token) for token in each] for each in start_ids]

    def _checked_context(self, context):
        context = {name: np.asarray(value) for name, value in (context or {}).items()}
        for name, value in context.items():
            if name not in self.model.context_inputs:
                raise bad_value(
                    "context", name, f"one of {', '.join(self.model.context_inputs) or 'no input: this model has none'}"
                )
            if len(value) != len(self.given):
                raise bad_value(f"rows of context {name!r}", len(value), f"one for each of the {len(self.given)} prompts")
        return context

    def batches(self, size):
        """Numbers of the prompts in batches of similar lengths."""
        texts = self.ids if self.sources is None else self.sources
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        return [order[first : first + size] for first in range(0, len(order), size)]

    def rows(self, numbers):
        """Ids, segments and context for some prompts."""
        ids = [self.ids[number] for number in numbers]
        segments = None if self.segments is None else [self.segments[number] for number in numbers]
        context = {name: value[numbers] for name, value in self.context.items()}
        if self.sources is not None:
            texts = [self.sources[number] for number in numbers]
            longest = max(len(text) for text in texts)
            if not min(len(text) for text in texts):
                raise KerasSuError(
                    f"Prompt {[len(self.sources[n]) for n in numbers].index(0)} is empty. Expected at least one token id."
                )
            pad = self.model.context_padding
            length = longest if pad is None else -(-longest // 16) * 16
            if pad is None and any(len(text) != longest for text in texts):
                raise KerasSuError(
                    "The encoder has no padding id, so that all prompts of a batch must have one length: batch_size=1."
                )
            padded = np.full((len(texts), length), 0 if pad is None else pad, np.int32)
            for row, text in enumerate(texts):
                padded[row, : len(text)] = text
            context[self.source_input] = padded
        for name in self.model.context_inputs:
            if name not in context and name.endswith("Segment") and self.source_input in context:
                context[name] = np.zeros_like(context[self.source_input])
        missing = [name for name in self.model.context_inputs if name not in context]
        if missing:
            raise KerasSuError(
                f"The model also reads {', '.join(missing)}. Pass context={{{missing[0]!r}: array}}, a row for each prompt."
            )
        return ids, segments, context

    def seeds(self, seed):
        """A seed for each prompt."""
        if seed is None:
            seed = np.random.SeedSequence().entropy
        if np.ndim(seed):
            if len(seed) != len(self.given):
                raise bad_value("number of seeds", len(seed), f"one for each of the {len(self.given)} prompts")
            return [np.random.SeedSequence(int(one)) for one in seed]
        return [np.random.SeedSequence([int(seed), number]) for number in range(len(self.given))]


def _is_id(value):
    return isinstance(value, (int, np.integer))
