"""PrefixTree on disk: building in bounded memory, saving, mapping, and every way in which a folder can be wrong."""

import io
import json
import random
import shutil
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_su.decoding import PrefixTree, prefix_tree_build, prefix_tree_files, prefix_tree_resume
from keras_su.decoding.prefix_tree_files import checksum
from keras_su.errors import KerasSuError

ITEMS = [([1, 2, 3], "a"), ([1, 2], "b"), ([1, 2, 3], "c"), ([2], None), ([2, 70000], "d"), ([], "e")]


def random_items(seed, count=3000):
    """Short keys with many repetitions; the late ones need four bytes an id."""
    chance = random.Random(seed)
    keys = [[chance.randrange(6) for _ in range(chance.randrange(7))] for _ in range(count)] + [[3, 70000], [70000]]
    return [(key, chance.choice([None, "", f"值{number}"])) for number, key in enumerate(keys)]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def saved(items, folder, **arguments):
    PrefixTree.build(items, **arguments).save(folder)
    return contents(folder)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("memory", [40_000, 400_000])
def test_memory_and_workers_do_not_change_the_files(tmp_path, memory, workers):
    items = random_items(memory)
    expected = saved(items, tmp_path / "whole")
    assert saved(items, tmp_path / "runs", memory=memory, workers=workers) == expected
    PrefixTree.build(iter(items), folder=tmp_path / "mapped", memory=memory, workers=workers)
    assert contents(tmp_path / "mapped") == expected


def test_keys_in_memory_are_written_by_several_workers(tmp_path, monkeypatch):
    expected = saved(random_items(0), tmp_path / "whole", workers=1)
    monkeypatch.setattr(prefix_tree_build, "WINDOW", 100)
    assert (
        saved(random_items(0), tmp_path / "windows", workers=1)
        == saved(random_items(0), tmp_path / "slices", workers=3)
        == expected
    )


items_of_trees = st.lists(st.tuples(st.lists(st.integers(0, 2), max_size=5), st.none() | st.text(max_size=2)), max_size=30)


@settings(max_examples=60, deadline=None)
@given(items_of_trees, st.integers(1, 3000))
def test_any_memory_gives_the_same_answers(items, memory):
    whole, runs = PrefixTree.build(items), PrefixTree.build(items, memory=memory)
    assert whole.nbytes == runs.nbytes
    listed = [[(ids.tolist(), values) for ids, values in tree.completions(tree.root)] for tree in (whole, runs)]
    assert listed[0] == listed[1]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_shown_on_a_terminal_only(monkeypatch, capsys):
    PrefixTree.build(random_items(0), memory=20_000)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys, "stderr", Terminal())
    PrefixTree.build(random_items(0), memory=20_000, progress=False)
    assert sys.stderr.getvalue() == ""
    PrefixTree.build(random_items(0), memory=20_000)
    for phase in ("Reading", "Merging", "Writing"):
        assert f"{phase} keys: 100%" in sys.stderr.getvalue()


def test_an_error_in_a_worker_is_raised(monkeypatch, tmp_path):
    def fail(rows):
        raise OSError("no space left on device")

    monkeypatch.setattr(prefix_tree_build, "sort_rows", fail)
    for workers in (1, 3):
        with pytest.raises(OSError, match="no space left"):
            PrefixTree.build(random_items(0), folder=tmp_path / "tree", memory=20_000, workers=workers)
        assert list(tmp_path.iterdir()) == []


def test_little_memory_really_makes_runs(monkeypatch):
    merged = []
    real_plan = prefix_tree_resume.planned
    monkeypatch.setattr(
        prefix_tree_resume, "planned", lambda runs, nbytes: merged.append((len(runs), real_plan(runs, nbytes))) or merged[-1][1]
    )
    PrefixTree.build(random_items(0), memory=20_000)
    PrefixTree.build(random_items(0))
    assert len(merged) == 1 and merged[0][0] > 5 and len(merged[0][1]) > 3


@pytest.mark.parametrize("mmap", [True, False])
def test_save_and_load(tmp_path, mmap):
    tree = PrefixTree.build(ITEMS)
    tree.save(tmp_path / "tree")
    loaded = PrefixTree.load(tmp_path / "tree", mmap=mmap)
    assert [(ids.tolist(), values) for ids, values in loaded.completions(loaded.root)] == [
        ([], ["e"]),
        ([1, 2], ["b"]),
        ([1, 2, 3], ["a", "c"]),
        ([2], []),
        ([2, 70000], ["d"]),
    ]
    assert loaded.find([1, 2]) == tree.find([1, 2]) and loaded.nbytes == tree.nbytes
    with pytest.raises(ValueError, match="read-only"):
        loaded.children(loaded.root)[0] = 9


@pytest.mark.parametrize("items", [[], [[]], [[1]], [([1], "")]])
def test_the_smallest_trees_can_be_saved(tmp_path, items):
    expected = saved(items, tmp_path / "tree")
    loaded = PrefixTree.load(str(tmp_path / "tree"))
    assert len(loaded) == len(items)
    PrefixTree.build(items, folder=tmp_path / "mapped", memory=1)
    assert contents(tmp_path / "mapped") == expected


