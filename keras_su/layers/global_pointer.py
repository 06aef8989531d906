"""Scores for spans: every pair of a first and a last token is one candidate."""

import keras
from keras import ops

from keras_su import initializers
from keras_su.errors import bad_value
from keras_su.layers.base import Layer
from keras_su.ops.rotary import apply_rotary_position_embeddings, sinusoidal_embeddings
from keras_su.ops.sequence import sequence_masking
from keras_su.registration import register


@register
class GlobalPointer(Layer):
    """A score for each type and each span of a text (arXiv 2208.03054, kexue.fm/archives/8373).

    Args:
        heads: number of types.
        head_size: width of the vectors of a first and of a last token, for each type.
        RoPE: rotate these vectors by their positions, without which a score does not know how far apart its ends are.
        use_bias: bias of the dense layer.
        tril_mask: exclude spans that end before they start.
        kernel_initializer: of the dense layer.
        fill: the score of what is no span (padding, and those); minus infinity, or a number such as -1e12 for losses and metrics
            that want finite scores. Numbers that a 16-bit dtype does not have become its lowest.

    Call arguments:
        inputs: hidden states ``(batch, length, width)``.
        position_ids: integers ``(batch, length)`` instead of 0, 1, 2, ...

    Returns:
        ``(batch, heads, length, length)``; rows are first tokens, columns are last tokens.

    >>> import numpy as np
    >>> tuple(GlobalPointer(heads=3, head_size=8)(np.ones((2, 5, 16), "float32")).shape)
    (2, 3, 5, 5)
    """

    def __init__(
        self,
        heads,
        head_size,
        RoPE=True,
        use_bias=True,
        tril_mask=True,
        kernel_initializer="lecun_normal",
        fill="-inf",
        **kwargs,
    ):
        super().__init__(**kwargs)
        for name, value in (("heads", heads), ("head_size", head_size)):
            if not isinstance(value, int) or value < 1:
                raise bad_value(f"{type(self).__name__}: {name}", value, "a positive integer")
        if RoPE and head_size % 2:
            raise bad_value(f"{type(self).__name__}: head_size", head_size, "an even number, for RoPE=True")
        self.heads = heads
        self.head_size = head_size
        self.RoPE = RoPE
        self.use_bias = use_bias
        self.tril_mask = tril_mask
        self.kernel_initializer = kernel_initializer
        self.fill = "-inf" if fill == float("-inf") else fill

    def build(self, input_shape):
        self.dense = self._dense("dense", 2 * self.heads * self.head_size, input_shape)
        self.built = True

    def _dense(self, name, units, input_shape):
        initializer = initializers.get(self.kernel_initializer)
        dense = self.sub(keras.layers.Dense, name, units=units, use_bias=self.use_bias, kernel_initializer=initializer)
        dense.build(input_shape)
        return dense

    def call(self, inputs, mask=None, position_ids=None, inputs_mask=None):
        scores = self._scores(inputs, position_ids)
        upper = None
        if self.tril_mask:
            place = ops.arange(ops.shape(inputs)[1])
            upper = ops.less_equal(place[:, None], place)
        return sequence_masking(scores, inputs_mask if mask is None else mask, self.fill, [2, 3], upper)

    def _scores(self, inputs, position_ids):
        pairs = self.dense(inputs)
        pairs = ops.reshape(pairs, (*ops.shape(pairs)[:2], self.heads, 2 * self.head_size))
        first, last = self._rotated(pairs[..., : self.head_size], pairs[..., self.head_size :], position_ids)
        return ops.einsum("bmhd,bnhd->bhmn", first, last)

    def _rotated(self, first, last, position_ids):
        """Both at their positions, and the first scaled for the product."""
        if self.RoPE:
            positions = ops.arange(ops.shape(first)[1])[None] if position_ids is None else position_ids
            first, last = apply_rotary_position_embeddings(sinusoidal_embeddings(positions, self.head_size), first, last)
        return first * self.head_size**-0.5, last

    def compute_mask(self, inputs, mask=None, **kwargs):
        return None

    def compute_output_spec(self, inputs, mask=None, position_ids=None, inputs_mask=None):
        batch, length, _ = inputs.shape
        return keras.KerasTensor((batch, self.heads, length, length), self.compute_dtype)


@register
class EfficientGlobalPointer(GlobalPointer):
    """A :class:`GlobalPointer` with far fewer weights (arXiv 2208.03054, kexue.fm/archives/8877).

    All types share one score for a span; of its own, a type has a score for first and one for last tokens only.

    Arguments, inputs and outputs are those of :class:`GlobalPointer`. Weights in order: the shared dense layer, and that of the
    types, which reads the output of the first.
    """

    def build(self, input_shape):
        self.p_dense = self._dense("p_dense", 2 * self.head_size, input_shape)
        self.q_dense = self._dense("q_dense", 2 * self.heads, (*input_shape[:-1], 2 * self.head_size))
        self.built = True

    def _scores(self, inputs, position_ids):
        pairs = self.p_dense(inputs)
        first, last = self._rotated(pairs[..., ::2], pairs[..., 1::2], position_ids)
        shared = ops.einsum("bmd,bnd->bmn", first, last)
        own = ops.transpose(self.q_dense(pairs), (0, 2, 1)) / 2
        return shared[:, None] + own[:, ::2, None] + own[:, 1::2, :, None]
