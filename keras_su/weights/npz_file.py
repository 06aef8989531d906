"""``.npz`` archives, read lazily; pickled objects are refused."""

import math
import zipfile

import numpy as np

from keras_su.errors import CheckpointError
from keras_su.weights.output import named_arrays
from keras_su.weights.raw_file import named_dtype
from keras_su.weights.reader import Reader
from keras_su.weights.zip_archive import ZipArchive


class NpzReader(Reader):
    """The arrays of an ``.npz`` file."""

    def __init__(self, path):
        super().__init__(path)
        self._archive = ZipArchive(path)
        self._entries = {name.removesuffix(".npy"): name for name in self._archive.names() if name.endswith(".npy")}
        self._headers = {}

    def names(self):
        return list(self._entries)

    def shape(self, name):
        return self._header(name)[0]

    def dtype(self, name):
        return self._header(name)[2]

    def close(self):
        self._archive.close()

    def _known(self):
        return self._entries

    def _read(self, name, rows):
        shape, fortran_order, dtype, start = self._header(name)
        entry = self._entries[name]
        place = self._archive.offset(entry)
        if place is not None and not fortran_order:
            return self._archive.raw.array(place + start, dtype, shape, rows, name)
        data = self._archive.read(entry)
        values = np.frombuffer(data, dtype, math.prod(shape), start).reshape(shape, order="F" if fortran_order else "C")
        return np.array(values if rows is None else values[rows], order="C")

    def _header(self, name):
        self._check_name(name)
        if name not in self._headers:
            with self._archive.open(self._entries[name]) as file:
                try:
                    version = np.lib.format.read_magic(file)
                    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                    shape, fortran_order, dtype = read(file)
                except ValueError as error:
                    raise CheckpointError(f"{self.path}: the entry {name!r} is no numpy array ({error}).") from None
                start = file.tell()
            if dtype.hasobject:
                raise CheckpointError(f"{self.path}: {name!r} is a pickled object; for safety only plain arrays are read.")
            self._headers[name] = shape, fortran_order, named_dtype(dtype), start
        return self._headers[name]


def write_npz_file(path, tensors):
    """Write an uncompressed ``.npz``, one array after another; see ``writers.write_npz``."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in named_arrays(tensors):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
