"""Decoders in the manner of bert4keras: a subclass says how the next token is scored, for one sample at a time."""

import functools

import keras
import numpy as np

from keras_su.decoding.beam import Hypotheses, best_continuations, next_scores, no_token_left
from keras_su.decoding.host_search import possible_scores
from keras_su.decoding.model_step import ModelStep
from keras_su.decoding.predict_step import PredictStep, check_rtype, checked_pair, converted, logarithms
from keras_su.decoding.processors import positive_integer
from keras_su.decoding.prompts import Prompts
from keras_su.decoding.search import Sample
from keras_su.decoding.stepper import stepper_for
from keras_su.decoding.truncation import sampling_processors
from keras_su.errors import bad_value


class AutoRegressiveDecoder:
    """Base of decoders that write one text for one sample; subclasses define ``predict``, or name a ``cached_model``.

    Scripts for bert4keras run unchanged but for the import. They read the whole text again for every token. A subclass whose
    attribute ``cached_model`` is a language model needs no ``predict``: its ``inputs`` are the prompt (see ``prompt``), every
    token costs one step over a cache, and the results are the same. For many prompts at once, other searches and streams there
    is :func:`keras_su.decoding.generate`.

    Args:
        start_id: id that every output begins with; ``None`` for an empty beginning.
        end_id: id, or ids, that end an output; ``None`` for none.
        maxlen: most tokens to generate.
        minlen: an output ends when it has at least so many ids, ``start_id`` and end ids counted. An end id before that does not
            end it; what follows does with the next one.

    Attributes:
        first_output_ids: the beginning, ``(1, 1)``, or ``(1, 0)`` without a ``start_id``.
        models: what ``last_token`` made.
        cached_model: functional ``keras.Model`` with probabilities or logits of each next token, or the handle that
            ``build_transformer_model(..., return_keras_model=False)`` returns; ``None`` to use ``predict``.

    >>> class Counter(AutoRegressiveDecoder):
    ...     @AutoRegressiveDecoder.wraps(default_rtype="probas")
    ...     def predict(self, inputs, output_ids, states):
    ...         last = np.concatenate([inputs[0], output_ids], axis=1)[:, -1]
    ...         return 0.9 * np.eye(6)[(last + 1) % 6] + 0.1 / 6
    >>> decoder = Counter(start_id=None, end_id=0, maxlen=10)
    >>> decoder.beam_search([[1, 2]], topk=2).tolist()
    [3, 4, 5, 0]
    >>> [ids.tolist() for ids in decoder.random_sample([[1, 2]], n=2, topk=1, seed=0)]
    [[3, 4, 5, 0], [3, 4, 5, 0]]

    >>> from keras_su import build_transformer_model
    >>> config = dict(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    >>> class Writer(AutoRegressiveDecoder):
    ...     cached_model = build_transformer_model({**config, "max_position_embeddings": 16}, model="gpt2")
    >>> Writer(start_id=None, end_id=None, maxlen=5).beam_search([[1, 2, 3]], topk=2).shape
    (5,)
    """

    cached_model = None

    def __init__(self, start_id, end_id, maxlen, minlen=1):
        self.start_id = start_id
        self.end_id = end_id
        self.maxlen = maxlen
        self.minlen = minlen
        self.models = {}
        self.first_output_ids = np.array([[] if start_id is None else [start_id]], np.int64)

    # ---- what subclasses define

    def predict(self, inputs, output_ids, states, *_):
        """Score the next token. To be defined below ``@AutoRegressiveDecoder.wraps(...)``.

        Args:
            inputs: list of arrays ``(rows, ...)``, what the search was given, repeated for every row; copies to be overwritten.
            output_ids: what each row has so far, ``start_id`` included, ``(rows, length)`` int64.
            states: what was returned for the step before, with the rows that these ones continue; see ``wraps``.

        Returns:
            array or tensor ``(rows, vocab_size)``; or ``(array, states)`` with ``use_states``.
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not say how tokens are scored. Define predict(self, inputs, output_ids, states) below "
            "@AutoRegressiveDecoder.wraps(default_rtype='probas'), or set the attribute cached_model."
        )

    def prompt(self, inputs):
        """What ``cached_model`` reads first: ``(token_ids, segment_ids)``, the latter ``None`` for zeros.

        By default the first and second of ``inputs``. ``first_output_ids`` follow; only an encoder-decoder reads the prompt with
        its encoder and begins its output with them. Generated tokens have segment 1 in a UniLM model, else 0.
        """
        token_ids, segment_ids = [*inputs, None, None][:2]
        return ([] if token_ids is None else token_ids), segment_ids

    @staticmethod
    def wraps(default_rtype="probas", use_states=False):
        """Decorator of ``predict``, which then accepts ``(inputs, output_ids, states, temperature=1, rtype=default_rtype)`` and
        returns ``(result, states)``.

        Args:
            default_rtype: what ``predict`` returns, ``"probas"`` or ``"logits"``. Whoever calls it asks for either: probabilities
                at a temperature, or logarithms of them (plus 1e-12), ``-inf`` in rows that have none.
            use_states: whether ``predict`` returns ``(result, states)``. Of states that are arrays, or lists, tuples and
                dictionaries of arrays, those with a first axis as long as ``output_ids`` follow their rows: they are repeated,
                reordered and dropped with them. Everything else comes back as it was returned.
        """
        check_rtype("default_rtype", default_rtype)

        def decorate(predict):
            @functools.wraps(predict)
            def wrapped(self, inputs, output_ids, states, temperature=1, rtype=default_rtype):
                check_rtype("rtype", rtype)
                result = predict(self, inputs, output_ids, states)
                result, states = checked_pair(result, "a pair, for use_states=True") if use_states else (result, None)
                return converted(result, default_rtype, rtype, temperature), states

            return wrapped

        return decorate

    @staticmethod
    def set_rtype(default="probas"):
        """The older form of ``wraps``: the third argument of ``predict`` is the number of the step, from 0."""

        def decorate(predict):
            @functools.wraps(predict)
            def counting(self, inputs, output_ids, step):
                step = 0 if step is None else step
                return predict(self, inputs, output_ids, step), step + 1

            return AutoRegressiveDecoder.wraps(default, use_states=True)(counting)

        return decorate

    def last_token(self, model):
        """The model with its outputs at the last position only, ``(rows, vocab_size)``; the same object at every call.

        It shares the layers and adds none. Its ``predict`` shows no progress bar.
        """
        if model not in self.models:
            source = getattr(model, "model", model)
            if not getattr(source, "inputs", None):
                raise bad_value("last_token: model", model, "a functional keras.Model")
            outputs = [output[:, -1] for output in source.outputs]
            last = keras.Model(source.input, outputs[0] if len(outputs) == 1 else outputs)
            last.predict = functools.partial(last.predict, verbose=0)
            self.models[model] = last
        return self.models[model]

    # ---- searches

    def beam_search(self, inputs, topk, states=None, temperature=1, min_ends=1, *, processors=()):
        """The best text that a beam of ``topk`` finds, by the sum of log-probabilities; 1 is greedy search.

        The search is over when the best hypothesis has ended. Others that end before are dropped, and the beam shrinks by them,
        while ``generate`` with ``Beam`` keeps what has ended as a candidate. Of equal scores the earlier hypothesis and the lower
        id come first.

        Args:
            inputs: list of lists or arrays without batch axis: one sample, such as ``[token_ids, segment_ids]``.
            topk: hypotheses, at most; it may exceed the vocabulary.
            states: for the first call of ``predict``.
            temperature: of the probabilities.
            min_ends: how many end ids an output takes. One in ``first_output_ids`` counts.
            processors: as for :func:`keras_su.decoding.generate`; they see ``output_ids``, not ``inputs``.

        Returns:
            ids with start and end, ``(length,)`` int64.

        Raises:
            KerasSuError: an argument is out of range, scores have a wrong shape or are NaN, or no token of any hypothesis has a
                probability above zero. The decoder remains usable, after errors of ``predict`` as well.
        """
        width = positive_integer("topk", topk)
        step = self._step(inputs, states, temperature, "logits", width)
        alive = self._start(min_ends)
        for number in range(self.maxlen):
            scores = next_scores(step, alive, processors)
            rows, tokens, totals = best_continuations(scores, alive, width, 1, 0.0)
            if not len(rows):
                raise no_token_left(0, number)
            alive, ended, outputs = self._extended(alive, rows, tokens, totals, min_ends)
            if ended[0]:
                return outputs[0]
            width -= int(ended.sum())
        return next(iter(alive))

    def random_sample(self, inputs, n, topk=None, topp=None, states=None, temperature=1, min_ends=1, *, seed=None, processors=()):
        """``n`` texts by chance.

        Args:
            inputs, states, temperature, min_ends, processors: as for ``beam_search``.
            n: how many.
            topk: draw from the k most probable tokens only.
            topp: then, from the most probable ones that together reach p.
            seed: integer, or ``numpy.random.Generator``. Default: numpy's global generator, which ``numpy.random.seed`` sets.

        Returns:
            list of ``n`` id arrays as of ``beam_search``, in the order in which they ended.

        Raises:
            KerasSuError: as for ``beam_search``, and when a sample cannot go on.
        """
        n = positive_integer("n", n)
        draw = np.random.random_sample if seed is None else np.random.default_rng(seed).random
        processors = [*processors, *sampling_processors(top_k=topk, top_p=topp)]
        step = self._step(inputs, states, temperature, "probas", n)
        alive, results = self._start(min_ends), []
        for number in range(self.maxlen):
            scores = possible_scores(step, alive, processors)
            rows = np.arange(len(alive)) if number else np.zeros(n, np.int64)
            chances = np.minimum(draw(len(rows)), 1 - 2**-40)
            tokens = Sample().choose_on_host(scores[rows], chances)
            alive, ended, outputs = self._extended(alive, rows, tokens, alive.scores[rows] + scores[rows, tokens], min_ends)
            results += [output for output, end in zip(outputs, ended) if end]
            if not len(alive):
                return results
        return results + list(alive)

    # ---- their parts

    def _end_ids(self):
        return np.atleast_1d(np.array([] if self.end_id is None else self.end_id, np.int64))

    def _start(self, min_ends):
        positive_integer("min_ends", min_ends)
        alive = Hypotheses.start([self.first_output_ids[0]])
        alive.ends = np.isin(self.first_output_ids, self._end_ids()).sum(axis=1)
        return alive

    def _extended(self, alive, rows, tokens, scores, min_ends):
        """One token more: the hypotheses that go on; which of all have ended, ``(rows,)`` bool; and the ids of all."""
        is_end = np.isin(tokens, self._end_ids())
        ends = alive.ends[rows] + is_end
        outputs = list(alive.extend(rows, tokens, scores, ends))
        ended = is_end & (ends >= min_ends) & (len(outputs[0]) >= self.minlen)
        on = np.flatnonzero(~ended)
        return alive.extend(rows[on], tokens[on], scores[on], ends[on]), ended, outputs

    def _step(self, inputs, states, temperature, rtype, width):
        """Function from `Hypotheses` to log-probabilities: of ``predict``, asked for ``rtype``, or of ``cached_model``."""
        if self.cached_model is None:
            return PredictStep(self.predict, inputs, states, temperature, rtype)
        if states is not None:
            raise bad_value("states", states, "None, for cached_model keeps its own")
        step = self._cached_step(inputs, width)
        return lambda hypotheses: logarithms(converted(step(hypotheses), "logits", rtype, temperature), rtype)

    def _cached_step(self, inputs, width):
        model = getattr(self.cached_model, "model", self.cached_model)
        stepper = stepper_for(model)
        token_ids, segment_ids = (None if ids is None else np.array(ids, np.int64).tolist() for ids in self.prompt(inputs))
        first = self.first_output_ids[0].tolist()
        prompts = Prompts([token_ids], stepper.model, None, [])
        starts = first or None if prompts.source_input else None
        prompts.complete(None, starts, None, getattr(self.cached_model, "config", None))
        if prompts.source_input is None:
            prompts.ids = [token_ids + first]
            prompts.segments = [(segment_ids or [0] * len(token_ids)) + [stepper.segment] * len(first)]
            if len(prompts.segments[0]) != len(prompts.ids[0]):
                raise bad_value("length of segment_ids", len(segment_ids), f"that of token_ids, {len(token_ids)}")
        stepper.check_lengths(prompts.ids, 1)
        room = np.inf if stepper.model.capacity is None else stepper.model.capacity + 1 - len(prompts.ids[0])
        if self.maxlen > room:
            raise bad_value("maxlen", self.maxlen, f"at most {room}, what the prompt leaves of the model's positions")
        ids, segments, context = prompts.rows([0])
        return ModelStep(stepper, stepper.batch(ids, self.maxlen, segments, context), width)
