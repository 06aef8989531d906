"""Layers that look at token ids: attention masks and position ids."""

import keras
from keras import ops

from keras_su import masks
from keras_su.cache import current_cache, positions_of, with_first
from keras_su.errors import bad_value
from keras_su.layers.base import Layer
from keras_su.registration import register


@register
class AttentionMask(Layer):
    """The attention mask of a sequence, from token ids and, where the rule needs them, segment ids.

    Args:
        rules: a rule name or a list of them, joined with *and*: ``"full"``, ``"causal"``, ``"unilm"``, ``"prefix"``,
            ``"packed"`` and what was added with ``keras_su.masks.register_mask``.
        window: look no further than ``window - 1`` tokens away, or ``None``.
        pad_id: token id of padding, or ``None``: every token counts.
        keep_first: the first token counts even when its id is ``pad_id`` (as in bert4keras; switch it off for left padding).

    Call arguments:
        tokens: ids ``(batch, length)``, or their boolean validity.
        segments: ids ``(batch, length)``.

    Returns:
        boolean ``(batch or 1, length or 1, length)``, rows are queries; pass it to attention as ``a_bias``.

    >>> import numpy as np
    >>> tuple(AttentionMask("causal")(np.array([[5, 6, 0]])).shape)
    (1, 3, 3)
    """

    cache_aware = True

    def __init__(self, rules="full", window=None, pad_id=0, keep_first=True, **kwargs):
        super().__init__(**kwargs)
        self.rules = [rules] if isinstance(rules, str) else list(rules)
        self.window = window
        self.pad_id = pad_id
        self.keep_first = keep_first
        if window is not None and window < 1:
            raise bad_value("AttentionMask: window", window, "a positive number of tokens")
        for rule in self.rules:
            masks.get_rule(rule)

    def call(self, tokens, segments=None):
        query, key = masks.views(positions_of(tokens), segments, self._valid(tokens))
        mask = masks.combine(self.rules, query, key, self.window)
        return ops.ones((1, 1, ops.shape(tokens)[1]), dtype="bool") if mask is None else mask

    def _valid(self, tokens):
        if keras.backend.standardize_dtype(tokens.dtype) == "bool":
            return tokens
        if self.pad_id is None:
            return None
        valid = ops.not_equal(tokens, self.pad_id)
        return with_first(valid) if self.keep_first else valid

    def compute_mask(self, inputs, mask=None):
        return None

    def compute_output_spec(self, tokens, segments=None):
        batch, length = tokens.shape
        by_row = segments is not None or self.pad_id is not None or tokens.dtype == "bool"
        square = self.window is not None or any(rule != "full" for rule in self.rules)
        return keras.KerasTensor((batch if by_row else 1, length if square else 1, length), "bool")


@register
class PositionIds(Layer):
    """Positions that count real tokens only: left padding then does not move a text.

    Args:
        pad_id: token id of padding.

    Input: token ids ``(batch, length)``. Returns int32 of the same shape; padding gets position 0.
    """

    cache_aware = True

    def __init__(self, pad_id=0, **kwargs):
        super().__init__(**kwargs)
        self.pad_id = pad_id

    def call(self, tokens):
        valid = ops.cast(ops.not_equal(tokens, self.pad_id), "int32")
        cache = current_cache()
        if cache is None:
            number = ops.cumsum(valid, axis=1)
        else:
            length = tokens.shape[1]
            seen = cache.extend(valid) * ops.cast(cache.written(length), "int32")
            number = cache.newest(ops.cumsum(seen, axis=1), length)
        return (number - 1) * valid

    def compute_mask(self, inputs, mask=None):
        return None

    def compute_output_spec(self, tokens):
        return keras.KerasTensor(tokens.shape, "int32")


@register
class FirstToken(Layer):
    """The vector of the first token, ``(batch, length, width)`` -> ``(batch, width)``."""

    def call(self, inputs):
        return inputs[:, 0]

    def compute_mask(self, inputs, mask=None):
        return None

    def compute_output_spec(self, inputs):
        return keras.KerasTensor((inputs.shape[0], *inputs.shape[2:]), self.compute_dtype)