def test_a_mapped_tree_is_replaced_under_its_reader(tmp_path):
    old = PrefixTree.build([[1, 2]], folder=tmp_path / "tree")
    new = PrefixTree.build([[3], [4]], folder=tmp_path / "tree")
    assert [ids.tolist() for ids in old.keys()] == [[1, 2]] and [ids.tolist() for ids in new.keys()] == [[3], [4]]
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


def test_an_error_leaves_nothing_half_written(tmp_path):
    def broken():
        yield [1]
        raise RuntimeError("the source broke")

    for memory in (1, 10**6):
        with pytest.raises(RuntimeError, match="the source broke"):
            PrefixTree.build(broken(), folder=tmp_path / "tree", memory=memory)
        assert list(tmp_path.iterdir()) == []
    expected = saved(ITEMS, tmp_path / "tree")
    with pytest.raises(RuntimeError, match="the source broke"):
        PrefixTree.build(broken(), folder=tmp_path / "tree")
    assert [path.name for path in tmp_path.iterdir()] == ["tree"] and contents(tmp_path / "tree") == expected


def test_a_failing_disk_keeps_the_old_tree(tmp_path, monkeypatch):
    expected = saved(ITEMS, tmp_path / "tree")

    def full(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(prefix_tree_files, "checksum", full)
    with pytest.raises(OSError, match="no space left"):
        PrefixTree.build([[1]]).save(tmp_path / "tree")
    assert [path.name for path in tmp_path.iterdir()] == ["tree"] and contents(tmp_path / "tree") == expected


def test_other_folders_are_not_overwritten(tmp_path):
    (tmp_path / "notes.txt").write_text("keep me")
    with pytest.raises(KerasSuError, match="is not a prefix tree"):
        PrefixTree.build(ITEMS).save(tmp_path)
    with pytest.raises(KerasSuError, match="is not a prefix tree"):
        PrefixTree.build(ITEMS).save(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "keep me"


def damage_meta(**changes):
    def damage(folder):
        meta = json.loads((folder / "meta.json").read_text())
        (folder / "meta.json").write_text(json.dumps(meta | changes))

    return damage


def cut(name, size):
    def damage(folder):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:size])

    return damage


def flip_last_byte(folder):
    data = bytearray((folder / "edge_target.npy").read_bytes())
    data[-1] ^= 1
    (folder / "edge_target.npy").write_bytes(data)


def other_tree_part(folder):
    """A part of another tree, with a description that fits it."""
    other = PrefixTree.build([[1], [2], [3]])
    other.save(folder / "other")
    meta, other_meta = (json.loads((place / "meta.json").read_text()) for place in (folder, folder / "other"))
    meta["parts"]["edge_token"] = other_meta["parts"]["edge_token"]
    (folder / "meta.json").write_text(json.dumps(meta))
    shutil.move(folder / "other" / "edge_token.npy", folder / "edge_token.npy")


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "is not a folder"),
        (lambda folder: (folder / "meta.json").unlink(), "has no meta.json"),
        (lambda folder: (folder / "meta.json").write_text("{"), "meta.json' is damaged"),
        (lambda folder: (folder / "meta.json").write_text("[]"), "meta.json' is damaged"),
        (damage_meta(parts={}), "meta.json' is damaged"),
        (damage_meta(version=99), "version 99. Expected version 1"),
        (damage_meta(format="a song"), "describes 'a song'"),
        (lambda folder: (folder / "tail_start.npy").unlink(), "lacks tail_start.npy"),
        (cut("tail_token.npy", -1), "tail_token.npy' cannot be read"),
        (cut("tail_token.npy", 40), "tail_token.npy' cannot be read"),
        (cut("tail_token.npy", 0), "tail_token.npy' cannot be read"),
        (lambda folder: np.save(folder / "text.npy", np.zeros(3, np.int64)), r"holds <i8 of shape \(3,\)"),
        (lambda folder: np.save(folder / "text.npy", np.array([None], object)), "text.npy' cannot be read"),
        (other_tree_part, "do not belong together"),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path, damage, message, mmap):
    saved(ITEMS, tmp_path / "tree")
    damage(tmp_path / "tree")
    with pytest.raises(KerasSuError, match=message):
        PrefixTree.load(tmp_path / "tree", mmap=mmap)


def test_a_flipped_bit_is_found_when_reading_everything(tmp_path):
    saved(ITEMS, tmp_path / "tree")
    flip_last_byte(tmp_path / "tree")
    with pytest.raises(KerasSuError, match="checksum differs"):
        PrefixTree.load(tmp_path / "tree", mmap=False)


def test_checksum_does_not_depend_on_blocks():
    part = np.arange(1000, dtype=np.uint32)
    assert checksum(part) == checksum(part, block=7) != checksum(part[::-1])
