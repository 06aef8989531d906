"""The position-wise feed-forward part of a block, and small layers of the same kind."""

import keras
from keras import ops

from keras_su import activations, initializers
from keras_su.errors import bad_value
from keras_su.layers.base import Layer
from keras_su.registration import register


@register
class FeedForward(Layer):
    """Two dense layers, or a gated linear unit when several activations are given.

    ``output(activation(input(x)))``; with a list of activations the branches are multiplied:
    ``output(a_0(input_0(x)) * a_1(input_1(x)))`` (GLU, arXiv 2002.05202, as in T5.1.1).

    Args:
        units: width of the inner layer.
        activation: an activation, or a list of them for the gated form.
        use_bias: whether the dense layers have biases.
        kernel_initializer: name, configuration or object.

    Input and output: ``(..., width)``. Weights: the branches in order, then the output.

    >>> import numpy as np
    >>> tuple(FeedForward(units=8, activation=["gelu", "linear"])(np.ones((2, 5, 4), "float32")).shape)
    (2, 5, 4)
    """

    token_wise = True

    def __init__(self, units, activation="relu", use_bias=True, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.units = units
        several = isinstance(activation, (list, tuple))
        self.activation = [activations.resolve(a) for a in activation] if several else activations.resolve(activation)
        self.use_bias = use_bias
        self.kernel_initializer = kernel_initializer

    def build(self, input_shape):
        branches = self.activation if isinstance(self.activation, list) else [self.activation]
        for index, activation in enumerate(branches):
            branch = self._dense(f"input_{index}", self.units, activations.get(activation))
            branch.build(input_shape)
            setattr(self, f"i{index}_dense", branch)
        self.o_dense = self._dense("output", input_shape[-1])
        self.o_dense.build((*input_shape[:-1], self.units))
        self._branches = [getattr(self, f"i{index}_dense") for index in range(len(branches))]
        self.built = True

    def _dense(self, name, units, activation=None):
        return self.sub(
            keras.layers.Dense,
            name,
            units=units,
            activation=activation,
            use_bias=self.use_bias,
            kernel_initializer=initializers.get(self.kernel_initializer),
        )

    def call(self, inputs):
        hidden = self._branches[0](inputs)
        for branch in self._branches[1:]:
            hidden = hidden * branch(inputs)
        return self.o_dense(hidden)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, self.compute_dtype)


@register
class Mapping(Layer):
    """A matrix that can be applied both ways: ``x @ kernel``, or ``x @ kernel^T`` with ``mode="transposed"``.

    Factorised embeddings without a mapping of their own for the output (the first Chinese ALBERTs) use it.

    Args:
        units: output width; the transposed direction maps back to the input width.
        kernel_initializer: name, configuration or object.
    """

    token_wise = True

    def __init__(self, units, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.kernel_initializer = kernel_initializer

    def build(self, input_shape):
        initializer = initializers.get(self.kernel_initializer)
        self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1], self.units), initializer=initializer)
        self.built = True

    def call(self, inputs, mode="forward"):
        if mode not in ("forward", "transposed"):
            raise bad_value("Mapping: mode", mode, "'forward' or 'transposed'")
        return ops.matmul(inputs, self.kernel if mode == "forward" else ops.transpose(self.kernel))

    def compute_output_spec(self, inputs, mode="forward"):
        width = self.units if mode == "forward" else self.kernel.shape[0]
        return keras.KerasTensor((*inputs.shape[:-1], width), self.compute_dtype)


@register
class SoftCap(Layer):
    """``cap * tanh(x / cap)``: numbers between ``-cap`` and ``cap`` (logits of Gemma 2).

    Args:
        cap: the bound.
    """

    token_wise = True

    def __init__(self, cap, **kwargs):
        super().__init__(**kwargs)
        self.cap = cap

    def call(self, inputs):
        return ops.tanh(inputs / self.cap) * self.cap

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, self.compute_dtype)
