"""Token and position embeddings."""

import keras
from keras import ops

from keras_su import initializers
from keras_su.cache import current_cache, positions_of, with_first
from keras_su.errors import KerasSuError, bad_value, unknown_name
from keras_su.layers.base import Layer
from keras_su.ops.rotary import sinusoidal_embeddings
from keras_su.registration import register


@register
class Embedding(keras.layers.ReversibleEmbedding):
    """Keras' reversible embedding with bert4keras' call: ``mode="dense"`` multiplies by the transposed table.

    With ``mask_zero=True`` token 0 (or ``pad_id``) is padding, except in the first place, which always counts as a token (T5
    decoders start with id 0).

    Args:
        input_dim: vocabulary size.
        output_dim: width.
        pad_id: which token is padding, when ``mask_zero``.
        **kwargs: those of ``keras.layers.ReversibleEmbedding``.

    Call arguments:
        inputs: token ids ``(batch, length)``, or hidden states ``(batch, length, output_dim)`` in dense mode.
        mode: ``"embedding"`` or ``"dense"``.
    """

    token_wise = True

    def __init__(self, *args, pad_id=0, **kwargs):
        super().__init__(*args, **kwargs)
        self.pad_id = pad_id
        self.supports_masking = True  # in dense mode, too, where Keras would drop the mask with a warning

    def call(self, inputs, mode="embedding"):
        if mode not in ("embedding", "dense"):
            raise bad_value("Embedding: mode", mode, "'embedding' or 'dense'")
        if mode == "dense":
            return super().call(inputs, reverse=True)
        # Not the parent's branch: it attaches a mask that would hide a first token 0.
        return keras.layers.Embedding.call(self, inputs)

    def quantized_call(self, inputs, mode="embedding"):
        return super().quantized_call(inputs, reverse=mode == "dense")

    def quantize(self, mode=None, type_check=True, config=None):
        return super().quantize(mode, type_check=False, config=config)

    def compute_mask(self, inputs, mask=None):
        if len(inputs.shape) > 2 or not self.mask_zero:  # hidden states keep the mask they carry
            return mask
        return with_first(ops.not_equal(inputs, self.pad_id))

    def get_config(self):
        return {**super().get_config(), "pad_id": self.pad_id}

    def compute_output_spec(self, inputs, mode="embedding"):
        shape = (*inputs.shape[:-1], self.input_dim) if mode == "dense" else (*inputs.shape, self.output_dim)
        return keras.KerasTensor(shape, self.compute_dtype)

    def compute_output_shape(self, input_shape, mode="embedding"):
        return (*input_shape[:-1], self.input_dim) if mode == "dense" else (*input_shape, self.output_dim)


@register
class EmbeddingRows(Layer):
    """Rows of an embedding table, ``(1, count, output_dim)`` whatever the input: tables that are not looked up with ids.

    Args:
        input_dim: rows of the table, kept whole for checkpoints.
        output_dim: width.
        count: number of rows to return from the first on, default all. With 1, ids that are always zero.
        embeddings_initializer: of the table.
    """

    token_wise = True

    def __init__(self, input_dim, output_dim, count=None, embeddings_initializer="uniform", **kwargs):
        super().__init__(**kwargs)
        self.input_dim = input_dim
        self.output_dim = output_dim
        self.count = count or input_dim
        self.embeddings_initializer = embeddings_initializer

    def build(self, input_shape):
        initializer = initializers.get(self.embeddings_initializer)
        self.embeddings = self.add_weight(name="embeddings", shape=(self.input_dim, self.output_dim), initializer=initializer)
        self.built = True

    def call(self, inputs):
        return ops.cast(ops.convert_to_tensor(self.embeddings)[None, : self.count], self.compute_dtype)

    def compute_mask(self, inputs, mask=None):
        return None

    def compute_output_spec(self, inputs):
        return keras.KerasTensor((1, self.count, self.output_dim), self.compute_dtype)


MERGE_MODES = ("add", "concat", "mul", "zero")


