"""From prompts to texts: the front door of decoding."""

from dataclasses import dataclass, field

import numpy as np
from keras import ops

from keras_su.decoding.beam import beam_search, no_token_left
from keras_su.decoding.device_search import DeviceSearch
from keras_su.decoding.host_search import host_steps
from keras_su.decoding.model_step import ModelStep
from keras_su.decoding.processors import Processor
from keras_su.decoding.prompts import Prompts
from keras_su.decoding.search import Beam, Greedy
from keras_su.decoding.stepper import stepper_for
from keras_su.errors import bad_value


@dataclass(frozen=True)
class Generation:
    """What was written for a prompt.

    Attributes:
        tokens: generated ids with their end ids, ``(length,)`` int64.
        text: the same as text without end ids; ``None`` without a tokenizer.
        score: sum of the processed log-probabilities of ``tokens``, as the search ranks it.
        finished: whether it has its end ids, or was cut at ``max_new_tokens``.
        alternatives: further results for the prompt: the next best of a beam, or further samples.
    """

    tokens: np.ndarray
    text: str | None
    score: float
    finished: bool
    alternatives: tuple = field(default=(), repr=False)


@dataclass(frozen=True)
class Piece:
    """One more token of a prompt, while the text is being written.

    Attributes:
        prompt: number of the prompt.
        token: the id.
        text: what the token adds to the text; empty for an end id, and while a character is not complete.
    """

    prompt: int
    token: int
    text: str | None


