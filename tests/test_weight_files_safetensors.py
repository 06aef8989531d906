"""Safetensors files and shards; the ``safetensors`` package is the oracle."""

import json

import ml_dtypes
import numpy as np
import pytest

from keras_su.errors import CheckpointError
from keras_su.weights import open_checkpoint, write_safetensors

DTYPES = ["f4", "f8", "f2", ml_dtypes.bfloat16, "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", "c8"]


def some_tensors():
    rng = np.random.default_rng(0)
    tensors = {
        f"layer.{i}.{np.dtype(dtype).name}": (rng.normal(size=(3, i + 1)) * 9).astype(dtype) for i, dtype in enumerate(DTYPES)
    }
    tensors["scalar"] = np.asarray(3.5, "f4")
    tensors["no.rows"] = np.zeros((0, 4), "f4")
    tensors["transposed"] = rng.normal(size=(4, 6)).astype("f4").T
    tensors["中文"] = np.arange(3, dtype=">i8")
    return tensors


def assert_same(array, expected):
    assert array.dtype == expected.dtype.newbyteorder("=") and array.shape == expected.shape
    assert array.tobytes() == np.ascontiguousarray(expected, array.dtype).tobytes()


def test_round_trip_is_bit_equal(tmp_path):
    tensors = some_tensors()
    tensors["float8"] = np.arange(4).astype(ml_dtypes.float8_e4m3fn)
    assert write_safetensors(tmp_path / "m.safetensors", tensors) == [tmp_path / "m.safetensors"]
    with open_checkpoint(tmp_path / "m.safetensors") as reader:
        assert reader.format == "torch" and reader.metadata == {"format": "pt"}
        assert sorted(reader.names()) == sorted(tensors)
        for name, expected in tensors.items():
            assert reader.shape(name) == expected.shape and reader.dtype(name) == expected.dtype.newbyteorder("=")
            assert_same(reader.read(name), expected)
            if expected.ndim and len(expected):
                assert_same(reader.read(name, rows=[2, 0, 2]), expected[[2, 0, 2]])


def test_metadata_tell_the_layout(tmp_path):
    write_safetensors(tmp_path / "m.safetensors", {"bert/pooler/dense/kernel": np.eye(2)}, metadata={"format": "tf", "note": "x"})
    reader = open_checkpoint(tmp_path / "m.safetensors")
    assert reader.format == "tf" and reader.metadata["note"] == "x"


def test_the_official_library_reads_ours(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    tensors = {name: array for name, array in some_tensors().items() if array.dtype not in ("bfloat16", "c8")}
    write_safetensors(tmp_path / "m.safetensors", tensors)
    loaded = safetensors.load_file(tmp_path / "m.safetensors")
    assert loaded.keys() == tensors.keys()
    for name, array in tensors.items():
        assert_same(loaded[name], array)


def test_we_read_the_official_library(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    tensors = {name: np.array(array, array.dtype.newbyteorder("="), order="C") for name, array in some_tensors().items()}
    safetensors.save_file(tensors, tmp_path / "m.safetensors", metadata={"format": "pt"})
    with open_checkpoint(tmp_path / "m.safetensors") as reader:
        for name, array in tensors.items():
            assert_same(reader.read(name), array)


def test_torch_bfloat16_in_both_directions(tmp_path):
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    tensors = {"half": values.half(), "brain": values.bfloat16(), "byte": torch.arange(7, dtype=torch.uint8)}
    safetensors.save_file(tensors, tmp_path / "theirs.safetensors")
    with open_checkpoint(tmp_path / "theirs.safetensors") as reader:
        assert reader.dtype("brain") == ml_dtypes.bfloat16
        np.testing.assert_array_equal(reader.read("brain").astype("f4"), tensors["brain"].float().numpy())
        write_safetensors(tmp_path / "ours.safetensors", {name: reader.read(name) for name in reader.names()})
    for name, tensor in safetensors.load_file(tmp_path / "ours.safetensors").items():
        assert tensor.dtype == tensors[name].dtype and torch.equal(tensor, tensors[name])


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
                assert_same(reader.read(name), array)
            assert_same(reader.read("w5", rows=[4]), tensors["w5"][[4]])


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
    assert_same(open_checkpoint(path).read("a"), np.ones(2))


def test_names_and_dtypes_that_cannot_be_written(tmp_path):
    path = tmp_path / "m.safetensors"
    with pytest.raises(CheckpointError, match="'a' was given twice"):
        write_safetensors(path, [("a", np.zeros(1)), ("b", np.zeros(1)), ("a", np.zeros(1))])
    with pytest.raises(CheckpointError, match="cannot hold 'a' of dtype complex128. Known: F64"):
        write_safetensors(path, {"a": np.zeros(1, "c16")})
    with pytest.raises(CheckpointError, match="non-empty strings. Received: 3"):
        write_safetensors(path, {3: np.zeros(1)})
    assert not list(tmp_path.iterdir())


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


@pytest.mark.parametrize("keep", [4, 8, 9, 60, -1])
def test_truncated_file(tmp_path, keep):
    path = tmp_path / "m.safetensors"
    write_safetensors(path, {"a": np.zeros(3), "b": np.zeros(3)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="m.safetensors is (truncated or damaged|not a safetensors file)"):
        open_checkpoint(path)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2]},
        {"dtype": 3, "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 800]},
        "text",
    ],
)
def test_a_header_that_contradicts_itself(tmp_path, entry):
    header = json.dumps({"a": entry}).encode()
    (tmp_path / "m.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        open_checkpoint(tmp_path / "m.safetensors")


def test_a_shape_or_dtype_that_does_not_fit(tmp_path):
    entries = {
        "a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]},
        "b": {"dtype": "Q4", "shape": [2], "data_offsets": [0, 8]},
        "c": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    }
    header = json.dumps(entries).encode()
    (tmp_path / "m.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with open_checkpoint(tmp_path / "m.safetensors") as reader:
        with pytest.raises(CheckpointError, match="'a' of shape .3,. and dtype float32 takes 8 bytes"):
            reader.read("a")
        with pytest.raises(CheckpointError, match="'b' in .* has the dtype 'Q4'. Known: F64"):
            reader.read("b")
        np.testing.assert_array_equal(reader.read("c"), [0, 0])
