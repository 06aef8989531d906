"""HDF5 weight files of three kinds: Keras 2 (as bert4keras saved them), Hugging Face's ``tf_model.h5``, and Keras 3.

Keras 2 and Hugging Face list the names of their layers and weights in attributes; Keras 3 has a tree of groups with datasets
``vars/0, vars/1, ...``. The suffix of the file name plays no role: ``best_model.weights`` is as good as ``model.h5``.
"""

import re
import zipfile

import h5py
import numpy as np

from keras_su.errors import CheckpointError, listing
from keras_su.weights.raw_file import BFLOAT16, check_is_data, damaged, named_dtype
from keras_su.weights.reader import Reader

HDF5_HEAD = b"\x89HDF\r\n\x1a\n"
_WEIGHTS_IN_KERAS_ZIP = "model.weights.h5"


class _Hdf5Reader(Reader):
    """Tensors that are datasets of an open HDF5 file; ``datasets`` has the path of each name inside ``group``."""

    def __init__(self, path, group, datasets):
        super().__init__(path)
        self._group, self._datasets = group, datasets
        self._opened = [group.file]

    def names(self):
        return list(self._datasets)

    def shape(self, name):
        return tuple(self._dataset(name).shape)

    def dtype(self, name):
        dataset = self._dataset(name)
        return BFLOAT16 if dataset.attrs.get("dtype") == "bfloat16" else named_dtype(dataset.dtype)

    def close(self):
        for opened in self._opened:
            opened.close()

    def _known(self):
        return self._datasets

    def _dataset(self, name):
        self._check_name(name)
        dataset = self._group[self._datasets[name]]
        if not isinstance(dataset, h5py.Dataset):
            raise damaged(self.path, f"{name!r} is no array")
        # HDF5 can fetch values from any other file of this machine; a downloaded file has no business doing that.
        if dataset.external or dataset.is_virtual or dataset.file.filename != self._group.file.filename:
            raise CheckpointError(f"{self.path}: the values of {name!r} lie in another file, which is refused for safety.")
        return dataset

    def _read(self, name, rows):
        try:
            array = self._dataset(name)[()]
        except OSError as error:
            raise damaged(self.path, f"{name!r} cannot be read ({error})") from None
        array = np.asarray(array)
        if array.dtype != (dtype := self.dtype(name)):
            array = array.view(dtype) if array.dtype.kind == "V" else array.astype(dtype)
        return array if rows is None else array[rows]


class Keras2Reader(_Hdf5Reader):
    """Layer-wise weights as Keras 2 and bert4keras' ``model.save_weights`` wrote them.

    Names are ``"<layer>/<weight name>"``, for example ``"Embedding-Token/Embedding-Token/embeddings:0"``, in stored order.
    A whole model saved as ``.h5``, also by Keras 3, is read as well; its optimizer state is left out.
    """

    format = "keras"

    def __init__(self, path, group, listed):
        self._layers = {layer: [f"{layer}/{weight}" for weight in names] for layer, names in listed.items()}
        super().__init__(path, group, {name: name for names in self._layers.values() for name in names})

    def layers(self):
        """``{layer name: [names of its tensors in order]}`` for the layers that have weights, in stored order."""
        return {layer: list(names) for layer, names in self._layers.items()}


class HuggingFaceH5Reader(_Hdf5Reader):
    """``tf_model.h5`` of Hugging Face transformers; kernels are ``[in, out]``.

    The stored paths, such as ``bert/tf_bert_model/bert/encoder/layer_._0/output/dense/kernel:0``, are brought to a stable
    form, which for the body of BERT is that of Google's checkpoints (``bert/encoder/layer_0/output/dense/kernel``):

    - the top-level group, the class scope behind it and the final ``:0`` are dropped;
    - ``layer_._0`` becomes ``layer_0``, and ``mlm___cls`` becomes ``cls``;
    - tables lose their last component: ``word_embeddings/weight`` -> ``word_embeddings``,
      ``position_embeddings/embeddings`` -> ``position_embeddings``.
    """

    format = "tf"

    def __init__(self, path, group, listed):
        scopes = {scope for scope, _, _ in _scoped(listed)}
        datasets = {}
        for layer, names in listed.items():
            for weight in names:
                scope, _, rest = weight.partition("/")
                datasets[_stable_name(rest if scope in scopes and rest else weight)] = f"{layer}/{weight}"
        super().__init__(path, group, datasets)


