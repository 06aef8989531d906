"""HDF5 weights of Keras 2, Hugging Face and Keras 3."""

import zipfile

import h5py
import ml_dtypes
import numpy as np
import pytest

from keras_su.errors import CheckpointError
from keras_su.weights import open_checkpoint


def write_layers(group, layers, pieces=False):
    """The layout of Keras 2: names in attributes; ``pieces`` splits the lists, as Keras does when they are long."""

    def set_names(target, attribute, names):
        encoded = [name.encode() for name in names]
        if not pieces:
            target.attrs[attribute] = np.array(encoded, dtype="S") if encoded else []
            return
        for number, start in enumerate(range(0, len(encoded), 2)):
            target.attrs[f"{attribute}{number}"] = np.array(encoded[start : start + 2], dtype="S")

    set_names(group, "layer_names", layers)
    for layer, weights in layers.items():
        inner = group.create_group(layer)
        set_names(inner, "weight_names", weights)
        for name, array in weights.items():
            inner.create_dataset(name, data=array)


def bert4keras_layers():
    rng = np.random.default_rng(0)
    norm = "Embedding-Norm"
    return {
        "Input-Token": {},
        "Embedding-Token": {"Embedding-Token/embeddings:0": rng.normal(size=(9, 4)).astype("f4")},
        norm: {f"{norm}/gamma:0": np.ones(4, "f4"), f"{norm}/beta:0": np.zeros(4, "f4")},
        "Transformer-0-MultiHeadSelfAttention": {
            f"Transformer-0-MultiHeadSelfAttention/dense{suffix}/{kind}:0": rng.normal(size=(4, 4) if kind == "kernel" else 4)
            for suffix in ("", "_1", "_2", "_3")
            for kind in ("kernel", "bias")
        },
    }


@pytest.mark.parametrize("pieces", [False, True])
@pytest.mark.parametrize("name", ["best_model.weights", "model.h5", "anything"])
def test_weights_of_keras_2(tmp_path, pieces, name):
    layers = bert4keras_layers()
    with h5py.File(tmp_path / name, "w") as file:
        write_layers(file, layers, pieces)
    expected = {f"{layer}/{weight}": array for layer, weights in layers.items() for weight, array in weights.items()}
    with open_checkpoint(tmp_path / name) as reader:
        assert reader.format == "keras" and reader.names() == list(expected)
        assert reader.names()[0] == "Embedding-Token/Embedding-Token/embeddings:0"
        assert reader.layers() == {layer: [f"{layer}/{weight}" for weight in layers[layer]] for layer in layers if layers[layer]}
        for key, array in expected.items():
            assert key in reader and reader.shape(key) == array.shape and reader.dtype(key) == array.dtype
            np.testing.assert_array_equal(reader.read(key), array)
        np.testing.assert_array_equal(reader.read(reader.names()[0], [8, 0, 8]), expected[reader.names()[0]][[8, 0, 8]])
        with pytest.raises(CheckpointError, match="Did you mean 'Embedding-Norm/Embedding-Norm/gamma:0'"):
            reader.read("Embedding-Norm/Embedding-Norm/gama:0")


def test_a_whole_model_of_keras_2(tmp_path):
    with h5py.File(tmp_path / "model.h5", "w") as file:
        write_layers(file.create_group("model_weights"), {"dense": {"dense/kernel:0": np.eye(2)}})
        write_layers(file.create_group("optimizer_weights"), {"Adam": {"Adam/m:0": np.eye(2)}})
    with open_checkpoint(tmp_path) as reader:
        assert reader.format == "keras" and reader.names() == ["dense/dense/kernel:0"]


def test_hugging_face_names_become_stable(tmp_path):
    scope = "tf_bert_for_pre_training"
    body = f"{scope}/bert"
    stored = {
        "bert": {
            f"{body}/embeddings/word_embeddings/weight:0": "bert/embeddings/word_embeddings",
            f"{body}/embeddings/position_embeddings/embeddings:0": "bert/embeddings/position_embeddings",
            f"{body}/embeddings/LayerNorm/gamma:0": "bert/embeddings/LayerNorm/gamma",
            f"{body}/encoder/layer_._0/attention/self/query/kernel:0": "bert/encoder/layer_0/attention/self/query/kernel",
            f"{body}/encoder/layer_._11/output/dense/bias:0": "bert/encoder/layer_11/output/dense/bias",
        },
        "mlm___cls": {
            f"{scope}/mlm___cls/predictions/bias:0": "cls/predictions/bias",
            f"{scope}/mlm___cls/predictions/transform/dense/kernel:0": "cls/predictions/transform/dense/kernel",
        },
        "nsp___cls": {f"{scope}/nsp___cls/seq_relationship/kernel:0": "cls/seq_relationship/kernel"},
        "dropout_37": {},
        "top_level_model_weights": {f"{scope}/final_logits_bias:0": "final_logits_bias"},
    }
    arrays = {path: np.full((2, 2), number) for number, path in enumerate(path for names in stored.values() for path in names)}
    with h5py.File(tmp_path / "tf_model.h5", "w") as file:
        write_layers(file, {layer: {path: arrays[path] for path in names} for layer, names in stored.items()})
    with open_checkpoint(tmp_path) as reader:
        assert reader.format == "tf"
        assert reader.names() == [name for names in stored.values() for name in names.values()]
        for names in stored.values():
            for path, name in names.items():
                np.testing.assert_array_equal(reader.read(name), arrays[path])


