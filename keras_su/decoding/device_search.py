"""Greedy search and sampling on the device: a whole text without the host, as one compiled loop."""

from keras import ops

from keras_su.decoding.processors import History
from keras_su.decoding.stepper import append


class DeviceSearch:
    """One token after the other until all rows have their end ids.

    Args:
        search: :class:`~keras_su.decoding.search.Greedy` or :class:`~keras_su.decoding.search.Sample`.
        processors: list of :class:`~keras_su.decoding.processors.Processor`.
    """

    def __init__(self, search, processors):
        self.search = search
        self.processors = [*processors, *search.truncations()]

    def key(self):
        """What distinguishes the program of this search from others."""
        return (type(self.search), *(_key(processor) for processor in self.processors))

    def start(self, logits, state, end_ids, min_ends, steps, uniforms):
        """First token.

        Args:
            logits: ``(rows, vocab_size)``, log-probabilities up to a constant of each row.
            state: see :class:`~keras_su.decoding.stepper.Stepper`.
            end_ids: int32 ``(n,)``.
            min_ends, steps: int32 scalars: end ids of a text, and most tokens.
            uniforms: float32 ``(rows, size)``, what samples are drawn with.
        """
        rows = state["lengths"]
        state = {
            **state,
            "ends": ops.zeros_like(rows),
            "produced": ops.zeros_like(rows),
            "done": ops.zeros_like(rows, dtype="bool"),
            "stuck": ops.zeros_like(rows, dtype="bool"),
            "scores": ops.zeros_like(rows, dtype="float32"),
            "end_ids": end_ids,
            "min_ends": min_ends,
            "steps": steps,
            "uniforms": uniforms,
        }
        return self.advance(logits, state)

    def advance(self, logits, state):
        """Choose the next token of each row from ``logits`` ``(rows, vocab_size)``."""
        history = History(state["tokens"], state["lengths"] + state["count"], state["count"], state["ends"])
        # Without processors, nothing but the score needs the logits normalised.
        scores = ops.log_softmax(logits, axis=-1) if self.processors else logits
        for processor in self.processors:
            scores = processor.apply(scores, history)
        possible = ops.max(scores, axis=-1) > -1e30  # neither minus infinity nor NaN
        uniform = ops.squeeze(ops.take(state["uniforms"], ops.reshape(state["count"], (1,)), axis=1), 1)
        tokens = ops.cast(self.search.choose(scores, uniform), "int32")
        chosen = ops.squeeze(ops.take_along_axis(scores, ops.expand_dims(tokens, 1), axis=1), 1)
        if not self.processors:
            chosen = chosen - ops.logsumexp(logits, axis=-1)
        writes = ops.logical_and(possible, ops.logical_not(state["done"]))
        tokens = ops.where(writes, tokens, state["last"])
        is_end = ops.any(ops.equal(ops.expand_dims(tokens, 1), ops.expand_dims(state["end_ids"], 0)), axis=1)
        ends = state["ends"] + ops.cast(ops.logical_and(writes, is_end), "int32")
        stuck = ops.logical_or(state["stuck"], ops.logical_and(ops.logical_not(possible), ops.logical_not(state["done"])))
        done = ops.logical_or(ops.logical_or(state["done"], stuck), ends >= state["min_ends"])
        state = append(state, tokens)
        return {
            **state,
            "ends": ends,
            "produced": state["produced"] + ops.cast(writes, "int32"),
            "done": done,
            "stuck": stuck,
            "scores": state["scores"] + ops.where(writes, chosen, 0.0),
            "going": ops.logical_and(state["count"] < state["steps"], ops.logical_not(ops.all(done))),
        }


def _key(processor):
    """Equal for processors that do the same."""
    return (type(processor), *((name, _hashable(value)) for name, value in sorted(vars(processor).items())))


def _hashable(value):
    if isinstance(value, (list, tuple)):
        return tuple(_hashable(v) for v in value)
    if hasattr(value, "tobytes"):
        return (value.shape, str(value.dtype), value.tobytes())
    return value
