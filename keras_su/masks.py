"""Who may attend to whom.

A mask is a small named *rule* over two views of a token sequence, one for the queries and one for the keys. Rules are joined
with *and*; the padding of the keys is always one of the conditions. ``layers.AttentionMask`` turns rule names into a tensor
once per model; :func:`matrix` gives the same thing as an array to look at.

Convention everywhere: boolean, ``True`` = may attend.
"""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_su.cache import current_cache
from keras_su.errors import KerasSuError, unknown_name


class TokenView(NamedTuple):
    """What a rule knows about tokens. Fields are integer or boolean tensors that broadcast against each other.

    For the queries they have shape ``(batch or 1, T, 1)``, for the keys ``(batch or 1, 1, S)``.
    """

    index: Any
    "place in the sequence, counted from 0"
    segment: Any = None
    "segment id, ``None`` where a model has no segments"
    order: Any = None
    "cumulative sum of the segment ids: the moment at which a token becomes visible in a UniLM"
    valid: Any = None
    "``False`` for padding"


_RULES = {}
_SEGMENT_RULES = set()


def register_mask(name, segments=False):
    """Decorator: make a function ``rule(query: TokenView, key: TokenView) -> bool tensor`` available under ``name``.

    Args:
        name: what to call it in ``AttentionMask(rules=...)``, ``mask_mode=`` and ``Mask(rules=...)``.
        segments: whether the rule reads segment ids.

    >>> @register_mask("diagonal")
    ... def diagonal(query, key):
    ...     return query.index == key.index
    """

    def decorate(rule):
        _RULES[name] = rule
        (_SEGMENT_RULES.add if segments else _SEGMENT_RULES.discard)(name)
        return rule

    return decorate


def reads_segments(rules):
    """Whether one of the named rules needs segment ids."""
    return any(rule in _SEGMENT_RULES for rule in rules)


def get_rule(name):
    """The rule registered under ``name``."""
    if name not in _RULES:
        raise unknown_name("mask rule", name, _RULES, "Register your own with keras_su.masks.register_mask.")
    return _RULES[name]


def rule_names():
    """Names of all registered rules."""
    return sorted(_RULES)


@register_mask("full")
def full(query, key):
    """Every token sees every token."""
    return None


@register_mask("causal")
def causal(query, key):
    """A token sees itself and what stands before it."""
    return key.index <= query.index


@register_mask("unilm", segments=True)
def unilm(query, key):
    """Segment 0 sees all of itself, later segments see everything up to themselves (UniLM, arXiv 1905.03197).

    With several turns, each run of segment 0 after a segment 1 becomes visible at once, in one block.
    """
    return key.order <= query.order


@register_mask("prefix", segments=True)
def prefix(query, key):
    """The leading run of segment 0 is visible to everybody, the rest is causal (prefix language model).

    A later token of segment 0 is not part of the prefix: it has seen what stands before it, and would hand that on.
    """
    return ops.logical_or(key.order == 0, key.index <= query.index)


@register_mask("packed", segments=True)
def packed(query, key):
    """Only tokens with the same segment id see each other: several texts packed into one row."""
    return key.segment == query.segment


def views(index, segment=None, valid=None):
    """Query and key views of one sequence from ``(batch or 1, length)`` tensors.

    While decoding, the tensors describe the newest tokens, and the key view all tokens so far, in the slots of the cache.
    """
    cache, length = current_cache(), ops.shape(index)[1]
    keys = (index, segment, valid)
    if cache is not None:
        seen = cache.written(length)
        keys = (
            cache.all_positions(),
            None if segment is None else cache.extend(segment),
            seen if valid is None else ops.logical_and(seen, cache.extend(valid)),
        )
    order = None if segment is None else ops.cumsum(ops.cast(keys[1], "int32"), axis=1)
    query_order = order if order is None or cache is None else cache.newest(order, length)
    query = TokenView(*(None if f is None else ops.expand_dims(f, 2) for f in (index, segment, query_order, valid)))
    key = TokenView(*(None if f is None else ops.expand_dims(f, 1) for f in (keys[0], keys[1], order, keys[2])))
    return query, key


def combine(rules, query, key, window=None):
    """The and of all ``rules``, of ``|query - key| < window`` and of the validity of the keys.

    Returns:
        A boolean tensor that broadcasts to ``(batch, T, S)``, or ``None`` when everything is visible.
    """
    for rule in rules:
        if reads_segments([rule]) and key.segment is None:
            raise KerasSuError(
                f"The mask rule {rule!r} reads segment ids, but none were given. Pass segments=segment_ids in the call."
            )
    conditions = [get_rule(rule)(query, key) for rule in rules]
    if window is not None:
        conditions.append(ops.abs(query.index - key.index) < window)
    conditions.append(key.valid)
    conditions = [c for c in conditions if c is not None]
    if not conditions:
        return None
    result = conditions[0]
    for condition in conditions[1:]:
        result = ops.logical_and(result, condition)
    return result


def matrix(rules, length, *, segments=None, valid=None, window=None):
    """The mask of one sequence as a boolean array ``(length, length)``, rows are queries.

    >>> matrix("causal", 3).astype(int).tolist()
    [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    >>> matrix("unilm", 4, segments=[0, 0, 1, 1]).astype(int).tolist()
    [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    """
    rules = (rules,) if isinstance(rules, str) else tuple(rules)
    row = lambda values, dtype: None if values is None else ops.convert_to_tensor(np.asarray(values)[None], dtype=dtype)  # noqa: E731
    query, key = views(row(np.arange(length), "int32"), row(segments, "int32"), row(valid, "bool"))
    result = combine(rules, query, key, window)
    if result is None:
        return np.ones((length, length), bool)
    return np.array(np.broadcast_to(ops.convert_to_numpy(result)[0], (length, length)))
