"""Positions that act inside attention: rotation tables and relative distances."""

import math

import keras
from keras import ops

from keras_su import initializers
from keras_su.cache import current_cache, positions_of, positions_of_keys
from keras_su.errors import bad_value
from keras_su.layers.base import Layer
from keras_su.ops.rotary import sinusoidal_embeddings
from keras_su.registration import register


@register
class RotaryPositionEmbedding(Layer):
    """The angle table of RoPE (arXiv 2104.09864), to be passed to attention with ``p_bias="rotary"``.

    Args:
        output_dim: key size of the attention heads, or of the part of it that rotates; even.
        base: wavelength base.
        custom_position_ids: inputs are then ``[x, position_ids]`` instead of ``x``.
        scaling: dictionary, see :func:`keras_su.ops.rotary.rotary_frequencies`.

    Returns:
        float32 ``(1, length, output_dim)``, or ``(batch, length, output_dim)`` with custom positions; float32 under every policy.

    >>> import numpy as np
    >>> from keras_su.layers import MultiHeadAttention
    >>> x = np.random.rand(2, 5, 32).astype("float32")
    >>> table = RotaryPositionEmbedding(8)(x)
    >>> tuple(MultiHeadAttention(heads=4, head_size=8)([x, x, x, table], p_bias="rotary").shape)
    (2, 5, 32)
    """

    cache_aware = True

    def __init__(self, output_dim, base=10000.0, custom_position_ids=False, scaling=None, **kwargs):
        super().__init__(**kwargs)
        self.output_dim = output_dim
        self.base = base
        self.custom_position_ids = custom_position_ids
        self.scaling = scaling

    def call(self, inputs):
        if self.custom_position_ids:
            _, positions = self.several(inputs, "x", "position_ids")
        else:
            positions = positions_of(inputs)
        # The length matters to a dynamic scaling only, and there not before the capacity is exceeded.
        length = None if current_cache() is None else 1
        return sinusoidal_embeddings(positions, self.output_dim, self.base, self.scaling, length)

    @property
    def capacity(self):
        """How many tokens can be read one by one, ``None`` for any number. Beyond, a dynamic scaling turns all keys anew."""
        dynamic = self.scaling and self.scaling.get("type") == "dynamic"
        return self.scaling["original_max_position_embeddings"] if dynamic else None

    def compute_mask(self, inputs, mask=None):
        return None

    def compute_output_spec(self, inputs):
        x = self.several(inputs, "x", "position_ids")[0] if self.custom_position_ids else inputs
        rows = x.shape[0] if self.custom_position_ids else 1
        return keras.KerasTensor((rows, x.shape[1], self.output_dim), "float32")


@register
class RelativePositionEmbedding(Layer):
    """Clipped relative distances (Shaw et al., arXiv 1803.02155), for ``p_bias="typical_relative"``.

    Args:
        input_dim: odd number of rows; distances are clipped to ``+-(input_dim - 1) / 2``.
        output_dim: key size of the attention heads.
        embeddings_initializer: ``"Sinusoidal"`` for NEZHA, whose table is fixed (set ``trainable=False``).

    Inputs ``[q, v]``, of which only the lengths are used. Returns ``(q length, v length, output_dim)``; with a batch axis in
    front while decoding, where ``v`` stands for all tokens so far.
    """

    cache_aware = True

    def __init__(self, input_dim, output_dim, embeddings_initializer="zeros", **kwargs):
        super().__init__(**kwargs)
        self.input_dim = input_dim
        self.output_dim = output_dim
        self.embeddings_initializer = embeddings_initializer

    def build(self, input_shape):
        initializer = initializers.get(self.embeddings_initializer)
        if self.embeddings_initializer == "Sinusoidal":  # a fixed table: nothing to train, store or load
            self._table = lambda: ops.convert_to_tensor(initializer((self.input_dim, self.output_dim), "float32"))
        else:
            self.embeddings = self.add_weight(name="embeddings", shape=(self.input_dim, self.output_dim), initializer=initializer)
            self._table = lambda: ops.convert_to_tensor(self.embeddings)
        self.built = True

    def call(self, inputs):
        query, key = self.several(inputs, "q", "v")
        distances = ops.expand_dims(positions_of_keys(self, 1, key), 1) - ops.expand_dims(positions_of(query), 2)
        if current_cache() is None:
            distances = distances[0]
        return ops.cast(ops.take(self._table(), self._buckets(distances), axis=0), self.compute_dtype)

    def _buckets(self, distances):
        reach = (self.input_dim - 1) // 2
        return ops.clip(distances, -reach, reach) + reach

    def compute_mask(self, inputs, mask=None):
        return None

    def compute_output_spec(self, inputs):
        query, key = self.several(inputs, "q", "v")
        return keras.KerasTensor((query.shape[1], key.shape[1], self.output_dim), self.compute_dtype)


@register
class RelativePositionEmbeddingT5(RelativePositionEmbedding):
    """Logarithmically bucketed relative distances of T5 (arXiv 1910.10683), for ``p_bias="t5_relative"``.

    Args:
        input_dim: number of buckets, 32 in T5.
        output_dim: number of heads.
        max_distance: distance from which on everything shares the last bucket.
        bidirectional: encoders look both ways, decoders only back.
        embeddings_initializer: of the table.

    Inputs ``[q, v]``. Returns ``(q length, v length, heads)``.
    """

    def __init__(self, input_dim, output_dim, max_distance=128, bidirectional=True, embeddings_initializer="zeros", **kwargs):
        super().__init__(input_dim, output_dim, embeddings_initializer, **kwargs)
        self.max_distance = max_distance
        self.bidirectional = bidirectional
        exact = input_dim // (4 if bidirectional else 2)
        if exact < 1:
            raise bad_value(f"{self.name}: input_dim", input_dim, f"at least {4 if bidirectional else 2} buckets")
        if max_distance <= exact:
            raise bad_value(
                f"{self.name}: max_distance", max_distance, f"more than {exact}, the number of distances with a bucket each"
            )

    def _buckets(self, distances):
        count, offset, back = self.input_dim, 0, -distances
        if self.bidirectional:
            count //= 2
            offset = ops.cast(back < 0, "int32") * count
            back = ops.abs(back)
        else:
            back = ops.maximum(back, 0)
        exact = count // 2
        # The logarithm is only used beyond ``exact``; below, the clamp keeps it away from log(0).
        far = ops.cast(ops.maximum(back, exact), "float32") / exact
        logarithmic = exact + ops.cast(ops.log(far) / math.log(self.max_distance / exact) * (count - exact), "int32")
        return offset + ops.where(back < exact, back, ops.minimum(logarithmic, count - 1))
