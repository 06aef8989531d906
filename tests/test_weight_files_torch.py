"""PyTorch files without PyTorch: handmade pickles and archives for the rules, PyTorch itself as the oracle."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict

import ml_dtypes
import numpy as np
import pytest

from keras_su.errors import CheckpointError
from keras_su.weights import open_checkpoint


class Global:
    """Pickles as the bare name ``module.name``, whatever that is; called with arguments it pickles as the call."""

    def __init__(self, name):
        self.module, _, self.name = name.rpartition(".")


class Call:
    def __init__(self, function, *arguments):
        self.function, self.arguments = Global(function), arguments

    def __reduce__(self):
        return placeholder, self.arguments


def placeholder():
    raise AssertionError("only stands for a function in the pickle")


class Handmade(pickle._Pickler):
    """Writes ``Global`` and ``Call`` objects without importing what they name, and ``Stored`` as persistent ids."""

    def persistent_id(self, value):
        return value.identity if isinstance(value, Stored) else None

    def save(self, value, save_persistent_id=True):
        if isinstance(value, Global):
            self.write(b"c" + f"{value.module}\n{value.name}\n".encode())
        elif isinstance(value, Call):
            self.save(value.function)
            self.save(tuple(value.arguments))
            self.write(b"R")
        else:
            super().save(value, save_persistent_id)


class Stored:
    def __init__(self, kind, key, count, *view):
        self.identity = ("storage", Global(f"torch.{kind}"), key, "cuda:0", count, *view)


def dumped(value):
    file = io.BytesIO()
    Handmade(file, protocol=2).dump(value)
    return file.getvalue()


def tensor(kind, key, count, shape, strides, offset=0):
    return Call("torch._utils._rebuild_tensor_v2", Stored(kind, key, count), offset, shape, strides, False, OrderedDict())


def write_zip(path, content, storages, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("any name/data.pkl", dumped(content))
        for key, data in storages.items():
            archive.writestr(f"any name/data/{key}", data)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_views_of_one_storage(tmp_path, compression):
    values = np.arange(24, dtype="f4")
    content = {
        "whole": tensor("FloatStorage", "0", 24, (4, 6), (6, 1)),
        "transposed": tensor("FloatStorage", "0", 24, (6, 4), (1, 6)),
        "part": tensor("FloatStorage", "0", 24, (2, 3), (6, 1), offset=7),
        "row": tensor("FloatStorage", "0", 24, (1, 6), (99, 1), offset=12),
        "repeated": tensor("FloatStorage", "0", 24, (3, 2), (0, 1), offset=4),
        "scalar": tensor("FloatStorage", "0", 24, (), (), offset=5),
        "empty": tensor("FloatStorage", "0", 24, (0, 3), (3, 1)),
    }
    write_zip(tmp_path / "m.bin", content, {"0": values.tobytes()}, compression)
    grid = values.reshape(4, 6)
    expected = {
        "whole": grid,
        "transposed": grid.T,
        "part": grid[1:3, 1:4],
        "row": grid[2:3],
        "repeated": np.array([[4, 5]] * 3, "f4"),
        "scalar": np.float32(5),
        "empty": np.zeros((0, 3), "f4"),
    }
    with open_checkpoint(tmp_path / "m.bin") as reader:
        assert reader.format == "torch" and reader.container == "" and reader.names() == list(content)
        for name, array in expected.items():
            loaded = reader.read(name)
            assert loaded.flags.c_contiguous and loaded.flags.owndata and loaded.shape == reader.shape(name)
            np.testing.assert_array_equal(loaded, array)
            if array.ndim and len(array):
                last = len(array) - 1
                np.testing.assert_array_equal(reader.read(name, rows=[last, 0]), array[[last, 0]])
        assert reader.read("empty", rows=[]).shape == (0, 3)


@pytest.mark.parametrize(
    "shape, strides, offset",
    [
        ((5, 6), (6, 1), 0),
        ((4, 6), (6, 1), 1),
        ((2,), (30,), 0),
        ((4, 6), (7, 1), 0),
        ((4,), (-1,), 3),
        ((4,), (1, 1), 0),
        ((2,), (1,), -1),
    ],
)
def test_a_view_beyond_its_storage_is_an_error(tmp_path, shape, strides, offset):
    write_zip(
        tmp_path / "m.bin", {"a": tensor("FloatStorage", "0", 24, shape, strides, offset)}, {"0": bytes(96), "1": bytes(999)}
    )
    with pytest.raises(CheckpointError, match="m.bin is truncated or damaged"), open_checkpoint(tmp_path / "m.bin") as reader:
        reader.read("a")


def test_a_storage_shorter_than_announced_is_an_error(tmp_path):
    for storages in ({"0": bytes(95)}, {}):
        write_zip(tmp_path / "m.bin", {"a": tensor("FloatStorage", "0", 24, (4, 6), (6, 1))}, storages)
        with (
            open_checkpoint(tmp_path / "m.bin") as reader,
            pytest.raises(CheckpointError, match="'any name/data/0' is missing or shorter"),
        ):
            reader.read("a")


@pytest.mark.parametrize(
    "name", ["os.system", "builtins.eval", "posix.system", "torch.hub.load", "numpy.core.multiarray._reconstruct"]
)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_forbidden_global_is_named_and_never_run(tmp_path, name, zipped):
    witness = tmp_path / "witness"
    content = {"a": Call(name, f"touch {witness}")}
    if zipped:
        write_zip(tmp_path / "m.bin", content, {})
    else:
        (tmp_path / "m.bin").write_bytes(legacy(content, {}))
    with pytest.raises(CheckpointError, match=f"asks for {name}, which is not part of a tensor"):
        open_checkpoint(tmp_path / "m.bin")
    assert not witness.exists()


def test_a_real_exploit_does_not_run(tmp_path):
    witness = tmp_path / "witness"

    class Exploit:
        def __reduce__(self):
            return os.mkdir, (str(witness),)

    with zipfile.ZipFile(tmp_path / "m.bin", "w") as archive:
        archive.writestr("m/data.pkl", pickle.dumps({"a": Exploit()}))
    with pytest.raises(CheckpointError, match="mkdir"):
        open_checkpoint(tmp_path / "m.bin")
    assert not witness.exists()


@pytest.mark.parametrize("target", ["torch._utils._rebuild_tensor_v2", "torch.FloatStorage", "torch.Size"])
@pytest.mark.parametrize("state", [{"__call__": 1}, (None, {"__call__": 1}), (None, {"dtype": 1})])
def test_a_pickle_cannot_change_the_stand_ins(tmp_path, target, state):
    attack = dumped(Global(target))[:-1] + dumped(state)[2:-1] + b"b."  # BUILD: set attributes of the global
    with zipfile.ZipFile(tmp_path / "m.bin", "w") as archive:
        archive.writestr("m/data.pkl", attack)
    with pytest.raises(CheckpointError, match="its pickle cannot be read"):
        open_checkpoint(tmp_path / "m.bin")
    write_zip(tmp_path / "good.bin", {"a": tensor("FloatStorage", "0", 2, (2,), (1,))}, {"0": np.array([1, 2], "f4").tobytes()})
    np.testing.assert_array_equal(open_checkpoint(tmp_path / "good.bin").read("a"), [1, 2])


def small(key):
    return tensor("FloatStorage", key, 1, (1,), (1,))


@pytest.mark.parametrize(
    "content, container",
    [
        ({"w": small("7"), "epoch": 3, "name": "x"}, ""),
        ({"state_dict": {"w": small("7")}, "epoch": 3}, "state_dict"),
        ({"model": OrderedDict(w=small("7")), "optimizer": {"state": {0: {"step": small("1")}}}}, "model"),
        ({"model": {"state_dict": {"w": small("7")}}}, "model.state_dict"),
        ({"state_dict": {"w": small("7")}, "best accuracy": small("1")}, "state_dict"),
        ({"my own key": {"w": small("7")}, "options": {"lr": 0.1}}, "my own key"),
    ],
)
def test_wrapped_state_dicts_are_found(tmp_path, content, container):
    write_zip(tmp_path / "m.pt", content, {"7": np.float32(7).tobytes(), "1": bytes(4)})
    with open_checkpoint(tmp_path / "m.pt") as reader:
        assert reader.container == container and reader.names() == ["w"] and reader.read("w") == 7


@pytest.mark.parametrize(
    "content, message",
    [
        ([1, 2], "holds no named tensors: got list"),
        ({"epoch": 3}, "holds no named tensors: got dict"),
        ({"teacher": {"w": small("0")}, "student": {"w": small("0")}}, "holds tensors under teacher, student"),
    ],
)
def test_files_without_clear_weights(tmp_path, content, message):
    write_zip(tmp_path / "m.pt", content, {"0": bytes(4)})
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(tmp_path / "m.pt")


def test_a_dictionary_that_contains_itself_is_no_endless_loop(tmp_path):
    content = {"epoch": 1}
    content["model"] = content
    write_zip(tmp_path / "m.pt", content, {})
    with pytest.raises(CheckpointError, match="holds no named tensors"):
        open_checkpoint(tmp_path / "m.pt")


def legacy(content, storages, little_endian=True, magic=0x1950A86A20F9469CFC6C):
    parts = [dumped(magic), dumped(1001), dumped({"little_endian": little_endian}), dumped(content), dumped(sorted(storages))]
    for key in sorted(storages):
        values = storages[key]
        parts += [len(values).to_bytes(8, "little"), values.tobytes()]
    return b"".join(parts)


def test_legacy_stream(tmp_path):
    values = np.arange(6, dtype="i8")
    content = {"a": tensor("LongStorage", "11", 6, (2, 3), (3, 1)), "b": tensor("HalfStorage", "12", 2, (2,), (1,))}
    stream = legacy(content, {"11": values, "12": np.array([1, 2], "f2")})
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(stream)
    with open_checkpoint(tmp_path) as reader:
        np.testing.assert_array_equal(reader.read("a"), values.reshape(2, 3))
        np.testing.assert_array_equal(reader.read("a", rows=[1]), values.reshape(2, 3)[[1]])
        assert reader.read("b").dtype == np.float16
    for keep in range(1, len(stream), 7):
        path.write_bytes(stream[:keep])
        with pytest.raises(CheckpointError, match="truncated or damaged"):
            open_checkpoint(path)


def test_legacy_storage_that_is_part_of_another(tmp_path):
    part = Stored("FloatStorage", "5", 10, ("view key", 4, 3))
    content = {"a": Call("torch._utils._rebuild_tensor_v2", part, 1, (2,), (1,), False, OrderedDict())}
    (tmp_path / "m.pt").write_bytes(legacy(content, {"5": np.arange(10, dtype="f4")}))
    with open_checkpoint(tmp_path / "m.pt") as reader:
        np.testing.assert_array_equal(reader.read("a"), [5, 6])


def test_other_legacy_pickles(tmp_path):
    path = tmp_path / "m.pt"
    path.write_bytes(legacy({}, {}, little_endian=False))
    with pytest.raises(CheckpointError, match="big-endian"):
        open_checkpoint(path)
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(CheckpointError, match="a pickle, but not of PyTorch"):
        open_checkpoint(path)


def test_truncated_zip(tmp_path):
    path = tmp_path / "m.bin"
    write_zip(path, {"a": small("0")}, {"0": bytes(4)})
    content = path.read_bytes()
    for keep in range(2, len(content), 23):
        path.write_bytes(content[:keep])
        with pytest.raises(CheckpointError, match="m.bin is truncated or damaged"):
            open_checkpoint(path)


def test_a_zip_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "chinese_L-12_H-768_A-12.zip", "w") as archive:
        archive.writestr("chinese_L-12_H-768_A-12/bert_config.json", "{}")
    with pytest.raises(CheckpointError, match="zip archive, but not of PyTorch.*bert_config.json.*unpack it first"):
        open_checkpoint(tmp_path / "chinese_L-12_H-768_A-12.zip")


class TestAgainstTorch:
    @pytest.fixture
    def torch(self):
        return pytest.importorskip("torch")

    @pytest.fixture(params=[True, False], ids=["zip", "legacy"])
    def save(self, request, torch, tmp_path):
        def write(content):
            path = tmp_path / "pytorch_model.bin"
            torch.save(content, path, _use_new_zipfile_serialization=request.param)
            return path

        return write

    def test_dtypes(self, torch, save):
        names = (
            "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64 complex128 uint16 uint32 float8_e4m3fn"
        )
        tensors = {name: (torch.arange(12).reshape(3, 4) - 5).to(getattr(torch, name)) for name in names.split()}
        with open_checkpoint(save(tensors)) as reader:
            assert reader.names() == list(tensors)
            for name, expected in tensors.items():
                array = reader.read(name)
                assert array.dtype == np.dtype(getattr(ml_dtypes, name, name)) and array.shape == (3, 4)
                assert array.tobytes() == expected.contiguous().view(torch.uint8).numpy().tobytes()

    def test_views_and_shared_storages(self, torch, save):
        base = torch.arange(60, dtype=torch.float32).reshape(3, 4, 5)
        tensors = {
            "base": base,
            "same": base,
            "permuted": base.permute(2, 0, 1),
            "slice": base[1:, ::2, 1:4],
            "expanded": base[0, 0].expand(7, 5),
            "scalar": base[2, 3, 4],
            "flat": base.view(-1)[7:31],
            "empty": torch.zeros(0, 3),
        }
        with open_checkpoint(save(tensors)) as reader:
            for name, expected in tensors.items():
                np.testing.assert_array_equal(reader.read(name), expected.numpy())
                if expected.ndim and len(expected):
                    np.testing.assert_array_equal(reader.read(name, [len(expected) - 1]), expected.numpy()[-1:])

    def test_a_module_with_tied_weights_and_optimizer(self, torch, save):
        module = torch.nn.Sequential(torch.nn.Embedding(7, 4), torch.nn.Linear(4, 7, bias=False), torch.nn.BatchNorm1d(7))
        module[1].weight = module[0].weight
        optimizer = torch.optim.Adam(module.parameters())
        module(torch.tensor([1, 2])).sum().backward()
        optimizer.step()
        content = {
            "model": module.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": 1,
            "size": torch.Size([1]),
            "lr": 1e-3,
        }
        with open_checkpoint(save(content)) as reader:
            assert reader.container == "model" and reader.names() == list(module.state_dict())
            for name, expected in module.state_dict().items():
                np.testing.assert_array_equal(reader.read(name), expected.numpy())

    def test_parameters(self, torch, save):
        parameter = torch.nn.Parameter(torch.randn(3, 2))
        with open_checkpoint(save({"plain": parameter, "buffer": torch.nn.Buffer(torch.ones(2))})) as reader:
            np.testing.assert_array_equal(reader.read("plain"), parameter.detach().numpy())
            np.testing.assert_array_equal(reader.read("buffer"), [1, 1])

    def test_a_whole_module_is_refused(self, torch, save):
        with pytest.raises(CheckpointError, match="asks for torch.nn.modules.linear.Linear"):
            open_checkpoint(save(torch.nn.Linear(2, 2)))

    def test_shards(self, torch, tmp_path):
        torch.save({"a": torch.ones(2)}, tmp_path / "pytorch_model-00001-of-00002.bin")
        torch.save({"b": torch.zeros(3)}, tmp_path / "pytorch_model-00002-of-00002.bin")
        index = tmp_path / "pytorch_model.bin.index.json"
        index.write_text('{"weight_map": {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}}')
        for place in (tmp_path, index):
            with open_checkpoint(place) as reader:
                assert reader.format == "torch" and reader.read("a").tolist() == [1, 1] and reader.shape("b") == (3,)
