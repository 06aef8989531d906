"""Gradients of functions of tensors, and of the variables of a model: the counterpart of ``K.gradients``.

Keras has no gradient that works on every backend. This module is the only one of its package that knows which backend runs.
"""

import contextlib

import keras
from keras import ops

from keras_su.errors import bad_value


def value_and_grad(function, inputs, *, has_aux=False, differentiable=True):
    """The value of a scalar function and its gradients.

    Args:
        function: of one argument, a structure like ``inputs`` that holds tensors; returns a scalar.
        inputs: floating tensors or arrays, or ``keras.Variable`` objects, alone or nested in lists, tuples and dictionaries.
            Variables have the value of their tensor while ``function`` runs, so a model can be called in it.
        has_aux: ``function`` returns a pair, the scalar and anything else made of tensors, which is handed through.
        differentiable: the gradients will be differentiated once more. ``False`` saves memory on PyTorch.

    Returns:
        The pair of value and gradients, or of (value, the rest) and gradients. Gradients have the structure of ``inputs``, they
        are dense, and zero where the value does not depend on an input.

    Raises:
        KerasSuError: an input that is not floating.

    >>> value, gradient = value_and_grad(lambda x: ops.sum(x**3), ops.convert_to_tensor([1.0, 2.0]))
    >>> float(value), [float(g) for g in gradient]
    (9.0, [3.0, 12.0])
    """
    variables = keras.tree.flatten(inputs)
    tensors = [ops.convert_to_tensor(x) for x in variables]
    for tensor in tensors:
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        if not keras.backend.is_float_dtype(dtype):
            raise bad_value("Gradients: the dtype of an input", dtype, "floating numbers; for token ids, ask at their embedding")

    def run(tensors):
        with variables_as(zip(variables, tensors)):
            result = function(keras.tree.pack_sequence_as(inputs, list(tensors)))
        return result if has_aux else (result, ())

    backends = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
    value, aux, gradients = backends[keras.backend.backend()](run, tensors, differentiable)
    return (value, aux) if has_aux else value, keras.tree.pack_sequence_as(inputs, gradients)


def gradients(function, inputs, *, differentiable=True):
    """Gradients of the sum of what a function returns, as ``K.gradients(function(inputs), inputs)``.

    Args:
        function, inputs, differentiable: as in :func:`value_and_grad`, but the result may have any shape.

    Returns:
        Gradients in the structure of ``inputs``. Nested in another call, they are differentiated again.

    >>> cube = lambda x: x**3
    >>> float(gradients(lambda x: gradients(cube, x), 2.0))
    12.0
    """
    return value_and_grad(lambda x: ops.sum(function(x)), inputs, differentiable=differentiable)[1]


@contextlib.contextmanager
def variables_as(pairs):
    """A scope in which some variables have other values, and all others those they had outside.

    Args:
        pairs: ``(variable, tensor)``; a pair without a ``keras.Variable`` is ignored.
    """
    pairs = [(variable, tensor) for variable, tensor in pairs if isinstance(variable, keras.Variable)]
    if not pairs:
        yield
        return
    with keras.StatelessScope(state_mapping=pairs, initialize_variables=False) as scope:
        if scope.original_scope is not None:  # Keras looks into the innermost scope only
            scope.state_mapping = {**scope.original_scope.state_mapping, **scope.state_mapping}
        yield


def _tensorflow(function, tensors, differentiable):
    import tensorflow as tf

    tensors = [tf.identity(x) for x in tensors]  # what else depends on the same tensor is another function
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value, aux = function(tensors)
    found = tape.gradient(value, tensors, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return value, aux, [tf.convert_to_tensor(x) for x in found]


def _jax(function, tensors, differentiable):
    import jax

    (value, aux), found = jax.value_and_grad(function, has_aux=True)(tensors)
    return value, aux, found


def _torch(function, tensors, differentiable):
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    # The fused attention of PyTorch has a gradient, but that has none.
    kernel = sdpa_kernel(SDPBackend.MATH) if differentiable else contextlib.nullcontext()
    with torch.enable_grad(), kernel:
        outer = [differentiable and x.requires_grad for x in tensors]
        tensors = [x.view_as(x) if part else x.detach().requires_grad_() for x, part in zip(tensors, outer)]
        value, aux = function(tensors)
        if not value.requires_grad:
            return value, aux, [torch.zeros_like(x) for x in tensors]
        options = {"create_graph": differentiable, "allow_unused": True, "materialize_grads": True}
        found = torch.autograd.grad(value, tensors, **options)
    return value if differentiable else value.detach(), aux, list(found)


def without_gradients():
    """A scope whose operations are not recorded, for PyTorch, which would keep them alive."""
    if keras.backend.backend() != "torch":
        return contextlib.nullcontext()
    import torch

    return torch.no_grad()


def rewinder():
    """A function that sets the random numbers of dropout back to where they are now.

    On PyTorch dropout without a seed draws from the generator of the process. Elsewhere dropout has a variable of its own, and
    there is nothing to do.
    """
    if keras.backend.backend() != "torch":
        return lambda: None
    import torch

    state = torch.get_rng_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    def rewind():
        torch.set_rng_state(state)
        if devices:
            torch.cuda.set_rng_state_all(devices)

    return rewind
