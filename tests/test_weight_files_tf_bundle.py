"""TensorFlow checkpoints: written and read without TensorFlow, which is the oracle where it is installed."""

import shutil
import tempfile

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_su.errors import CheckpointError
from keras_su.weights import open_checkpoint, write_tf_bundle
from keras_su.weights.crc32c import crc32c, mask
from keras_su.weights.protobuf import write_varint
from keras_su.weights.tf_table import read_table, write_table

DTYPES = ["f4", "f8", "f2", ml_dtypes.bfloat16, "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", "c8", "c16"]
DTYPES += [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2]


def some_tensors():
    rng = np.random.default_rng(0)
    tensors = {
        f"group_{i}/{np.dtype(dtype).name}": (rng.normal(size=(5, i + 1)) * 9).astype(dtype) for i, dtype in enumerate(DTYPES)
    }
    tensors["scalar"] = np.float32(3.5)
    tensors["no/rows"] = np.zeros((0, 4), "f4")
    tensors["big"] = rng.normal(size=(300, 100)).astype("f4")
    tensors["transposed"] = rng.normal(size=(4, 6)).astype("f4").T
    tensors["big endian"] = np.arange(5, dtype=">i4")
    return tensors


def assert_same(array, expected):
    assert array.dtype == np.asarray(expected).dtype.newbyteorder("=") and array.shape == expected.shape
    assert array.tobytes() == np.ascontiguousarray(expected, array.dtype).tobytes()


def test_round_trip_is_bit_equal(tmp_path):
    tensors = some_tensors()
    write_tf_bundle(tmp_path / "model.ckpt", tensors)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.ckpt.data-00000-of-00001", "model.ckpt.index"]
    with open_checkpoint(tmp_path / "model.ckpt") as reader:
        assert reader.format == "tf"
        assert sorted(tensors) == reader.names()
        for name, expected in tensors.items():
            assert name in reader
            assert reader.shape(name) == expected.shape and reader.dtype(name) == expected.dtype.newbyteorder("=")
            assert_same(reader.read(name), expected)


def test_rows_are_selected_on_reading(tmp_path):
    table = np.random.default_rng(0).normal(size=(20, 3)).astype("f4")
    write_tf_bundle(tmp_path / "m", {"first": np.zeros(7, "i1"), "table": table})
    with open_checkpoint(tmp_path / "m") as reader:
        for rows in ([3, 0, 3, 19], np.array([5]), [], range(20)):
            np.testing.assert_array_equal(reader.read("table", rows=rows), table[np.array(rows, int)])
        with pytest.raises(CheckpointError, match="has 20 rows; row 20 was asked for"):
            reader.read("table", rows=[1, 20])
        with pytest.raises(CheckpointError, match="expected a flat sequence of int"):
            reader.read("table", rows=np.ones(20, bool))


@given(st.dictionaries(st.binary(max_size=40), st.binary(max_size=60), max_size=60))
def test_table_round_trip(pairs):
    pairs = sorted(pairs.items())
    assert read_back(write_table(pairs)) == pairs


def test_a_table_of_several_blocks(monkeypatch):
    monkeypatch.setattr("keras_su.weights.tf_table._BLOCK_SIZE", 200)
    pairs = [(f"bert/encoder/layer_{i:03d}/kernel".encode(), bytes([i])) for i in range(200)]
    assert read_back(write_table(pairs)) == pairs


def read_back(table):
    with tempfile.NamedTemporaryFile() as file:
        file.write(table)
        file.flush()
        return read_table(file.name)


