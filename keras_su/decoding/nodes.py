"""The nodes of a functional graph: what made a tensor, what it was made of, and whether token by token."""

import keras

TOKEN_WISE = (
    keras.layers.Activation,
    keras.layers.Add,
    keras.layers.Average,
    keras.layers.Dense,
    keras.layers.Dropout,
    keras.layers.ELU,
    keras.layers.Embedding,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
    keras.layers.InputLayer,
    keras.layers.LayerNormalization,
    keras.layers.LeakyReLU,
    keras.layers.Maximum,
    keras.layers.Minimum,
    keras.layers.Multiply,
    keras.layers.PReLU,
    keras.layers.ReLU,
    keras.layers.RMSNormalization,
    keras.layers.Subtract,
)
"""Layers of Keras that take tokens one by one."""

ELEMENTWISE = {"Absolute", "Add", "Cast", "Divide", "Exp", "Gelu", "Log", "Maximum", "Minimum", "Multiply", "Negative", "Relu"}
ELEMENTWISE |= {"Rsqrt", "Sigmoid", "Silu", "Sqrt", "Square", "Subtract", "Tanh", "TrueDivide"}
"""Operations of ``keras.ops`` on Keras tensors that do."""


def is_token_wise(operation):
    """Whether the output at a token depends on the input at that token only, as far as is known."""
    if isinstance(operation, keras.layers.Layer):
        return getattr(operation, "token_wise", False) or isinstance(operation, TOKEN_WISE)
    return type(operation).__name__ in ELEMENTWISE


def node_of(tensor):
    """The node that made a Keras tensor, ``None`` for an input."""
    history = tensor._keras_history
    node = history.operation._inbound_nodes[history.node_index]
    return None if node.is_input else node


def inputs_of(node):
    """The Keras tensors that an operation was called on, without the mask that Keras found on its input and passed along.

    That mask was computed for whole texts. When the layer runs again without it, Keras takes the mask that the layers before have
    just computed, which know the cache.
    """
    arguments = node.arguments
    mask = arguments.kwargs.get("mask")
    found = arguments.args and mask is not None and getattr(arguments.args[0], "_keras_mask", None) is mask
    return [x for x in node.input_tensors if not (found and x is mask)]
