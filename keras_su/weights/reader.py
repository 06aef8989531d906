"""What every weight file looks like once it is open: named arrays that are read one at a time."""

import numpy as np

from keras_su.errors import CheckpointError, did_you_mean, listing


class Reader:
    """An open checkpoint: a fixed list of named tensors, read on demand.

    A reader is a context manager, and supports ``name in reader``. Nothing is read before it is asked for, and nothing is kept:
    every call of ``read`` returns a new array that the caller owns.

    Attributes:
        path: the file, folder or checkpoint prefix as a string; ``None`` for a dictionary in memory.
        format: the dialect of names and layouts, which the file format decides, not the model:

            - ``"tf"``: names with slashes, dense kernels are ``[in, out]`` (TensorFlow checkpoints, ``tf_model.h5``);
            - ``"torch"``: names with dots, ``Linear`` weights are ``[out, in]`` (``.bin``, ``.pt``, ``.safetensors``);
            - ``"keras"``: weights listed layer by layer, as Keras 2 saved them (see ``Keras2Reader.layers``);
            - ``"keras3"``: paths inside a ``.weights.h5`` or ``.keras`` file of Keras 3;
            - ``"arrays"``: a dictionary or an ``.npz`` file, where only the names can tell.
    """

    format = "arrays"

    def __init__(self, path=None):
        self.path = None if path is None else str(path)

    def names(self):
        """The names of all tensors, in the order of the file."""
        raise NotImplementedError

    def shape(self, name):
        """The shape of a tensor, as a tuple of int."""
        raise NotImplementedError

    def dtype(self, name):
        """The numpy dtype of a tensor as it is stored; bfloat16 and float8 are the types of ``ml_dtypes``."""
        raise NotImplementedError

    def read(self, name, rows=None):
        """Read one tensor.

        Args:
            name: one of ``names()``.
            rows: indices along axis 0, in any order and with repetitions, as a sequence of int; ``None`` for the whole tensor.
                Where the file allows it, only these rows are read.

        Returns:
            A numpy array of the stored dtype and of shape ``shape(name)``, or ``(len(rows),) + shape(name)[1:]``.

        Raises:
            CheckpointError: for an unknown name, a row that does not exist, or damaged data.
        """
        self._check_name(name)
        if rows is not None:
            rows = self._check_rows(name, rows)
        return self._read(name, rows)

    def close(self):
        """Close the files. A closed reader cannot read any more."""

    def __contains__(self, name):
        return name in self._known()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def __repr__(self):
        return f"{type(self).__name__}(path={self.path!r}, format={self.format!r}, tensors={len(self.names())})"

    def _read(self, name, rows):
        raise NotImplementedError

    def _known(self):
        """A container of the names with a fast ``in``."""
        return self.names()

    def _where(self):
        return self.path or "the dictionary of arrays"

    def _check_name(self, name):
        if name not in self._known():
            names = self.names()
            hint = did_you_mean(name, names)
            raise CheckpointError(f"{self._where()} has no tensor {name!r}.{hint} It holds: {listing(names) or 'nothing'}.")

    def _check_rows(self, name, rows):
        rows = np.asarray(rows)
        shape = self.shape(name)
        if not shape:
            raise CheckpointError(f"{name!r} in {self._where()} is a scalar: it has no rows to select.")
        if rows.ndim != 1 or rows.size and rows.dtype.kind not in "iu":
            given = f"an array of shape {rows.shape} and dtype {rows.dtype}"
            raise CheckpointError(f"Rows of {name!r}: got {given}, expected a flat sequence of int.")
        rows = rows.astype(np.int64)
        wrong = rows[(rows < 0) | (rows >= shape[0])]
        if wrong.size:
            raise CheckpointError(f"{name!r} in {self._where()} has {shape[0]} rows; row {wrong[0]} was asked for.")
        return rows


class ArraysReader(Reader):
    """A dictionary ``{name: array}`` behind the interface of a file.

    >>> reader = ArraysReader({"table": np.eye(3)})
    >>> reader.read("table", rows=[2, 0])
    array([[0., 0., 1.],
           [1., 0., 0.]])
    """

    def __init__(self, arrays):
        super().__init__()
        self._arrays = {str(name): np.asarray(array) for name, array in arrays.items()}

    def names(self):
        return list(self._arrays)

    def shape(self, name):
        self._check_name(name)
        return self._arrays[name].shape

    def dtype(self, name):
        self._check_name(name)
        return self._arrays[name].dtype

    def _read(self, name, rows):
        return self._arrays[name].copy() if rows is None else self._arrays[name][rows]

    def _known(self):
        return self._arrays
