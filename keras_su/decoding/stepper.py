"""A language model that reads prompts at once and then goes on token by token, compiled."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_su.cache import KVCache
from keras_su.decoding.compiling import Compiler, cache_writer, turned_weights
from keras_su.decoding.token_model import TokenModel
from keras_su.errors import KerasSuError, bad_value

SIZES = 64
"""Texts are given room in multiples of this, so that a program serves many lengths."""


@dataclass(frozen=True)
class Batch:
    """Prompts as arrays, one a row.

    Attributes:
        weights: of the model, when the prompts were given.
        tokens, segments: int32 ``(rows, size)``, left aligned, zeros behind.
        lengths: int32 ``(rows,)``.
        context: tensors that do not depend on the tokens.
        prompt: length that the prompts are padded to.
    """

    weights: list
    tokens: np.ndarray
    segments: np.ndarray
    lengths: np.ndarray
    context: Any
    prompt: int

    @property
    def size(self):
        """Tokens that a row has room for."""
        return self.tokens.shape[1]

    @property
    def room(self):
        """Tokens that every row can generate."""
        return self.size - self.prompt

    def arrays(self):
        """What programs take."""
        return self.context, self.tokens, self.segments, self.lengths


class Stepper:
    """Runs a model for the searches. A program is compiled once for its shapes, which come in few sizes.

    What goes from step to step is the *state*, a dictionary of tensors with a row for each sequence: ``context``; ``slots``,
    those of the :class:`~keras_su.cache.KVCache`; ``tokens`` and ``segments`` as in :class:`Batch`, generated ids included;
    ``lengths`` of the prompts; ``count``, the number of generated tokens; ``last``, the newest of each row.

    Args:
        model: functional ``keras.Model``.
        streams: see :class:`TokenModel`.
        cached: ``False`` reads the whole text again for each token, which every model can.
        segment: segment id of generated tokens; default 1 where segments say which tokens see each other, else 0.
    """

    def __init__(self, model, streams=None, cached=True, segment=None):
        self.model = TokenModel(model, streams)
        if cached:
            self.model.check_cacheable()
        self.cached = cached
        self.segment = int(self.model.reads_segments) if segment is None else int(segment)
        self.variables = [id(v) for v in model.variables]
        self._compiler = Compiler(model)
        self._programs = {}

    # ---- programs

    def batch(self, prompts, max_new_tokens, segments=None, context=None):
        """Arrays for prompts, and what their context gives.

        Args:
            prompts: list of int arrays.
            max_new_tokens: room behind each.
            segments: list of int arrays like ``prompts``; default zeros.
            context: ``{name: array}`` for the inputs of the model that do not grow with the text.
        """
        lengths = np.array([len(prompt) for prompt in prompts], np.int32)
        prompt = _padded(int(lengths.max()))
        size = -(-(prompt + max_new_tokens) // SIZES) * SIZES
        tokens, segment_ids = np.zeros((2, len(prompts), size), np.int32)
        for row, ids in enumerate(prompts):
            tokens[row, : len(ids)] = ids
            if segments is not None:
                segment_ids[row, : len(ids)] = segments[row]
        weights = self._compiler.weights()
        inputs = keras.tree.map_structure(ops.convert_to_tensor, context or {})
        values = []
        if self.model.context:
            read = self._program(("context", _shapes(inputs)), lambda: self._compiler.program(self.model.read_context))
            values = list(read(weights, inputs))
        return Batch(weights, tokens, segment_ids, lengths, values, prompt)

    def begin(self, batch):
        """Read the prompts: hidden states ``(rows, width)`` of their last tokens, and the state."""
        begin = partial(self.read_prompt, batch.size, batch.prompt)
        key = ("begin", batch.prompt, _shapes(batch.arrays()))
        return self._program(key, lambda: self._compiler.program(begin))(batch.weights, *batch.arrays())

    def step(self, batch, state, tokens):
        """One more token for each row, ``tokens`` int32 ``(rows,)``: its hidden states, and the state."""
        step = lambda state, tokens: self.read_token(batch.size, batch.prompt, append(state, tokens))  # noqa: E731
        key = ("step", batch.prompt, batch.size, _shapes(state["tokens"]), _shapes(state["context"]))
        make = lambda: self._compiler.program(step, consumes=(0,), turned=self._turned(len(tokens), head=False))  # noqa: E731
        return self._program(key, make)(batch.weights, state, tokens)

    def score_all(self, batch, hidden):
        """Log-probabilities float32 ``(rows, vocab_size)`` of the next tokens. The head is a small program of its own."""
        make = lambda: self._compiler.program(self.log_probs, turned=self._turned(0, head=True))  # noqa: E731
        return self._program(("all", _shapes(hidden)), make)(batch.weights, hidden)

    def score_candidates(self, batch, hidden, candidates):
        """Logits of the ``candidates`` int32 ``(rows, n)`` only, up to a constant of each row."""
        make = lambda: self._compiler.program(self.model.head.candidate_logits)  # noqa: E731
        return self._program(("candidates", _shapes(hidden), candidates.shape), make)(batch.weights, hidden, candidates)

    def gather(self, batch, state, rows):
        """The state of other rows, ``rows`` int32: beams that continue, split, or end."""
        batched = iter(self.model.context_has_batch())
        is_batched = {
            **state,
            "context": [next(batched) for _ in state["context"]],
            "count": False,
            "slots": [True] * len(state["slots"]),
        }
        is_batched |= dict.fromkeys(("tokens", "segments", "lengths", "last"), True)
        flags = keras.tree.flatten(is_batched)

        def gather(state, rows):
            flat = [ops.take(x, rows, axis=0) if moves else x for x, moves in zip(keras.tree.flatten(state), flags)]
            return keras.tree.pack_sequence_as(state, flat)

        key = ("gather", _shapes(state), rows.shape)
        return self._program(key, lambda: self._compiler.program(gather))(batch.weights, state, rows)

    def run(self, batch, key, start, advance, *arguments):
        """A loop that stays on the device.

        Args:
            batch: the prompts.
            key: hashable, what ``start`` and ``advance`` do.
            start: ``(logits, state, *arguments)`` to a state with ``going``; ``advance``: ``(logits, state)`` to the next.
            arguments: further arrays.

        Returns:
            the last state.
        """
        arrays = (*batch.arrays(), *arguments)
        key = ("loop", key, batch.prompt, _shapes(arrays))
        make = lambda: self._compiler.loop(*self._parts(batch, start, advance), self._turned(len(batch.lengths), head=True))  # noqa: E731
        return self._program(key, make)(batch.weights, *arrays)

    def steps(self, batch, key, start, advance, *arguments):
        """``run``, one token at a time: iterates over the states, each of which is gone when the next is asked for."""
        arrays = (*batch.arrays(), *arguments)
        key = (key, batch.prompt, _shapes(arrays))
        begin, go_on = self._parts(batch, start, advance)
        turned = self._turned(len(batch.lengths), head=True)
        state = self._program(("first", key), lambda: self._compiler.program(begin))(batch.weights, *arrays)
        next_state = self._program(("next", key), lambda: self._compiler.program(go_on, consumes=(0,), turned=turned))
        yield state
        while bool(ops.convert_to_numpy(state["going"])):
            state = next_state(batch.weights, state)
            yield state

    def _parts(self, batch, start, advance):
        def begin(context, tokens, segments, lengths, *arguments):
            hidden, state = self.read_prompt(batch.size, batch.prompt, context, tokens, segments, lengths)
            return start(self.model.head.logits(hidden), state, *arguments)

        def go_on(state):
            hidden, state = self.read_token(batch.size, batch.prompt, state)
            return advance(self.model.head.logits(hidden), state)

        return begin, go_on

    def _program(self, key, make):
        if key not in self._programs:
            self._programs[key] = make()
        return self._programs[key]

    def _turned(self, rows, head):
        table = self.model.head.table if head and self.cached else None
        return turned_weights(self.model.matrices, table, rows) if self.cached else []

    # ---- what programs are made of

    def read_prompt(self, size, prompt, context, tokens, segments, lengths):
        """Hidden states of the last tokens ``(rows, width)``, and the state."""
        state = {"context": context, "tokens": tokens, "segments": segments, "lengths": lengths}
        state |= {"count": ops.zeros((), "int32"), "last": ops.zeros_like(lengths), "slots": []}
        if not self.cached:
            return self._read_all(state), state
        with KVCache(size, prompt, lengths) as cache:
            hidden = self._hidden(context, tokens[:, :prompt], segments[:, :prompt], cache.positions(prompt))
        return _at(hidden, lengths - 1), {**state, "slots": cache.slots}

    def read_token(self, size, prompt, state):
        """Read the newest token of each row: its hidden states ``(rows, width)``, and the state."""
        if not self.cached:
            return self._read_all(state), state
        offset = prompt + state["count"] - 1
        tokens = ops.expand_dims(state["last"], 1)
        with KVCache(size, prompt, state["lengths"], offset, state["slots"], cache_writer()) as cache:
            segments = ops.full_like(tokens, self.segment)
            hidden = self._hidden(state["context"], tokens, segments, cache.positions(1))
        return hidden[:, 0], {**state, "slots": cache.slots}

    def _read_all(self, state):
        length = state["tokens"].shape[1]
        length = length if self.model.capacity is None else min(length, self.model.capacity)
        tokens, lengths = state["tokens"][:, :length], ops.expand_dims(state["lengths"], 1)
        places = ops.expand_dims(ops.arange(length, dtype="int32"), 0)
        generated = ops.logical_and(places >= lengths, places < lengths + state["count"])
        segments = ops.where(generated, self.segment, state["segments"][:, :length])
        hidden = self._hidden(state["context"], tokens, segments, places)
        return _at(hidden, state["lengths"] + state["count"] - 1)

    def _hidden(self, context, tokens, segments, positions):
        positions = ops.broadcast_to(positions, ops.shape(tokens))
        return self.model.run(context, {"tokens": tokens, "segments": segments, "positions": positions})

    def log_probs(self, hidden):
        """Log-probabilities float32 ``(rows, vocab_size)``."""
        return ops.log_softmax(self.model.head.logits(hidden), axis=-1)

    # ---- limits

    def check_lengths(self, prompts, max_new_tokens):
        """Raise when a prompt is empty, or is too long for the positions of the model with what is to follow."""
        for number, prompt in enumerate(prompts):
            if not len(prompt):
                raise KerasSuError(f"Prompt {number} is empty. Expected at least one token id, such as the start token.")
            if min(prompt) < 0 or max(prompt) >= self.model.vocab_size:
                wrong = next(token for token in prompt if not 0 <= token < self.model.vocab_size)
                raise bad_value(f"a token id of prompt {number}", int(wrong), f"an id below {self.model.vocab_size}")
        longest, capacity = max((len(prompt) for prompt in prompts), default=0), self.model.capacity
        if capacity is not None and longest + max_new_tokens > capacity + 1:  # the last token is not read any more
            room = capacity + 1 - longest
            way_out = f"Pass max_new_tokens={room}." if room > 0 else f"Shorten the prompt to {capacity} tokens or fewer."
            raise KerasSuError(
                f"A prompt of {longest} tokens and max_new_tokens={max_new_tokens} exceed the {capacity} positions of the model. "
                + way_out
            )


def append(state, tokens):
    """The state with one more token in each row."""
    place = ops.expand_dims(state["lengths"] + state["count"], 1)
    places = ops.expand_dims(ops.arange(state["tokens"].shape[1], dtype="int32"), 0)
    written = ops.where(ops.equal(places, place), ops.expand_dims(tokens, 1), state["tokens"])
    return {**state, "tokens": written, "count": state["count"] + 1, "last": tokens}


def _at(hidden, places):
    """``hidden`` ``(rows, length, width)`` at one place of each row, ``(rows, width)``."""
    return ops.squeeze(ops.take_along_axis(hidden, ops.reshape(places, (-1, 1, 1)), axis=1), 1)


def _padded(length):
    """The length that prompts are padded to: a power of two up to 32, then a multiple of 32."""
    return 1 << (length - 1).bit_length() if length <= 32 else -(-length // 32) * 32


def _shapes(arrays):
    return tuple((tuple(x.shape), str(x.dtype)) for x in keras.tree.flatten(arrays))


def stepper_for(model, streams=None, cached=True, segment=None):
    """The stepper of a model, kept as long as the model, so that programs are compiled once."""
    key = (tuple(sorted((streams or {}).items())), cached, segment)
    # In the model's dictionary, past Keras' tracking of attributes: a table of our own would keep all models alive.
    steppers = vars(model).setdefault("_keras_su_steppers", {})
    known = steppers.get(key)
    if known is None or known.variables != [id(v) for v in model.variables]:  # quantization and LoRA replace some
        known = steppers[key] = Stepper(model, streams, cached, segment)
    return known