def test_snappy_blocks_are_read(tmp_path):
    """The index of published checkpoints is compressed: rebuild ours with literal-only Snappy blocks."""
    expected = np.arange(6, dtype="f4")
    write_tf_bundle(tmp_path / "m", {"bert/embeddings/LayerNorm/beta": expected, "bert/embeddings/LayerNorm/gamma": expected + 1})
    pairs = read_table(tmp_path / "m.index")

    def append(output, content):
        compressed = write_varint(len(content))
        for start in range(0, len(content), 50):
            piece = content[start : start + 50]
            compressed += bytes([(len(piece) - 1) << 2]) + piece
        handle = write_varint(len(output)) + write_varint(len(compressed))
        output += compressed + b"\1" + mask(crc32c(compressed + b"\1")).to_bytes(4, "little")
        return handle

    def block(pairs):
        entries = b"".join(b"\0" + write_varint(len(key)) + write_varint(len(value)) + key + value for key, value in pairs)
        return entries + (0).to_bytes(4, "little") + (1).to_bytes(4, "little")

    output = bytearray()
    data, meta = append(output, block(pairs)), append(output, block([]))
    index = append(output, block([(pairs[-1][0], data)]))
    output += (meta + index).ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")
    (tmp_path / "m.index").write_bytes(output)
    with open_checkpoint(tmp_path / "m") as reader:
        np.testing.assert_array_equal(reader.read("bert/embeddings/LayerNorm/gamma"), expected + 1)


def test_the_index_alone_gives_names_and_shapes(tmp_path):
    write_tf_bundle(tmp_path / "m.ckpt", {"table": np.zeros((3, 2), "f4")})
    (tmp_path / "m.ckpt.data-00000-of-00001").unlink()
    with open_checkpoint(tmp_path / "m.ckpt") as reader:
        assert reader.names() == ["table"] and reader.shape("table") == (3, 2)
        with pytest.raises(CheckpointError, match=r"m\.ckpt\.data-00000-of-00001 is missing"):
            reader.read("table")


@pytest.mark.parametrize("cut", [1, 30, 47, 48, 100])
def test_truncated_index(tmp_path, cut):
    write_tf_bundle(tmp_path / "m", some_tensors())
    index = tmp_path / "m.index"
    index.write_bytes(index.read_bytes()[:-cut])
    with pytest.raises(CheckpointError, match="m.index is truncated or damaged"):
        open_checkpoint(tmp_path / "m")


