"""``.npz`` files and Hugging Face folders; the other writers are tested with their formats."""

import json

import ml_dtypes
import numpy as np
import pytest

from keras_su.errors import CheckpointError
from keras_su.weights import open_checkpoint, write_hf_folder, write_npz


def some_arrays():
    rng = np.random.default_rng(0)
    dtypes = ["f4", "f8", "f2", ml_dtypes.bfloat16, "i8", "i4", "u1", "?", "c8"]
    result = {f"group/{np.dtype(dtype).name}": (rng.normal(size=(4, 3)) * 9).astype(dtype) for dtype in dtypes}
    return {**result, "scalar": np.float32(2), "empty": np.zeros((0, 3), "f4"), "transposed": rng.normal(size=(2, 3)).T}


def failing():
    yield "a", np.zeros(4, "f4")
    raise RuntimeError("crash")


def test_npz_round_trip(tmp_path):
    arrays = some_arrays()
    path = write_npz(tmp_path / "m.npz", iter(arrays.items()))
    with open_checkpoint(path) as reader:
        assert reader.format == "arrays" and reader.names() == list(arrays)
        for name, expected in arrays.items():
            array = reader.read(name)
            assert array.dtype == reader.dtype(name) == expected.dtype and array.shape == reader.shape(name) == expected.shape
            assert array.tobytes() == expected.tobytes()
            if expected.ndim and len(expected):
                np.testing.assert_array_equal(reader.read(name, rows=[1, 0]), expected[[1, 0]])


def test_numpy_reads_ours(tmp_path):
    arrays = {name: array for name, array in some_arrays().items() if array.dtype != ml_dtypes.bfloat16}
    with np.load(write_npz(tmp_path / "m.npz", arrays)) as loaded:
        assert set(loaded) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(loaded[name], array)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_we_read_files_of_numpy(tmp_path, save):
    arrays = some_arrays()
    save(tmp_path / "m.npz", **arrays)
    with open_checkpoint(tmp_path) as reader:
        assert sorted(reader.names()) == sorted(arrays)
        for name, expected in arrays.items():
            array = reader.read(name)
            assert array.dtype == expected.dtype and array.tobytes() == expected.tobytes() and array.flags.c_contiguous
        np.testing.assert_array_equal(reader.read("transposed", rows=[2]), arrays["transposed"][[2]])


def test_pickled_objects_are_refused(tmp_path):
    np.savez(tmp_path / "m.npz", plain=np.zeros(2), object=np.array([{}], dtype=object))
    with open_checkpoint(tmp_path / "m.npz") as reader:
        np.testing.assert_array_equal(reader.read("plain"), [0, 0])
        with pytest.raises(CheckpointError, match="'object' is a pickled object"):
            reader.read("object")


def test_truncated_npz(tmp_path):
    path = write_npz(tmp_path / "m.npz", some_arrays())
    content = path.read_bytes()
    for keep in (2, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:keep])
        with pytest.raises(CheckpointError, match="m.npz is truncated or damaged"):
            open_checkpoint(path)


def test_nothing_is_left_after_a_crash(tmp_path):
    with pytest.raises(RuntimeError, match="crash"):
        write_npz(tmp_path / "m.npz", failing())
    with pytest.raises(RuntimeError, match="crash"):
        write_hf_folder(tmp_path, {}, failing())
    assert not list(tmp_path.iterdir())
    path = write_npz(tmp_path / "m.npz", {"a": np.ones(2)})
    with pytest.raises(RuntimeError, match="crash"):
        write_npz(path, failing())
    assert [file.name for file in tmp_path.iterdir()] == ["m.npz"]
    np.testing.assert_array_equal(open_checkpoint(path).read("a"), [1, 1])


def test_hugging_face_folder(tmp_path):
    config = {"model_type": "bert", "hidden_size": 4, "note": "中文"}
    tokens = ["[PAD]", "[UNK]", "中", "\u2028", " "]
    (tmp_path / "tokenizer_config.json").write_text("{}")
    tensors = {"bert.pooler.dense.weight": np.eye(4, dtype="f4"), "bert.pooler.dense.bias": np.zeros(4, "f4")}
    folder = write_hf_folder(tmp_path / "new" / "model", config, tensors, tokens, files=[tmp_path / "tokenizer_config.json"])
    assert sorted(file.name for file in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer_config.json",
        "vocab.txt",
    ]
    assert json.loads((folder / "config.json").read_text(encoding="utf-8")) == config
    assert (folder / "vocab.txt").read_bytes().decode("utf-8") == "[PAD]\n[UNK]\n中\n\u2028\n \n"
    with open_checkpoint(folder) as reader:
        assert reader.format == "torch" and reader.metadata == {"format": "pt"}
        assert {name: reader.read(name).tolist() for name in reader.names()} == {
            name: array.tolist() for name, array in tensors.items()
        }


def test_a_folder_copied_from_files(tmp_path):
    first = write_hf_folder(tmp_path / "first", {"a": 1}, {"w": np.zeros(2)}, {"b": 1, "a": 0})
    second = write_hf_folder(
        tmp_path / "second", first / "config.json", {"w": np.zeros(2)}, first / "vocab.txt", max_shard_bytes=8
    )
    for name in ("config.json", "vocab.txt"):
        assert (second / name).read_bytes() == (first / name).read_bytes()
    assert (second / "vocab.txt").read_text() == "a\nb\n"
    assert open_checkpoint(second).names() == ["w"]


@pytest.mark.parametrize(
    "vocab, message",
    [({"a": 0, "b": 2}, "without gaps"), ({"a": 0, "b": 0}, "without gaps"), (["a", "b\nc"], "'b.nc' contains a line break")],
)
def test_vocabularies_that_do_not_fit_a_file(tmp_path, vocab, message):
    with pytest.raises(CheckpointError, match=message):
        write_hf_folder(tmp_path / "m", {}, {"w": np.zeros(2)}, vocab)
    assert not (tmp_path / "m").exists()


def test_a_failed_write_never_touches_the_other_files(tmp_path):
    write_hf_folder(tmp_path, {"version": 1}, {"a": np.ones(2)})
    with pytest.raises(RuntimeError, match="crash"):
        write_hf_folder(tmp_path, {"version": 2}, failing(), vocab=["x"])
    assert json.loads((tmp_path / "config.json").read_text()) == {"version": 1}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
