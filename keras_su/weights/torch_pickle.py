"""A pickle reader that understands the tensors of PyTorch and nothing else; no code named in a file is ever imported or run.

A pickle calls whatever functions it names, so that loading an untrusted file with the ordinary reader is running it. Here every
name is looked up in a short list, and what it gives are the stand-ins below: they only note where a tensor lies in its storage.
"""

import pickle
from collections import OrderedDict
from typing import NamedTuple

import numpy as np

from keras_su.errors import CheckpointError
from keras_su.weights.raw_file import BFLOAT16, FLOAT8_E4M3, FLOAT8_E5M2, damaged


class Storage(NamedTuple):
    """A flat run of values somewhere in the file: the key of its bytes, their dtype, the part that is meant (in values)."""

    key: str
    dtype: np.dtype
    start: int
    count: int


class Tensor(NamedTuple):
    """A tensor as a view into a storage; ``offset`` and ``strides`` count values of ``dtype``."""

    storage: Storage
    dtype: np.dtype
    offset: int
    shape: tuple
    strides: tuple


class TensorUnpickler(pickle.Unpickler):
    """Reads one pickle of nested containers, numbers, strings and tensors.

    After ``load()``, ``storages`` has the dtype of every storage key that was met.
    """

    def __init__(self, file, path):
        super().__init__(file, encoding="utf-8")
        self._path = path
        self.storages = {}

    def load(self):
        try:
            return super().load()
        except CheckpointError:
            raise
        except (pickle.UnpicklingError, EOFError, AttributeError, TypeError, ValueError, LookupError, OverflowError) as error:
            raise damaged(self._path, f"its pickle cannot be read ({type(error).__name__}: {error})") from None

    def find_class(self, module, name):
        known = _GLOBALS.get(f"{module}.{name}")
        if known is None:
            raise CheckpointError(
                f"{self._path} asks for {module}.{name}, which is not part of a tensor. For safety only tensors in dictionaries "
                "are read, and nothing of the file is run. If you trust its source, load it with PyTorch and save the state_dict "
                "as safetensors."
            )
        return known

    def persistent_load(self, saved):
        kind, storage_type, key, _, count = saved[:5]
        if kind != "storage" or not isinstance(storage_type, _StorageType):
            raise CheckpointError(f"{self._path} refers to {str(kind)!r} outside of its pickle; only tensor storages are known.")
        view = saved[5] if len(saved) > 5 else None  # legacy files: (key, start, count) of a part of the storage
        start, count = (0, count) if view is None else view[1:]
        self.storages[key] = storage_type.dtype
        return Storage(key, storage_type.dtype, _whole(start), _whole(count))


# The stand-ins have no attributes that a pickle could set (its BUILD instruction writes to any object it can reach).


class _RebuildTensor:
    __slots__ = ()

    def __call__(self, storage, offset, shape, strides, *ignored):
        return _tensor(storage, storage.dtype, offset, shape, strides)


class _RebuildTensorOfType:
    __slots__ = ()

    def __call__(self, storage, offset, shape, strides, requires_grad, hooks, dtype, *ignored):
        return _tensor(storage, dtype.dtype, offset, shape, strides)


class _RebuildParameter:
    __slots__ = ()

    def __call__(self, tensor, *ignored):
        return tensor


class _RebuildSubclass:
    __slots__ = ()

    def __call__(self, function, subclass, arguments, state):
        if not isinstance(function, (_RebuildTensor, _RebuildTensorOfType, _RebuildParameter)):
            raise TypeError("a tensor subclass is rebuilt by an unknown function")
        return function(*arguments)


class _Inert:
    """Stands for a class whose objects are of no interest here: calling it gives nothing."""

    __slots__ = ()

    def __call__(self, *ignored):
        return None


class _StorageType(str):
    """``torch.FloatStorage`` and the like, and ``torch.float32`` and the like."""

    __slots__ = ()

    @property
    def dtype(self):
        return _DTYPES[self]


_DTYPES = {
    "float64": np.dtype("<f8"),
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": BFLOAT16,
    "float8_e4m3fn": FLOAT8_E4M3,
    "float8_e5m2": FLOAT8_E5M2,
    "int64": np.dtype("<i8"),
    "int32": np.dtype("<i4"),
    "int16": np.dtype("<i2"),
    "int8": np.dtype("i1"),
    "uint64": np.dtype("<u8"),
    "uint32": np.dtype("<u4"),
    "uint16": np.dtype("<u2"),
    "uint8": np.dtype("u1"),
    "bool": np.dtype("?"),
    "complex64": np.dtype("<c8"),
    "complex128": np.dtype("<c16"),
}
_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "storage.UntypedStorage": "uint8",
}
_GLOBALS = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor": _RebuildTensor(),
    "torch._utils._rebuild_tensor_v2": _RebuildTensor(),
    "torch._utils._rebuild_tensor_v3": _RebuildTensorOfType(),
    "torch._utils._rebuild_parameter": _RebuildParameter(),
    "torch._utils._rebuild_parameter_with_state": _RebuildParameter(),
    "torch._tensor._rebuild_from_type_v2": _RebuildSubclass(),
    "torch.Tensor": _Inert(),
    "torch.nn.parameter.Parameter": _Inert(),
    "torch.nn.parameter.Buffer": _Inert(),
    "torch.Size": _Inert(),
    "torch.device": _Inert(),
    **{f"torch.{name}": _StorageType(dtype) for name, dtype in _STORAGES.items()},
    **{f"torch.{dtype}": _StorageType(dtype) for dtype in _DTYPES},
}


def _tensor(storage, dtype, offset, shape, strides):
    if not isinstance(storage, Storage):
        raise TypeError("a tensor without storage")
    return Tensor(storage, dtype, _whole(offset), tuple(map(_whole, shape)), tuple(map(_whole, strides)))


def _whole(value):
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is not a size")
    return value
