"""Decoding as a mode of a model: inside a :class:`KVCache`, layers read one more stretch of tokens and remember the earlier ones.

A model is not rebuilt to decode. It is called inside ``with cache:`` on the new tokens alone, and the layers that look at several
tokens ask the cache for the rest: attention for keys and values, masks for the segments and the validity of tokens, positions for
where the stretch begins. Everything else works token by token and does not notice.

A row of the cache has *slots*. The prompt fills the first ones, padded on the right to a common length; what is generated follows
behind the padding, in the same slot for all rows, so that writing is one contiguous copy. Positions are counted without the
padding: a row gives the same numbers alone and in any batch.
"""

from contextvars import ContextVar

from keras import ops

from keras_su.errors import KerasSuError

_ACTIVE = ContextVar("keras_su_cache", default=None)


def current_cache():
    """The cache in use, or ``None``: the model then reads whole sequences."""
    return _ACTIVE.get()


class KVCache:
    """What a model has seen of each row.

    Args:
        size: number of slots of a row.
        prompt: slots of the prompt, its padding included.
        lengths: int32 ``(rows,)``, real lengths of the prompts.
        offset: slot of the first new token: 0 for the prompt, later an int32 scalar tensor.
        slots: tensors of the previous call, ``None`` for the prompt. Each call leaves its own in ``slots``.
        write: function ``(slots, new, offset, axis) -> slots`` that puts ``new`` at ``offset`` of an axis; backends may do it in
            place.
    """

    def __init__(self, size, prompt, lengths, offset=0, slots=None, write=None):
        self.size = size
        self.prompt = prompt
        self.lengths = lengths
        self.offset = offset
        self.slots = []
        self._earlier = None if slots is None else iter(slots)
        self._write = write or _write
        self._extended = {}
        self._node = None
        self._tokens = ()

    def __enter__(self):
        if current_cache() is not None:
            raise KerasSuError("A model is already decoding here. Finish that first; caches do not nest.")
        self._reset = _ACTIVE.set(self)
        return self

    def __exit__(self, *_):
        _ACTIVE.reset(self._reset)

    # ---- what layers ask for

    def extend(self, new, axis=1):
        """All slots of a tensor whose axis ``axis`` are the tokens, ``new`` being the newest; later ones are zeros.

        Calls are told apart by their order, which is the same each time a model runs: a layer that twelve blocks share has
        twelve memories.
        """
        if self._earlier is None:
            shape = list(ops.shape(new))
            shape[axis] = self.size - new.shape[axis]
            slots = ops.concatenate([new, ops.zeros(shape, dtype=new.dtype)], axis=axis)
        else:
            slots = self._write(next(self._earlier), new, self.offset, axis)
        self.slots.append(slots)
        return slots

    def extend_mask(self, mask):
        """``extend`` for the padding mask ``(rows, T)`` that Keras hands from layer to layer: kept once for all of them."""
        if id(mask) not in self._extended:
            # The mask itself is kept, too, lest another tensor be given its id.
            self._extended[id(mask)] = (ops.logical_and(self.extend(ops.cast(mask, "bool")), self.written(mask.shape[1])), mask)
        return self._extended[id(mask)][0]

    def once(self, make):
        """The tensors of ``make()``, computed with the prompt and remembered: what does not depend on the tokens."""
        made = make() if self._earlier is None else tuple(next(self._earlier) for _ in range(2))
        self.slots.extend(made)
        return made

    def extend_heads(self, new):
        """``extend`` for ``(rows, T, heads, width)``, kept head by head: products with one query read it in one stretch."""
        return ops.transpose(self.extend(ops.transpose(new, (0, 2, 1, 3)), axis=2), (0, 2, 1, 3))

    def is_context(self, layer, index):
        """Whether input ``index`` of ``layer`` is given once and for all: states of an encoder, not of the tokens."""
        return self._node is layer and index < len(self._tokens) and not self._tokens[index]

    def running(self, layer, tokens):
        """Say which layer runs now, and which of its inputs depend on the tokens (a tuple of booleans)."""
        self._node, self._tokens = layer, tokens

    def positions(self, length):
        """Positions of the newest ``length`` tokens, int32 ``(rows or 1, length)``."""
        steps = ops.expand_dims(ops.arange(length, dtype="int32"), 0)
        if self._earlier is None:
            return steps
        return ops.expand_dims(self.lengths, 1) + (self.offset - self.prompt) + steps

    def all_positions(self):
        """Positions of all slots, int32 ``(rows, size)``."""
        slots = ops.expand_dims(ops.arange(self.size, dtype="int32"), 0)
        behind = ops.expand_dims(self.lengths, 1) + slots - self.prompt
        return ops.where(slots < self.prompt, ops.broadcast_to(slots, ops.shape(behind)), behind)

    def written(self, length):
        """Which slots hold tokens once the newest ``length`` are in, boolean ``(rows, size)``."""
        slots = ops.expand_dims(ops.arange(self.size, dtype="int32"), 0)
        in_prompt = slots < ops.expand_dims(self.lengths, 1)
        if self._earlier is None:
            return in_prompt
        return ops.logical_or(in_prompt, ops.logical_and(slots >= self.prompt, slots < self.offset + length))

    def newest(self, x, length):
        """The part of ``x`` ``(rows, size, ...)`` that belongs to the newest ``length`` tokens."""
        if self._earlier is None:
            return x[:, :length]
        chosen = self.offset + ops.arange(length, dtype="int32")
        return ops.take(x, chosen, axis=1)


def positions_of(x):
    """Positions of the tokens of ``x`` ``(batch, length, ...)``, int32 ``(batch or 1, length)``."""
    cache = current_cache()
    length = ops.shape(x)[1]
    return ops.expand_dims(ops.arange(length, dtype="int32"), 0) if cache is None else cache.positions(length)


def positions_of_keys(layer, index, x):
    """Positions of what a token can attend to, int32 ``(batch or 1, length)``: ``x``, input ``index`` of ``layer``, and before it
    all earlier tokens."""
    cache = current_cache()
    if cache is None or cache.is_context(layer, index):
        return ops.expand_dims(ops.arange(ops.shape(x)[1], dtype="int32"), 0)
    return cache.all_positions()


def with_first(valid):
    """``valid`` ``(batch, length)``, boolean, with the first token of every sequence counted in."""
    cache = current_cache()
    if cache is None:
        return ops.concatenate([ops.ones_like(valid[:, :1]), valid[:, 1:]], axis=1)
    return ops.logical_or(valid, ops.equal(cache.positions(valid.shape[1]), 0))


def _write(slots, new, offset, axis):
    return ops.slice_update(slots, [offset if number == axis else 0 for number in range(len(slots.shape))], new)
