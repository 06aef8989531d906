"""Safetensors files; oracles are the bytes of the format, taken apart here, and torch."""

import itertools
import json
import os
import stat

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_su.errors import CheckpointError, KerasSuError
from keras_su.weights import open_checkpoint, safetensors_file, write_safetensors

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


def file_bytes(header, data):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def assert_same(array, expected):
    assert array.dtype == expected.dtype.newbyteorder("=") and array.shape == expected.shape
    assert array.tobytes() == np.ascontiguousarray(expected, array.dtype).tobytes()


def test_round_trip_is_bit_equal(tmp_path):
    tensors = some_tensors()
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


def test_the_bytes_that_are_written(tmp_path):
    tensors = some_tensors()
    write_safetensors(tmp_path / "m.safetensors", tensors)
    content = (tmp_path / "m.safetensors").read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    assert header.pop("__metadata__") == {"format": "pt"} and header.keys() == tensors.keys()
    ranges = sorted(entry["data_offsets"] for entry in header.values())
    assert ranges[0][0] == 0 and ranges[-1][1] == len(content) - start
    assert all(left[1] == right[0] for left, right in itertools.pairwise(ranges))
    for name, array in tensors.items():
        begin, end = header[name]["data_offsets"]
        expected = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
        assert header[name]["shape"] == list(array.shape) and content[start + begin : start + end] == expected
    assert (header["layer.3.bfloat16"]["dtype"], header["scalar"]["dtype"]) == ("BF16", "F32")


def test_bytes_made_by_hand(tmp_path):
    header = {
        "b": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
        "a": {"dtype": "BF16", "shape": [3], "data_offsets": [8, 14]},
        "c": {"dtype": "U8", "shape": [], "data_offsets": [14, 15]},
    }
    data = np.array([1.5, -2], "<f4").tobytes() + bytes.fromhex("803f 0040 00c0") + b"\x07"
    (tmp_path / "m.safetensors").write_bytes(file_bytes(header, data))
    with open_checkpoint(tmp_path / "m.safetensors") as reader:
        assert reader.names() == ["b", "a", "c"] and reader.metadata == {} and reader.format == "torch"
        assert_same(reader.read("b"), np.array([[1.5], [-2]], "f4"))
        assert_same(reader.read("a"), np.array([1, 2, -2], ml_dtypes.bfloat16))
        assert_same(reader.read("c"), np.array(7, "u1"))


def test_the_caller_owns_what_is_read(tmp_path):
    write_safetensors(tmp_path / "m.safetensors", {"a": np.ones((2, 2))})
    with open_checkpoint(tmp_path / "m.safetensors") as reader:
        for rows in (None, [0, 1]):
            reader.read("a", rows)[:] = 0
        np.testing.assert_array_equal(reader.read("a"), np.ones((2, 2)))
    with pytest.raises(CheckpointError, match="'a' in .*m.safetensors cannot be read: File is closed"):
        reader.read("a")


class RecordedSlices:
    """An array that notes which slices of it are taken."""

    def __init__(self, array):
        self.array, self.slices = array, []

    def __getitem__(self, rows):
        self.slices.append((rows.start, rows.stop))
        return self.array[rows]


def cost(slices, row_bytes):
    return sum((stop - start) * row_bytes + safetensors_file._BYTES_PER_CALL for start, stop in slices)


@given(
    rows=st.lists(st.integers(0, 40), min_size=1, max_size=7),
    row_bytes=st.sampled_from([1, 5_000, 16_384, 25_000]),
)
def test_rows_are_read_in_the_cheapest_slices(rows, row_bytes):
    tensor = RecordedSlices(np.arange(41 * row_bytes, dtype="u4").astype("u1").reshape(41, row_bytes))
    result = safetensors_file._read_rows(tensor, tensor.array.shape, tensor.array.dtype, np.array(rows))
    np.testing.assert_array_equal(result, tensor.array[rows])
    wanted = sorted(set(rows))
    ways = itertools.product([False, True], repeat=len(wanted) - 1)
    slices_of = (np.split(wanted, [i for i, cut in enumerate(way, start=1) if cut]) for way in ways)
    cheapest = min(cost([(part[0], part[-1] + 1) for part in parts], row_bytes) for parts in slices_of)
    assert cost(tensor.slices, row_bytes) == cheapest