class _Positional(Layer):
    """What position embeddings share: where the positions come from, and how the result meets the input."""

    def __init__(self, output_dim, merge_mode, custom_position_ids, **kwargs):
        super().__init__(**kwargs)
        if merge_mode not in MERGE_MODES:
            raise unknown_name("merge_mode", merge_mode, MERGE_MODES)
        self.output_dim = output_dim
        self.merge_mode = merge_mode
        self.custom_position_ids = custom_position_ids

    def _positions(self, inputs):
        """The input and its positions ``(batch or 1, length)``."""
        if self.custom_position_ids:
            x, positions = self.several(inputs, "x", "position_ids")
            return x, ops.cast(positions, "int32")
        return inputs, positions_of(inputs)

    def _merge(self, x, embedded):
        if self.merge_mode == "zero":
            return embedded
        embedded = ops.cast(embedded, x.dtype)
        if self.merge_mode == "add":
            return x + embedded
        if self.merge_mode == "mul":
            return x * (1 + embedded)
        return ops.concatenate([x, ops.broadcast_to(embedded, (*ops.shape(x)[:2], self.output_dim))], axis=-1)

    def compute_mask(self, inputs, mask=None):
        return mask[0] if self.custom_position_ids and isinstance(mask, (list, tuple)) else mask

    def compute_output_spec(self, inputs):
        x = self.several(inputs, "x", "position_ids")[0] if self.custom_position_ids else inputs
        if self.merge_mode == "zero":
            rows = x.shape[0] if self.custom_position_ids else 1
            return keras.KerasTensor((rows, x.shape[1], self.output_dim), self.compute_dtype)
        width = x.shape[2] if self.merge_mode in ("add", "mul") else x.shape[2] + self.output_dim
        return keras.KerasTensor((*x.shape[:2], width), self.compute_dtype)


@register
class PositionEmbedding(_Positional):
    """Trainable absolute positions.

    Args:
        input_dim: rows of the table, the longest text unless ``hierarchical``.
        output_dim: width.
        merge_mode: ``"add"``; ``"mul"`` = ``x * (1 + e)``; ``"zero"`` = return the embedding alone; ``"concat"``.
        hierarchical: ``True`` (alpha 0.4) or a number in (0, 1) other than 0.5: decompose position ``i * n + j`` into
            ``alpha * u_i + (1 - alpha) * u_j`` so that n rows reach n * n positions (kexue.fm/archives/7947).
        embeddings_initializer: of the table.
        custom_position_ids: inputs are then ``[x, position_ids]``.
        offset: position p is row ``p + offset`` of the table (BART and RoBERTa reserve the first rows).

    Raises:
        KerasSuError: a text longer than the table, where the length is known.
    """

    cache_aware = True

    def __init__(
        self,
        input_dim,
        output_dim,
        merge_mode="add",
        hierarchical=None,
        embeddings_initializer="zeros",
        custom_position_ids=False,
        offset=0,
        **kwargs,
    ):
        super().__init__(output_dim, merge_mode, custom_position_ids, **kwargs)
        self.offset = offset
        self.input_dim = input_dim
        self.hierarchical = hierarchical
        self.embeddings_initializer = embeddings_initializer
        if hierarchical and hierarchical is not True and (not 0 < hierarchical < 1 or hierarchical == 0.5):
            raise bad_value(
                "hierarchical", hierarchical, "True or a number between 0 and 1 other than 0.5, where positions would collide"
            )

    def build(self, input_shape):
        initializer = initializers.get(self.embeddings_initializer)
        self.embeddings = self.add_weight(name="embeddings", shape=(self.input_dim, self.output_dim), initializer=initializer)
        self.built = True

    @property
    def capacity(self):
        """The longest text, in tokens."""
        return self.input_dim**2 if self.hierarchical else self.input_dim - self.offset

    def call(self, inputs):
        x, positions = self._positions(inputs)
        capacity = self.capacity
        length = None if self.custom_position_ids else x.shape[1]
        if current_cache() is not None:  # slots are padded; who decodes has compared the texts with the capacity
            positions = ops.minimum(positions, capacity - 1)
        elif isinstance(length, int) and length > capacity:
            way_out = "" if self.hierarchical else " or build the model with hierarchical_position=True"
            raise KerasSuError(
                f"{self.name}: the text has {length} tokens, but the position table reaches only {capacity}. "
                f"Truncate the text (maxlen={capacity}){way_out}."
            )
        return self._merge(x, self._look_up(positions + self.offset if self.offset else positions))

    def _look_up(self, positions):
        table = ops.convert_to_tensor(self.embeddings)
        if not self.hierarchical:
            return ops.take(table, positions, axis=0)
        alpha = 0.4 if self.hierarchical is True else self.hierarchical
        table = (table - alpha * table[:1]) / (1 - alpha)
        coarse = ops.take(table, positions // self.input_dim, axis=0)
        fine = ops.take(table, positions % self.input_dim, axis=0)
        return alpha * coarse + (1 - alpha) * fine


@register
class SinusoidalPositionEmbedding(_Positional):
    """Fixed sinusoidal positions, sines and cosines interleaved; no weights.

    Args:
        output_dim: even width.
        merge_mode: as in :class:`PositionEmbedding`.
        custom_position_ids: inputs are then ``[x, position_ids]``.
    """

    cache_aware = True

    def __init__(self, output_dim, merge_mode="add", custom_position_ids=False, **kwargs):
        super().__init__(output_dim, merge_mode, custom_position_ids, **kwargs)

    def call(self, inputs):
        x, positions = self._positions(inputs)
        embedded = sinusoidal_embeddings(positions, self.output_dim)
        return self._merge(x, ops.cast(embedded, self.compute_dtype) if self.merge_mode == "zero" else embedded)
