"""A Lambda layer that finds out the shape of its output more often than Keras' does."""

import keras

from keras_su.errors import KerasSuError
from keras_su.registration import register

# Two lengths for what is not known, all even: functions that take every second row need that, and a length of the output
# that is the same for both does not depend on the input.
_TRIALS = ((4, 6), (8, 10))


@register
class Lambda(keras.layers.Lambda):
    """``keras.layers.Lambda`` for functions such as ``lambda x: x[::2] + x[1::2]``, which need an even number of rows.

    Keras tries the function with an odd number to find out the shape of its output; this layer tries even ones.

    Args:
        function: of a tensor or a list of tensors; it may also take ``mask`` and ``training``.
        output_shape: of the output without the batch, where trying the function does not tell it.
        mask: of the output: a tensor, or a function of inputs and mask. By default the output has none.
        arguments: dictionary of further arguments of the function.

    A saved model can be loaded when the function is a registered one: ``keras.saving.register_keras_serializable``.

    >>> x = keras.Input((3,))
    >>> keras.ops.shape(Lambda(lambda x: x[::2] * x[1::2])(x))
    (None, 3)
    """

    def __init__(self, function, output_shape=None, mask=None, arguments=None, **kwargs):
        super().__init__(function, output_shape=output_shape, mask=mask, arguments=arguments, **kwargs)
        self.supports_masking = True  # or Keras would warn of every ``lambda x: x[:, 0]`` behind a mask

    def compute_output_spec(self, inputs, mask=None, training=None):
        if self._output_shape is not None:
            return super().compute_output_spec(inputs)
        try:
            first, second = (self._try(inputs, *lengths) for lengths in _TRIALS)
        except Exception as error:
            hint = "If it works on data, say what comes out: output_shape=."
            raise KerasSuError(
                f"{self.name}: tried to find the shape of its output, the function failed: {error}. {hint}"
            ) from error
        return keras.tree.map_structure(_common, first, second)

    def _try(self, inputs, rows, length):
        def known(tensor):
            shape = [rows if n == 0 and d is None else length if d is None else d for n, d in enumerate(tensor.shape)]
            return keras.KerasTensor(shape, dtype=tensor.dtype)

        return keras.Operation.compute_output_spec(self, keras.tree.map_structure(known, inputs))


def _common(first, second):
    """The shape of which both are examples."""
    shape = [a if a == b else None for a, b in zip(first.shape, second.shape)]
    return keras.KerasTensor(shape, dtype=first.dtype)
