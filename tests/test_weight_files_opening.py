"""``open_checkpoint``: which file of a folder is taken, and what is said when there is none to take."""

import json
from pathlib import Path

import numpy as np
import pytest

from keras_su.errors import CheckpointError
from keras_su.weights import Reader, open_checkpoint, write_npz, write_safetensors, write_tf_bundle

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 411577189\n"


def arrays(value):
    return {"w": np.full(2, value, "f4")}


def first_value(path):
    with open_checkpoint(path) as reader:
        return reader.read("w")[0]


def test_a_dictionary():
    table = np.arange(6).reshape(3, 2)
    with open_checkpoint({"table": table, "list": [1.0, 2.0]}) as reader:
        assert isinstance(reader, Reader) and reader.format == "arrays" and reader.path is None
        assert reader.names() == ["table", "list"] and reader.shape("list") == (2,) and reader.dtype("list") == np.float64
        copy = reader.read("table")
        copy[:] = 0
        assert table[1, 1] == 3  # the caller owns what is read
        np.testing.assert_array_equal(reader.read("table", rows=[2, 2]), table[[2, 2]])
        assert open_checkpoint(reader) is reader
        with pytest.raises(CheckpointError, match="dictionary of arrays has no tensor 'tabel'. Did you mean 'table'"):
            reader.read("tabel")
        for method in (reader.shape, reader.dtype):
            with pytest.raises(CheckpointError, match="has no tensor 'x'"):
                method("x")


def test_something_else_than_a_path():
    with pytest.raises(CheckpointError, match="path or a dictionary of arrays. Received: int"):
        open_checkpoint(3)


def test_rows_of_a_scalar():
    with pytest.raises(CheckpointError, match="'a' .* is a scalar"):
        open_checkpoint({"a": np.float32(1)}).read("a", rows=[0])


def test_rows_of_a_wrong_kind():
    reader = open_checkpoint({"a": np.zeros((3, 2))})
    for rows in ([[0, 1]], [0.5], [True, False, True], 1):
        with pytest.raises(CheckpointError, match="expected a flat sequence of int"):
            reader.read("a", rows=rows)
    with pytest.raises(CheckpointError, match="has 3 rows; row -1 was asked for"):
        reader.read("a", rows=[0, -1])
    assert reader.read("a", rows=[]).shape == (0, 2)


def test_every_way_to_name_a_tensorflow_checkpoint(tmp_path):
    write_tf_bundle(tmp_path / "bert_model.ckpt", arrays(1))
    (tmp_path / "bert_model.ckpt.meta").write_bytes(b"graph")
    (tmp_path / "bert_config.json").write_text("{}")
    for suffix in ("", ".index", ".meta", ".data-00000-of-00001"):
        path = f"{tmp_path}/bert_model.ckpt{suffix}"
        assert first_value(path) == first_value(Path(path)) == 1
    assert first_value(tmp_path) == first_value(f"{tmp_path}/") == 1
    (tmp_path / "bert_model.ckpt.index").unlink()
    with pytest.raises(CheckpointError, match="belongs to a TensorFlow checkpoint whose index bert_model.ckpt.index is missing"):
        open_checkpoint(tmp_path / "bert_model.ckpt.meta")


def test_preference_within_a_folder(tmp_path):
    write_npz(tmp_path / "weights.npz", arrays(1))
    assert first_value(tmp_path) == 1
    write_tf_bundle(tmp_path / "model.ckpt", arrays(2))
    assert first_value(tmp_path) == 2
    write_npz(tmp_path / "training_args.bin", arrays(0))  # names that a trainer uses are no weights
    write_safetensors(tmp_path / "adapter.safetensors", arrays(3))
    assert first_value(tmp_path) == 3
    write_safetensors(tmp_path / "second.safetensors", arrays(4))
    with pytest.raises(CheckpointError, match="holds several checkpoints: adapter.safetensors, second.safetensors"):
        open_checkpoint(tmp_path)
    write_safetensors(tmp_path / "model.safetensors", arrays(5))
    assert first_value(tmp_path) == 5


def test_empty_and_unsuitable_folders(tmp_path):
    with pytest.raises(CheckpointError, match="is empty. Expected in it: a TensorFlow checkpoint prefix"):
        open_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    with pytest.raises(CheckpointError, match="holds no weight file. Found: config.json, vocab.txt"):
        open_checkpoint(tmp_path)


def test_shards_without_their_index(tmp_path):
    *_, index = write_safetensors(tmp_path / "model.safetensors", {"a": np.zeros(2), "b": np.zeros(2)}, max_shard_bytes=16)
    index.unlink()
    with pytest.raises(CheckpointError, match=r"pieces of a checkpoint \(model-00001-of-00002.*no .index.json"):
        open_checkpoint(tmp_path)


def test_a_path_that_does_not_exist(tmp_path):
    write_tf_bundle(tmp_path / "bert_model.ckpt", arrays(1))
    with pytest.raises(CheckpointError, match="There is no checkpoint .*/bert_modle.ckpt. Did you mean 'bert_model.ckpt'"):
        open_checkpoint(tmp_path / "bert_modle.ckpt")
    with pytest.raises(CheckpointError, match="the folder .*/nowhere does not exist"):
        open_checkpoint(tmp_path / "nowhere" / "model.safetensors")
    with pytest.raises(CheckpointError, match="There is no checkpoint .*model.bin.index"):
        open_checkpoint(tmp_path / "model.bin.index")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "tf_model.h5", "model.npz", "model.keras", "weights"])
def test_files_that_are_no_weights(tmp_path, name):
    path = tmp_path / name
    path.write_text(POINTER)
    with pytest.raises(CheckpointError, match=f"{name} is a git-lfs pointer.*411,577,189 bytes.*git lfs pull"):
        open_checkpoint(path)
    for page in ("<!DOCTYPE html><html><body>404", "\n <html>", "<?xml version='1.0'?><Error>AccessDenied</Error>"):
        path.write_text(page)
        with pytest.raises(CheckpointError, match=f"{name} is a web page, not a weight file"):
            open_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=f"{name} is empty"):
        open_checkpoint(path)


def test_pointer_as_a_shard(tmp_path):
    *_, second, index = write_safetensors(tmp_path / "m.safetensors", {"a": np.zeros(3), "b": np.zeros(3)}, max_shard_bytes=8)
    second.write_text(POINTER)
    with (
        open_checkpoint(index) as reader,
        pytest.raises(CheckpointError, match="m-00002-of-00002.safetensors is a git-lfs pointer"),
    ):
        reader.read("b")


def test_unknown_contents(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF\x03\0\0\0" + bytes(100))
    with pytest.raises(
        CheckpointError, match="model.gguf is no weight file of a known format: it begins with b'GGUF.*Known: a TensorFlow"
    ):
        open_checkpoint(tmp_path / "model.gguf")
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 768}))
    with pytest.raises(CheckpointError, match="config.json is JSON, but not the index of a checkpoint"):
        open_checkpoint(tmp_path / "config.json")
    (tmp_path / "model.weights.json").write_text(json.dumps({"weight_map": {"/layers/dense/vars": "model_00000.weights.h5"}}))
    with pytest.raises(CheckpointError, match="Keras saved in several files, which is not supported"):
        open_checkpoint(tmp_path / "model.weights.json")


def test_contents_decide_and_not_the_suffix(tmp_path):
    write_safetensors(tmp_path / "model.safetensors", arrays(1)).pop().rename(tmp_path / "weights")
    write_npz(tmp_path / "model.dat", arrays(2))
    assert first_value(tmp_path / "weights") == 1 and first_value(tmp_path / "model.dat") == 2
