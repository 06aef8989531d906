"""The base of all layers here: configuration from attributes, sub-layers that share the precision policy, masks that survive."""

import inspect

import keras
import numpy as np

from keras_su.errors import KerasSuError


class Layer(keras.layers.Layer):
    """A Keras layer with three house rules.

    1. Every constructor argument is kept as an attribute of the same name; the configuration is read from those attributes.
    2. Sub-layers are made with :meth:`sub`, which hands the dtype policy on (Keras does not) and restores a quantized one.
    3. Padding masks pass through unless a subclass says otherwise.

    A decoder runs on a few tokens at a time, so each layer says how it takes that. A layer that says nothing is refused.

    Attributes:
        token_wise: the output at a token depends on the input at that token only.
        cache_aware: it looks at several tokens and asks :func:`keras_su.cache.current_cache` for the earlier ones.
        attends: it is attention, cache-aware and called with a mask that must not look ahead.
    """

    token_wise = False
    cache_aware = False
    attends = False

    def __init__(self, *, sub_dtypes=None, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self._sub_dtypes = dict(sub_dtypes or {})

    def sub(self, layer_class, name, **arguments):
        """Make the sub-layer ``name``; its variables are called ``<this layer>/<name>/...``."""
        dtype = self._sub_dtypes.get(name)
        policy = self.dtype_policy if dtype is None else keras.dtype_policies.deserialize(dict(dtype))
        return layer_class(name=name, dtype=policy, **arguments)

    def rematerialized_call(self, layer_call, *args, **kwargs):
        call, floats = of_floats(lambda *arguments: layer_call(*arguments, **kwargs), args)
        recomputing = super().rematerialized_call(call, *args)
        return lambda *_, **__: recomputing(*floats)

    def get_output_at(self, index):
        """The output of the layer's call number ``index``; -1 is the last one.

        >>> class Pair(Layer):
        ...     def call(self, x):
        ...         return x[:, :2]
        >>> pair = Pair()
        >>> pair(keras.Input((4,))).shape, pair.get_output_at(-1).shape
        ((None, 2), (None, 2))
        """
        return self._tensors_at(index, "outputs")

    def get_input_at(self, index):
        """The input of the layer's call number ``index``."""
        return self._tensors_at(index, "input_tensors")

    def _tensors_at(self, index, which):
        calls = self._inbound_nodes
        if not -len(calls) <= index < len(calls):
            raise KerasSuError(f"{self.name} was called {len(calls)} times on Keras tensors; there is no call number {index}.")
        tensors = getattr(calls[index], which)
        return tensors[0] if len(tensors) == 1 else list(tensors)

    def several(self, inputs, *names):
        """``inputs`` (tensors or their shapes) if it is a list with an entry for each name, otherwise an error that says so."""
        is_list = isinstance(inputs, (list, tuple)) and (isinstance(inputs[0], (list, tuple)) or hasattr(inputs[0], "shape"))
        if not is_list or len(inputs) != len(names):
            given = f"{len(inputs)} inputs" if is_list else "one tensor"
            raise KerasSuError(f"{self.name}: got {given}, expected a list of {len(names)}: [{', '.join(names)}].")
        return inputs

    def quantize(self, mode, type_check=True, config=None):
        """Nothing of its own: Keras visits the sub-layers, where the matrices are, one by one."""

    def get_config(self):
        config = super().get_config()
        # An argument without an attribute is of a class that writes its own configuration.
        config |= {name: _plain(getattr(self, name)) for name in _constructor_arguments(type(self)) if hasattr(self, name)}
        # quantize() changes the policies of sub-layers one by one; without this record the file could not be read back.
        changed = {
            layer.name: keras.dtype_policies.serialize(layer.dtype_policy)
            for layer in self._layers
            if layer.dtype_policy != self.dtype_policy
        }
        if changed:
            config["sub_dtypes"] = changed
        return config


def of_floats(call, arguments):
    """``call(*arguments)`` as a function of the floating tensors among the arguments, and these tensors.

    TensorFlow recomputes functions of such tensors only; masks and ids are bound beforehand.
    """
    leaves = keras.tree.flatten(arguments)
    floating = [keras.backend.is_float_dtype(leaf.dtype) for leaf in leaves]

    def bound(*floats):
        values = iter(floats)
        merged = [next(values) if is_float else leaf for leaf, is_float in zip(leaves, floating)]
        return call(*keras.tree.pack_sequence_as(arguments, merged))

    return bound, [leaf for leaf, is_float in zip(leaves, floating) if is_float]


def _constructor_arguments(layer_class):
    """Names of the arguments: those of the class, and through ``**kwargs`` those of the classes that it is derived from."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = []
    for one in layer_class.__mro__[: layer_class.__mro__.index(Layer)]:
        if "__init__" in vars(one):
            parameters = inspect.signature(one.__init__).parameters.values()
            names += [p.name for p in parameters if p.kind in kinds and p.name not in ("self", "sub_dtypes", *names)]
            if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
                break
    return names


def _plain(value):
    """JSON form of a constructor argument."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return keras.saving.serialize_keras_object(value)