def test_truncated_data(tmp_path):
    write_tf_bundle(tmp_path / "m", {"a": np.zeros(4, "f4"), "b": np.ones((2, 4), "f4")})
    data = tmp_path / "m.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1])
    with open_checkpoint(tmp_path / "m") as reader:
        np.testing.assert_array_equal(reader.read("a"), np.zeros(4))
        for rows in (None, [0]):
            with pytest.raises(CheckpointError, match="truncated or damaged: 'b' ends at byte 48, the file at byte 47"):
                reader.read("b", rows)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_changed_byte_is_noticed(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("changed")
    tensors = {"a/kernel": np.arange(12, dtype="f4").reshape(3, 4), "a/bias": np.arange(3, dtype="f4")}
    write_tf_bundle(folder / "m", tensors)
    path = folder / data.draw(st.sampled_from(["m.index", "m.data-00000-of-00001"]))
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        with open_checkpoint(folder / "m") as reader:
            for name in tensors:
                assert_same(reader.read(name), tensors[name])  # a change in the unused padding of the footer does no harm
    except CheckpointError:
        pass


def test_a_git_lfs_pointer_among_the_files(tmp_path):
    write_tf_bundle(tmp_path / "m", {"a": np.zeros(4, "f4")})
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 409600\n"
    (tmp_path / "m.data-00000-of-00001").write_text(pointer)
    with (
        open_checkpoint(tmp_path / "m") as reader,
        pytest.raises(CheckpointError, match="data-00000-of-00001 is a git-lfs pointer"),
    ):
        reader.read("a")
    (tmp_path / "m.index").write_text(pointer)
    with pytest.raises(CheckpointError, match="m.index is a git-lfs pointer.*409,600 bytes.*git lfs pull"):
        open_checkpoint(tmp_path / "m")


def test_nothing_is_left_after_a_crash(tmp_path):
    def failing():
        yield "a", np.zeros(4, "f4")
        raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        write_tf_bundle(tmp_path / "m", failing())
    assert not list(tmp_path.iterdir())
    write_tf_bundle(tmp_path / "m", {"a": np.ones(4, "f4")})
    with pytest.raises(RuntimeError, match="crash"):
        write_tf_bundle(tmp_path / "m", failing())
    np.testing.assert_array_equal(open_checkpoint(tmp_path / "m").read("a"), np.ones(4))
    assert len(list(tmp_path.iterdir())) == 2


def test_what_tensorflow_has_no_type_for(tmp_path):
    with pytest.raises(CheckpointError, match="cannot hold 'a' of dtype int4"):
        write_tf_bundle(tmp_path / "m", {"a": np.zeros(2, ml_dtypes.int4)})
    with pytest.raises(CheckpointError, match="only numbers"):
        write_tf_bundle(tmp_path / "m", {"a": np.array(["text"])})
    assert not list(tmp_path.iterdir())


class TestAgainstTensorFlow:
    @pytest.fixture
    def tf(self):
        return pytest.importorskip("tensorflow")

    def test_tensorflow_reads_ours(self, tf, tmp_path):
        tensors = some_tensors()
        write_tf_bundle(tmp_path / "model.ckpt", tensors)
        reader = tf.train.load_checkpoint(str(tmp_path / "model.ckpt"))
        assert reader.get_variable_to_shape_map() == {name: list(array.shape) for name, array in tensors.items()}
        for name, array in tensors.items():
            assert_same(np.asarray(reader.get_tensor(name)), array)

    def test_we_read_several_shards(self, tf, tmp_path):
        tensors = some_tensors()
        names = sorted(tensors)
        prefixes = []
        for part in range(3):
            prefixes.append(str(tmp_path / f"part{part}"))
            mine = names[part::3]
            values = [tf.constant(np.array(tensors[name], tensors[name].dtype.newbyteorder("="))) for name in mine]
            tf.raw_ops.SaveV2(prefix=prefixes[-1], tensor_names=mine, shape_and_slices=[""] * len(mine), tensors=values)
        tf.raw_ops.MergeV2Checkpoints(
            checkpoint_prefixes=prefixes, destination_prefix=str(tmp_path / "all" / "m"), delete_old_dirs=False
        )
        assert len(list((tmp_path / "all").glob("m.data-*-of-00003"))) == 3
        with open_checkpoint(tmp_path / "all") as reader:
            assert reader.names() == names
            for name in names:
                assert_same(reader.read(name), tensors[name])
        next((tmp_path / "all").glob("m.data-00001*")).unlink()
        with open_checkpoint(tmp_path / "all") as reader, pytest.raises(CheckpointError, match="data-00001-of-00003 is missing"):
            for name in names:
                reader.read(name)

    def test_we_read_partitioned_variables(self, tf, tmp_path):
        table = np.random.default_rng(0).normal(size=(200, 70)).astype("f4")
        pieces = {"200 70 0,64:-": table[:64], "200 70 64,136:0,65": table[64:, :65], "200 70 64,136:65,5": table[64:, 65:]}
        values = [tf.constant(piece) for piece in pieces.values()]
        tf.raw_ops.SaveV2(prefix=str(tmp_path / "m"), tensor_names=["a/table"] * 3, shape_and_slices=list(pieces), tensors=values)
        with open_checkpoint(tmp_path / "m") as reader:
            assert reader.names() == ["a/table"] and reader.shape("a/table") == (200, 70)
            np.testing.assert_array_equal(reader.read("a/table"), table)
            np.testing.assert_array_equal(reader.read("a/table", [199, 3]), table[[199, 3]])

    def test_strings_of_an_object_checkpoint_are_left_out(self, tf, tmp_path):
        prefix = tf.train.Checkpoint(weight=tf.Variable([1.0, 2.0])).write(str(tmp_path / "m"))
        with open_checkpoint(prefix) as reader:
            assert reader.names() == ["weight/.ATTRIBUTES/VARIABLE_VALUE"]
            np.testing.assert_array_equal(reader.read(reader.names()[0]), [1, 2])

    def test_the_state_file_of_a_folder_names_the_newest(self, tf, tmp_path):
        for step in (1, 2, 3):
            tf.train.Checkpoint(step=tf.Variable(step)).write(str(tmp_path / f"model.ckpt-{step}"))
        with pytest.raises(CheckpointError, match="several checkpoints: model.ckpt-1, model.ckpt-2, model.ckpt-3"):
            open_checkpoint(tmp_path)
        tf.compat.v1.train.update_checkpoint_state(str(tmp_path), str(tmp_path / "model.ckpt-2"))
        moved = tmp_path.with_name("moved")
        shutil.move(tmp_path, moved)
        assert open_checkpoint(moved).read("step/.ATTRIBUTES/VARIABLE_VALUE") == 2