def test_rows_are_read_in_pieces_of_bounded_size():
    tensor = RecordedSlices(np.zeros((700, 30_000), "u1"))
    safetensors_file._read_rows(tensor, tensor.array.shape, tensor.array.dtype, np.arange(700))
    assert all((stop - start) * 30_000 <= safetensors_file._BYTES_PER_PIECE + 30_000 for start, stop in tensor.slices)
    assert sum(stop - start for start, stop in tensor.slices) == 700


def test_rows_of_wide_empty_and_brain_tensors(tmp_path):
    wide = np.arange(30 * 20_000, dtype="f4").reshape(30, 20_000)
    tensors = {
        "wide": wide,
        "half": wide[:, :9].astype(ml_dtypes.bfloat16),
        "empty": np.zeros((4, 0), "f4"),
        "flat": np.arange(5),
    }
    write_safetensors(tmp_path / "m.safetensors", tensors)
    with open_checkpoint(tmp_path / "m.safetensors") as reader:
        for name, array in tensors.items():
            last = len(array) - 1
            for rows in ([], [last], [0, last], [last, 0, 2, 2, 3, 1], np.array([1, 2], "u1")):
                assert_same(reader.read(name, rows), array[np.asarray(rows, int)])


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


def test_names_and_dtypes_that_cannot_be_written(tmp_path):
    path = tmp_path / "m.safetensors"
    with pytest.raises(CheckpointError, match="'a' was given twice"):
        write_safetensors(path, [("a", np.zeros(1)), ("b", np.zeros(1)), ("a", np.zeros(1))])
    with pytest.raises(CheckpointError, match="cannot hold 'a' of dtype complex128. Known: float64, .*bfloat16"):
        write_safetensors(path, {"a": np.zeros(1, "c16")})
    with pytest.raises(CheckpointError, match="non-empty strings. Received: 3"):
        write_safetensors(path, {3: np.zeros(1)})
    with pytest.raises(KerasSuError, match="metadata: got {'epoch': 3}, expected a dictionary of strings"):
        write_safetensors(path, {"a": np.zeros(1)}, metadata={"epoch": 3})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keep", [4, 8, 9, 60, -1])
def test_truncated_file(tmp_path, keep):
    path = tmp_path / "m.safetensors"
    write_safetensors(path, {"a": np.zeros(3), "b": np.zeros(3)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="m.safetensors is truncated or damaged: .*the file has"):
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
        {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]},
        "text",
    ],
)
def test_a_header_that_contradicts_itself(tmp_path, entry):
    (tmp_path / "m.safetensors").write_bytes(file_bytes({"a": entry}, bytes(8)))
    with pytest.raises(CheckpointError, match="m.safetensors is truncated or damaged: .*Download or copy the file again"):
        open_checkpoint(tmp_path / "m.safetensors")


def test_a_dtype_that_nobody_knows(tmp_path):
    header = {"b": {"dtype": "Q4", "shape": [2], "data_offsets": [0, 8]}}
    (tmp_path / "m.safetensors").write_bytes(file_bytes(header, bytes(8)))
    with pytest.raises(CheckpointError, match="m.safetensors holds a dtype that the installed safetensors .*Q4.*BF16"):
        open_checkpoint(tmp_path / "m.safetensors")


def test_a_dtype_that_numpy_does_not_get(tmp_path):
    tensors = {"small": np.arange(4).astype(ml_dtypes.float8_e4m3fn), "other": np.arange(3)}
    write_safetensors(tmp_path / "m.safetensors", tensors)
    assert tensors["small"].tobytes() in (tmp_path / "m.safetensors").read_bytes()
    with open_checkpoint(tmp_path / "m.safetensors") as reader:
        assert reader.shape("small") == (4,)
        for use in (reader.dtype, reader.read, lambda name: reader.read(name, rows=[1])):
            with pytest.raises(CheckpointError, match="'small' in .* has the dtype F8_E4M3, which .*Expected one of: F64"):
                use("small")
        assert_same(reader.read("other"), tensors["other"])


def test_a_file_cut_while_it_is_open(tmp_path):
    path = tmp_path / "m.safetensors"
    write_safetensors(path, {"a": np.zeros(1000)})
    with open_checkpoint(path) as reader:
        os.truncate(path, 500)
        for rows in (None, [3]):
            with pytest.raises(CheckpointError, match="'a' in .*m.safetensors cannot be read: "):
                reader.read("a", rows)


def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    (tmp_path / "ordinary").touch()
    for path in write_safetensors(tmp_path / "m.safetensors", {"a": np.zeros(3), "b": np.zeros(3)}, max_shard_bytes=8):
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "ordinary").stat().st_mode)