class TestKeras3:
    @pytest.fixture(scope="class")
    def model(self):
        import keras

        inputs = keras.Input((3,))
        outputs = keras.layers.Dense(2, name="first")(keras.layers.BatchNormalization(name="norm")(inputs))
        outputs = keras.layers.Dense(4, name="second", dtype="bfloat16")(outputs)
        return keras.Model(inputs, outputs)

    def test_weights_file_and_keras_archive(self, model, tmp_path):
        model.save_weights(tmp_path / "m.weights.h5")
        model.save(tmp_path / "m.keras")
        contents = []
        for name in ("m.weights.h5", "m.keras"):
            with open_checkpoint(tmp_path / name) as reader:
                assert reader.format == "keras3" and len(reader.names()) == 8
                contents.append({path: reader.read(path) for path in reader.names()})
                second = model.get_layer("second")
                assert reader.dtype("layers/dense_1/vars/0") == ml_dtypes.bfloat16
                np.testing.assert_array_equal(
                    reader.read("layers/dense_1/vars/0").astype("f4"), np.asarray(keras_numpy(second.kernel)).astype("f4")
                )
                np.testing.assert_array_equal(reader.read("layers/dense/vars/0"), keras_numpy(model.get_layer("first").kernel))
        for path, array in contents[0].items():
            assert array.tobytes() == contents[1][path].tobytes()

    def test_an_old_style_file_of_keras_3_lists_layers(self, model, tmp_path):
        model.save(tmp_path / "m.h5")
        with open_checkpoint(tmp_path / "m.h5") as reader:
            assert reader.format == "keras"
            assert [len(names) for names in reader.layers().values()] == [4, 2, 2]
            kernel = reader.read(reader.layers()["first"][0])
            np.testing.assert_array_equal(kernel, keras_numpy(model.get_layer("first").kernel))
            assert reader.dtype(reader.layers()["second"][0]) == ml_dtypes.bfloat16

    def test_truncated(self, model, tmp_path):
        for name in ("m.weights.h5", "m.keras"):
            path = tmp_path / name
            model.save_weights(path) if name.endswith("h5") else model.save(path)
            content = path.read_bytes()
            for keep in (7, 200, len(content) // 2, len(content) - 1):
                path.write_bytes(content[:keep])
                with pytest.raises(CheckpointError, match=f"{name} is truncated or damaged"):
                    open_checkpoint(path)


def keras_numpy(variable):
    from keras import ops

    return ops.convert_to_numpy(variable)


def test_an_unknown_layout(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_dataset("measurements", data=np.eye(2))
    with pytest.raises(CheckpointError, match="HDF5 file of an unknown layout.*It holds: measurements"):
        open_checkpoint(tmp_path / "m.h5")


def test_a_listed_weight_that_is_missing(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        write_layers(file, {"dense": {"dense/kernel:0": np.eye(2), "dense/bias:0": np.zeros(2)}})
        del file["dense/dense/bias:0"]
    with pytest.raises(CheckpointError, match="lists dense/dense/bias:0, which is not there"):
        open_checkpoint(tmp_path / "m.h5")


def test_a_damaged_weight_file_inside_a_keras_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("model.weights.h5", b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(CheckpointError, match="m.keras is truncated or damaged"):
        open_checkpoint(tmp_path / "m.keras")


@pytest.mark.parametrize("kind", ["external", "virtual", "link", "group"])
def test_values_in_other_files_are_refused(tmp_path, kind):
    with h5py.File(tmp_path / "secret.h5", "w") as other:
        other["value"] = np.eye(2)
    with h5py.File(tmp_path / "m.h5", "w") as file:
        write_layers(file, {"dense": {"dense/kernel:0": np.eye(2)}})
        inner = file["dense/dense"]
        del inner["kernel:0"]
        if kind == "external":
            inner.create_dataset("kernel:0", (2, 2), "f8", external=[(str(tmp_path / "secret.h5"), 0, 32)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout((2, 2), "f8")
            layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "value", (2, 2))
            inner.create_virtual_dataset("kernel:0", layout)
        elif kind == "link":
            inner["kernel:0"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "value")
        else:
            inner.create_group("kernel:0")
    with pytest.raises(CheckpointError, match="is no array" if kind == "group" else "lie in another file"):
        open_checkpoint(tmp_path / "m.h5").read("dense/dense/kernel:0")
