"""Checkpoints in several safetensors files: what is written, replaced, cleaned up and refused."""

import json

import numpy as np
import pytest

from keras_su.errors import CheckpointError
from keras_su.weights import open_checkpoint, write_safetensors


@pytest.mark.parametrize("as_iterator", [False, True])
def test_shards(tmp_path, as_iterator):
    tensors = {f"w{i}": np.full((i + 1, 10), i, "f4") for i in range(6)}  # 40, 80, ... 240 bytes
    path = tmp_path / "model.safetensors"
    written = write_safetensors(path, iter(tensors.items()) if as_iterator else tensors, max_shard_bytes=240)
    names = [f"model-0000{i}-of-00004.safetensors" for i in (1, 2, 3, 4)] + ["model.safetensors.index.json"]
    assert [file.name for file in written] == names and sorted(f.name for f in tmp_path.iterdir()) == names
    index = json.loads(written[-1].read_text())
    assert index["metadata"]["total_size"] == 840
    assert index["weight_map"] == {f"w{i}": names[[0, 0, 0, 1, 2, 3][i]] for i in range(6)}
    for place in (tmp_path, written[-1]):
        with open_checkpoint(place) as reader:
            assert reader.format == "torch" and reader.names() == list(tensors) and "w3" in reader and "w6" not in reader
            for name, array in tensors.items():
                np.testing.assert_array_equal(reader.read(name), array)
            np.testing.assert_array_equal(reader.read("w5", rows=[4]), tensors["w5"][[4]])


def test_writing_again_replaces_shards_and_single_files(tmp_path):
    path = tmp_path / "model.safetensors"
    big = {f"w{i}": np.zeros(10, "f4") for i in range(4)}
    (tmp_path / "other.txt").write_text("stays")
    write_safetensors(path, big, max_shard_bytes=40)
    write_safetensors(path, big, max_shard_bytes=80)
    assert len(list(tmp_path.glob("model-*-of-00002.safetensors"))) == 2 and not list(tmp_path.glob("*-of-00004*"))
    write_safetensors(path, {"a": np.ones(2)})
    assert sorted(f.name for f in tmp_path.iterdir()) == ["model.safetensors", "other.txt"]
    assert open_checkpoint(tmp_path).names() == ["a"]
    write_safetensors(path, big, max_shard_bytes=80)
    assert not path.exists() and open_checkpoint(tmp_path).names() == list(big)


def test_nothing_is_left_after_a_crash(tmp_path):
    def failing(count):
        for i in range(count):
            yield f"w{i}", np.zeros(10, "f4")
        raise RuntimeError("crash")

    path = tmp_path / "model.safetensors"
    for count in (0, 1, 3):
        with pytest.raises(RuntimeError, match="crash"):
            write_safetensors(path, failing(count), max_shard_bytes=40)
        assert not list(tmp_path.iterdir())
    write_safetensors(path, {"a": np.ones(2)})
    with pytest.raises(RuntimeError, match="crash"):
        write_safetensors(path, failing(3), max_shard_bytes=40)
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]
    np.testing.assert_array_equal(open_checkpoint(path).read("a"), np.ones(2))


def test_missing_shard_is_named(tmp_path):
    *_, second, index = write_safetensors(tmp_path / "m.safetensors", {"a": np.zeros(3), "b": np.zeros(3)}, max_shard_bytes=8)
    second.unlink()
    with pytest.raises(CheckpointError, match=r"names files that are not there: m-00002-of-00002.safetensors.*m-00001-of-00002"):
        open_checkpoint(index)


@pytest.mark.parametrize(
    "weight_map, message",
    [
        (None, "has no 'weight_map'"),
        ({}, "has no 'weight_map'"),
        ({"a": "../elsewhere.safetensors"}, "names the file '../elsewhere.safetensors'; expected plain file names"),
        ({"a": 3}, "names the file 3"),
    ],
)
def test_wrong_index(tmp_path, weight_map, message):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, **({} if weight_map is None else {"weight_map": weight_map})}))
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(index)
