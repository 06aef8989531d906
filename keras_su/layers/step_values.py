"""Values that a metric needs from the forward pass of the same training step.

Keras' trainer for JAX hides variables: while a model runs, updates to metrics are lost, and while metrics are computed, weights
read as if they had just been initialised. TensorFlow and PyTorch have no such scopes, and nothing here does anything there.
"""

import weakref

import keras
from keras import ops


def is_shown(variable):
    """Whether ``variable`` can be read and updated at this point of a training step; always true outside of one."""
    scope = _scope()
    return scope is None or scope.get_current_value(variable) is not None


def _scope():
    """The stateless scope that is open here, if any."""
    probe = keras.StatelessScope(initialize_variables=False)
    with probe:
        return probe.original_scope


class StepValues:
    """Tensors of one forward pass, as long as they can be used.

    A gradient must not flow through them: values without one belong to the whole step, not to the part of it that is
    differentiated.
    """

    def __init__(self):
        self._values, self._made_in = [], None

    def add(self, *values):
        """Keep ``values``, beside others of the same forward pass only."""
        scope = _scope()
        if scope is None or keras.backend.backend() != "jax":
            return
        if self._made_in is None or self._made_in() is not scope:
            self._values, self._made_in = [], weakref.ref(scope)
        self._values += [ops.stop_gradient(value) for value in values]

    def get(self):
        """What was kept, or an empty list if that was in a program whose compilation has ended."""
        try:
            return [ops.stop_gradient(value) for value in self._values]
        except TypeError:  # jax.errors.UnexpectedTracerError
            return []

    def clear(self):
        """Forget everything."""
        self.__init__()