def generate(
    model,
    prompts,
    *,
    search=None,
    max_new_tokens=64,
    end_ids=None,
    min_ends=1,
    processors=(),
    tokenizer=None,
    segments=None,
    segment=None,
    start_ids=None,
    context=None,
    seed=None,
    batch_size=32,
    cached=True,
    streams=None,
):
    """Continue prompts, or answer them, with any language model of this package: causal, UniLM, or encoder-decoder.

    Every token costs one step over a cache of what was read, on all backends, compiled. Without processors that run on the host
    (constraints, callables) greedy search and sampling are one program for the whole text. Prompts of different lengths share a
    batch, and a prompt has the same result in any batch.

    Args:
        model: functional ``keras.Model`` with a language model's head, built here, loaded from a ``.keras`` file or extended; or
            the handle that ``build_transformer_model(..., return_keras_model=False)`` returns.
        prompts: texts (with a ``tokenizer``) or id sequences; one of them gives one result, a list gives a list. For an
            encoder-decoder they are what the encoder reads.
        search: `Greedy`, `Sample` or `Beam`; default greedy.
        max_new_tokens: most tokens to generate.
        end_ids: id, or ids, that end a text; default the tokenizer's end, none without a tokenizer.
        min_ends: how many of them it takes.
        processors: list of `Processor`, constraints, or functions ``(log_probs, hypotheses) -> log_probs``, applied in order.
        tokenizer: any tokenizer of :mod:`keras_su.tokenizers`.
        segments: segment ids of the prompts, like ``prompts``; default zeros.
        segment: segment id of what is generated; default 1 for a UniLM or prefix mask, else 0.
        start_ids: what the decoder behind an encoder begins with; default the model's or the tokenizer's start.
        context: ``{input name: array}`` with a row for each prompt, for inputs that do not grow with the text.
        seed: of `Sample`: an integer, or one for each prompt; the same seed draws the same text, whatever the batch. Default: a
            new one each time.
        batch_size: rows that the model reads together.
        cached: ``False`` reads the whole text for each token, which works with layers that do not know the cache.
        streams: ``{input name: "tokens" | "segments" | "positions"}``, where the names of inputs do not tell.

    Returns:
        `Generation`, or a list of them.

    Raises:
        KerasSuError: an empty prompt, a prompt that is too long for the model, a layer that cannot be decoded step by step, or no
            token that is allowed. The model remains as it was.

    >>> from keras_su import build_transformer_model
    >>> config = dict(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    >>> model = build_transformer_model({**config, "max_position_embeddings": 16}, model="gpt2")
    >>> [len(result.tokens) for result in generate(model, [[1, 2, 3], [4]], max_new_tokens=5)]
    [5, 5]
    """
    job = _Job(
        model,
        prompts,
        search=search,
        max_new_tokens=max_new_tokens,
        end_ids=end_ids,
        min_ends=min_ends,
        processors=processors,
        tokenizer=tokenizer,
        segments=segments,
        segment=segment,
        start_ids=start_ids,
        context=context,
        seed=seed,
        cached=cached,
        streams=streams,
    )
    results = [None] * len(job.prompts)
    for only in job.prompts.batches(max(1, batch_size // job.rows)):
        for prompt, found in zip(only, job.search_batch(only)):
            best, *others = [job.generation(*each) for each in found]
            results[prompt] = Generation(best.tokens, best.text, best.score, best.finished, tuple(others))
    return results[0] if job.prompts.single else results


def stream(model, prompts, *, search=None, **options):
    """:func:`generate`, token by token.

    Takes the arguments of ``generate``, `Beam` and ``batch_size`` excepted: all prompts are one batch.

    Yields:
        `Piece`, in the order of steps and prompts.

    >>> from keras_su import build_transformer_model
    >>> config = dict(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    >>> model = build_transformer_model({**config, "max_position_embeddings": 16}, model="gpt2")
    >>> [piece.prompt for piece in stream(model, [[1, 2, 3], [4]], max_new_tokens=2)]
    [0, 1, 0, 1]
    """
    if isinstance(search, Beam) or getattr(search, "n", 1) > 1:
        raise bad_value("stream: search", search, "Greedy() or Sample() with n=1: a beam knows its best text only at the end")
    return _Job(model, prompts, search=search, **options).pieces()


class _Job:
    """One call of ``generate``: its arguments, checked and completed."""

    def __init__(
        self,
        model,
        prompts,
        *,
        search=None,
        max_new_tokens=64,
        end_ids=None,
        min_ends=1,
        processors=(),
        tokenizer=None,
        segments=None,
        segment=None,
        start_ids=None,
        context=None,
        seed=None,
        cached=True,
        streams=None,
    ):
        for name, value in (("max_new_tokens", max_new_tokens), ("min_ends", min_ends)):
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise bad_value(name, value, "a positive integer")
        self.stepper = stepper_for(getattr(model, "model", model), streams, cached, segment)
        self.search = Greedy() if search is None else search
        self.rows = self.search.width if isinstance(self.search, Beam) else self.search.n
        self.max_new_tokens = int(max_new_tokens)
        self.min_ends = int(min_ends)
        self.tokenizer = tokenizer
        if end_ids is None:
            end_ids = getattr(tokenizer, "end_id", None)
        self.end_ids = np.unique(np.atleast_1d(np.asarray([] if end_ids is None else end_ids, np.int64)))
        self.processors = list(processors)
        self.prompts = Prompts(prompts, self.stepper.model, tokenizer, self.end_ids)
        self.prompts.complete(segments, start_ids, context, getattr(model, "config", None))
        self.stepper.check_lengths(self.prompts.ids, self.max_new_tokens)
        self.uniforms = None
        if not isinstance(self.search, (Beam, Greedy)):
            seeds = self.prompts.seeds(seed)
            draw = lambda one: np.random.Generator(np.random.Philox(one)).random((self.search.n, self.max_new_tokens))  # noqa: E731
            self.uniforms = np.minimum(np.array([draw(one) for one in seeds]), 1 - 2**-20)

    def search_batch(self, only):
        """For each prompt of ``only`` a list of ``(tokens, score, finished)``, best first."""
        if isinstance(self.search, Beam):
            return self._beam(only)
        if all(isinstance(processor, Processor) for processor in self.processors):
            return self._on_device(only)
        found = {(prompt, sample): ([], [], [False]) for prompt in only for sample in range(self.rows)}
        for prompts, samples, tokens, log_probs, ended in self._host_steps(only):
            for prompt, sample, token, log_prob, end in zip(prompts.tolist(), samples.tolist(), tokens, log_probs, ended):
                ids, scores, finished = found[prompt, sample]
                ids.append(int(token))
                scores.append(float(log_prob))
                finished[0] = bool(end)
        results = {key: (np.array(ids, np.int64), sum(scores), finished[0]) for key, (ids, scores, finished) in found.items()}
        return [[results[prompt, sample] for sample in range(self.rows)] for prompt in only]

    def _limits(self):
        return {"max_new_tokens": self.max_new_tokens, "end_ids": self.end_ids, "min_ends": self.min_ends}

    def _beam(self, only):
        search = self.search
        step = ModelStep(self.stepper, self._batch(only), search.width, only)
        options = {"beam": search.width, "length_penalty": search.length_penalty, "groups": search.groups}
        options |= {"diversity": search.diversity, "processors": self.processors, "only": only}
        found = beam_search(step, self.prompts.ids, **self._limits(), **options)
        return [[(each.tokens, each.score, each.finished) for each in some[: search.n_best]] for some in found]

    def _host_steps(self, only):
        step = ModelStep(self.stepper, self._batch(only), self.rows, only)
        options = {"processors": self.processors, "uniforms": self.uniforms, "only": only}
        return host_steps(step, self.prompts.ids, self.search, **self._limits(), **options)

    def _on_device(self, only):
        batch, *rest = self._device_arguments(only)
        state = {name: ops.convert_to_numpy(x) for name, x in self.stepper.run(batch, *rest).items() if name in DEVICE_RESULTS}
        self._check_not_stuck(state, only)
        found = []
        for row in range(len(only) * self.rows):
            start = int(state["lengths"][row])
            tokens = state["tokens"][row, start : start + int(state["produced"][row])].astype(np.int64)
            found.append((tokens, float(state["scores"][row]), bool(state["ends"][row] >= self.min_ends)))
        return [found[first : first + self.rows] for first in range(0, len(found), self.rows)]

    def _device_arguments(self, only):
        """Arguments of ``Stepper.run``."""
        batch = self._batch(only, repeat=self.rows)
        rows, width = batch.tokens.shape
        uniforms = np.zeros((rows, width), np.float32)
        if self.uniforms is not None:
            drawn = self.uniforms[only].reshape(-1, self.max_new_tokens)
            uniforms[: len(drawn), : drawn.shape[1]] = drawn
        search = DeviceSearch(self.search, self.processors)
        numbers = np.int32(self.min_ends), np.int32(self.max_new_tokens)
        return batch, search.key(), search.start, search.advance, self.end_ids.astype(np.int32), *numbers, uniforms

    def _check_not_stuck(self, state, only):
        stuck = np.flatnonzero(state["stuck"][: len(only) * self.rows]).tolist()
        if stuck:
            row = min(stuck, key=lambda row: only[row // self.rows])
            raise no_token_left(only[row // self.rows], int(state["produced"][row]))

    def _batch(self, only, repeat=1):
        """The prompts of ``only`` as arrays; rows up to a power of two, that few sizes are compiled."""
        rows = np.repeat(np.asarray(only), repeat)
        rows = np.concatenate([rows, np.full((1 << (len(rows) - 1).bit_length()) - len(rows), rows[0])])
        prompts, segments, context = self.prompts.rows(rows)
        return self.stepper.batch(prompts, self.max_new_tokens, segments, context)

    def generation(self, tokens, score, finished):
        return Generation(tokens, self._text(tokens), score, finished)

    def _text(self, tokens):
        if self.tokenizer is None:
            return None
        return self.tokenizer.decode([int(token) for token in tokens if token not in self.end_ids])

    def pieces(self):
        """The results as an iterator over `Piece`."""
        only = list(range(len(self.prompts)))
        if not only:
            return
        texts, ids = [""] * len(only), [[] for _ in only]
        for prompts, tokens in self._streamed(only):
            for prompt, token in zip(prompts, tokens):
                ids[prompt].append(token)
                yield Piece(prompt, token, self._growth(ids, texts, prompt))

    def _streamed(self, only):
        if not all(isinstance(processor, Processor) for processor in self.processors):
            for prompts, _, tokens, _, _ in self._host_steps(only):
                yield prompts.tolist(), tokens.tolist()
            return
        before = np.zeros(len(only), int)
        for state in self.stepper.steps(*self._device_arguments(only)):
            here = {name: ops.convert_to_numpy(state[name])[: len(only)] for name in ("produced", "last", "stuck")}
            self._check_not_stuck(here, only)
            new = np.flatnonzero(here["produced"] > before)
            before = here["produced"]
            yield new.tolist(), here["last"][new].tolist()

    def _growth(self, ids, texts, prompt):
        if self.tokenizer is None:
            return None
        text = self._text(ids[prompt])
        if text.endswith("\ufffd"):  # a character of several byte tokens is not complete
            return ""
        grown = text[len(texts[prompt]) :]
        texts[prompt] = text
        return grown


DEVICE_RESULTS = ("tokens", "lengths", "produced", "scores", "ends", "stuck")