class Keras3Reader(_Hdf5Reader):
    """A ``.weights.h5`` file of Keras 3, or the one inside a ``.keras`` file; names are paths like ``layers/dense/vars/0``."""

    format = "keras3"


def open_hdf5(path, stream=None):
    """The reader that fits an HDF5 file; ``stream`` is an open file object when it lies inside an archive."""
    try:
        file = h5py.File(path if stream is None else stream, "r")
    except OSError as error:
        raise damaged(path, f"it is no complete HDF5 file ({error})") from None
    try:
        return _reader_for(path, file)
    except BaseException:
        file.close()
        raise


def open_keras_archive(path):
    """The weights inside a ``.keras`` file."""
    check_is_data(path)
    try:
        archive = zipfile.ZipFile(path)
        stream = archive.open(_WEIGHTS_IN_KERAS_ZIP)
    except zipfile.BadZipFile as error:
        raise damaged(path, f"the list of contents at the end of the zip archive cannot be read ({error})") from None
    reader = open_hdf5(path, stream)
    reader._opened += [stream, archive]
    return reader


def _reader_for(path, file):
    group = file["model_weights"] if "model_weights" in file else file
    layers = _string_list(group, "layer_names")
    if layers is None:
        datasets = []
        file.visititems(lambda name, item: datasets.append(name) if isinstance(item, h5py.Dataset) else None)
        datasets = [name for name in datasets if re.search(r"(^|/)vars/[^/]+$", name) and not name.startswith("optimizer/")]
        if not datasets:
            raise CheckpointError(
                f"{path} is an HDF5 file of an unknown layout. Known: weights of Keras 2, Keras 3 and tf_model.h5. "
                f"It holds: {listing(file) or 'nothing'}."
            )
        return Keras3Reader(path, file, {name: name for name in datasets})
    listed = {layer: _string_list(group[layer], "weight_names") or [] for layer in layers if layer in group}
    listed = {layer: names for layer, names in listed.items() if names}
    for layer, names in listed.items():
        for weight in names:
            if weight not in group[layer]:
                raise damaged(path, f"it lists {layer}/{weight}, which is not there")
    kind = HuggingFaceH5Reader if any(True for _ in _scoped(listed)) else Keras2Reader
    return kind(path, group, listed)


def _scoped(listed):
    """``(scope, layer, weight)`` where Hugging Face's pattern shows: the layer's name comes second, after the model's scope.

    Keras 3 writes such paths into its old-style ``.h5`` too, but without the ``:0`` of TensorFlow variables.
    """
    for layer, names in listed.items():
        for weight in names:
            scope, _, rest = weight.partition("/")
            if scope != layer and rest.startswith(f"{layer}/") and rest.endswith(":0"):
                yield scope, layer, weight


def _string_list(group, name):
    """An attribute that is a list of strings; Keras splits long ones into ``name0, name1, ...``. ``None`` if there is none."""
    if name in group.attrs:
        pieces = [group.attrs[name]]
    else:
        pieces = []
        while f"{name}{len(pieces)}" in group.attrs:
            pieces.append(group.attrs[f"{name}{len(pieces)}"])
        if not pieces:
            return None
    return [item.decode("utf-8") if isinstance(item, bytes) else str(item) for piece in pieces for item in piece]


def _stable_name(name):
    name = re.sub(r":0$", "", name).replace("_._", "_")
    name = re.sub(r"(^|/)[^/]*___", r"\1", name)
    return re.sub(r"/embeddings$|(?<=_embeddings)/weight$", "", name)
