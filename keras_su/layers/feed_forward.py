"""The position-wise feed-forward part of a block."""

import keras

from keras_su import activations, initializers
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
