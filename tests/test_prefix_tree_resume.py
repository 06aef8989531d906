"""PrefixTree that is killed while it is built: the next build goes on, and gives the same files as one that was left in peace."""

import inspect
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_su.decoding import PrefixTree, prefix_tree_build, prefix_tree_resume
from keras_su.decoding.prefix_tree_collect import item_blocks
from keras_su.decoding.prefix_tree_folder import building
from keras_su.decoding.prefix_tree_runs import SavedRows
from keras_su.errors import KerasSuError

MEMORY = 40_000  # several runs for ``random_items``


def random_items(seed=0, count=3000):
    chance = random.Random(seed)
    keys = [[chance.randrange(6) for _ in range(chance.randrange(9))] for _ in range(count)]
    return [(key, chance.choice([None, "", f"值{number}"])) for number, key in enumerate(keys)]


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def undisturbed(items, folder):
    PrefixTree.build(items, folder=folder)
    return contents(folder)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def interrupt(items, folder, at, **arguments):
    """A build whose source is interrupted before item ``at``; what it has sorted stays, as after a kill."""

    def source():
        yield from items[:at]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        PrefixTree.build(source(), folder=folder, **{"memory": MEMORY, **arguments})


@pytest.fixture
def written(monkeypatch):
    """The names of all sorted runs and merged ranges that are written from now on."""
    found = []
    real = SavedRows.write.__func__

    def write(cls, folder, *arguments, **named):
        found.append(os.path.basename(folder))
        return real(cls, folder, *arguments, **named)

    monkeypatch.setattr(SavedRows, "write", classmethod(write))
    return found


# One process imports the library and then forks builds that are killed, each at another moment or after another time.
KILLED = """
import os, random, signal, sys, time
from keras_su.decoding import prefix_tree_build, prefix_tree_resume, prefix_tree_runs
from keras_su.decoding.prefix_tree import PrefixTree

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

def source(at):
    for number, item in enumerate(random_items()):
        if number == at:
            die()
        yield item

def dying_at(module, name, when, call=1):
    real, calls = getattr(module, name), []
    def function(*arguments):
        calls.extend([1] * when(*arguments))
        return die() if len(calls) >= call else real(*arguments)
    setattr(module, name, function)

moment, folder, workers = sys.argv[1:]
for moment in moment.split(","):
    child = os.fork()
    if child:
        if moment.startswith("after"):
            time.sleep(float(moment[5:]))
            os.kill(child, signal.SIGKILL)
        end = os.WTERMSIG(os.waitpid(child, 0)[1])
        print(moment, end, flush=True)
        if end or not moment.startswith("after"):
            continue
        break
    if moment in ("run-00003", "plan.json", "range-00002"):
        for module in (prefix_tree_runs, prefix_tree_resume):
            dying_at(module, "write_json", lambda path, content: moment in path)
    elif moment == "layout":
        dying_at(prefix_tree_build.Layout, "write", lambda *arguments: True, 3)
    elif moment == "moving":
        dying_at(prefix_tree_build, "put_in_place", lambda *arguments: True)
    PrefixTree.build(source(2000 if moment == "reading" else -1), folder=f"{folder}/{moment}"[:len(folder) + 6],
                     memory=MEMORY, workers=int(workers))
    os._exit(0)
"""


def kill(moments, folder, workers):
    """``KILLED`` in a process of its own; the signal that ended each build, 0 for none."""
    script = f"MEMORY = {MEMORY}\n{inspect.getsource(random_items)}\n{KILLED}"
    command = [sys.executable, "-c", script, ",".join(moments), str(folder), str(workers)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, stdout=subprocess.PIPE, check=True
    )
    return [int(line.split()[1]) for line in done.stdout.decode().splitlines()]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes as POSIX systems do")
def test_a_killed_build_goes_on(tmp_path, written):
    expected = undisturbed(random_items(), tmp_path / "expected")
    PrefixTree.build(random_items(), folder=tmp_path / "whole", memory=MEMORY)
    runs, ranges = (sum(name.startswith(kind) for name in written) for kind in ("run", "range"))
    assert runs > 5 and ranges > 4
    moments = ["reading", "run-00003", "plan.json", "range-00002", "layout", "moving"]
    times = [f"after{0.04 * number:.2f}" for number in range(1, 12, 2)]  # the same build, again and again
    killed = tmp_path / "killed"
    killed.mkdir()
    signals = kill(moments + times, killed, workers=1)
    assert signals[: len(moments) + 1] == [9] * (len(moments) + 1)
    saved = {
        "reading": 1,
        "run-00003": 3,
        "plan.json": runs,
        "range-00002": runs + 2,
        "layout": runs + ranges,
        "moving": runs + ranges,
    }
    for moment in [*moments, "after"]:
        written.clear()
        folder = killed / moment[:5]
        assert moment == "after" or (not folder.exists() and Path(f"{folder}.building").exists())
        PrefixTree.build(iter(random_items()), folder=folder, memory=MEMORY)
        assert contents(folder) == expected and not Path(f"{folder}.building").exists()
        assert len(written) <= runs + ranges - saved.get(moment, 0), moment


@pytest.mark.parametrize("settings", [{}, {"memory": 4 * MEMORY}, {"memory": MEMORY // 3}, {"workers": 3}])
def test_other_memory_and_workers_may_go_on(tmp_path, written, settings):
    items = random_items()
    expected = undisturbed(items, tmp_path / "expected")
    interrupt(items, tmp_path / "tree", 2500)
    assert names(tmp_path) == ["expected", "tree.building"]
    PrefixTree.build(items, folder=tmp_path / "tree", **{"memory": MEMORY, **settings})
    assert contents(tmp_path / "tree") == expected and names(tmp_path) == ["expected", "tree"]
    if settings != {"memory": MEMORY // 3}:
        assert written.count("run-00001") == 1


def changed(items):
    """The same items with one thing changed."""
    key, value = items[700]
    yield "another id", [*items[:700], ([*key, 5], value), *items[701:]]
    yield "another value", [*items[:700], (key, "other"), *items[701:]]
    yield "no value or an empty one", [*items[:700], (key, "" if value is None else None), *items[701:]]
    yield "another order", [*items[:100], *reversed(items[100:200]), *items[200:]]
    yield "one fewer", items[:700] + items[701:]
    yield "one more", items[:700] + [([1], "new")] + items[700:]
    yield "fewer at the end", items[:1500]
    yield "more at the end", items + [([2, 2], "new")]
    yield "others", random_items(1)
    yield "few", items[:10]
    yield "none", []


def test_a_changed_source_is_noticed(tmp_path):
    items = random_items()
    for what, other in changed(items):
        expected = undisturbed(other, tmp_path / "expected")
        interrupt(items, tmp_path / "tree", 2900)
        PrefixTree.build(iter(other), folder=tmp_path / "tree", memory=MEMORY)
        assert contents(tmp_path / "tree") == expected, what
        assert names(tmp_path) == ["expected", "tree"]


def test_ranges_of_other_runs_are_not_used(tmp_path, monkeypatch):
    items = random_items()
    for what, other in list(changed(items))[::3]:
        expected = undisturbed(other, tmp_path / "expected")
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(prefix_tree_build.Layout, "write", interrupted)
            PrefixTree.build(items, folder=tmp_path / "tree", memory=MEMORY)
        PrefixTree.build(iter(other), folder=tmp_path / "tree", memory=MEMORY)
        assert contents(tmp_path / "tree") == expected, what


def test_ranges_of_another_plan_are_not_used_beyond_a_gap(tmp_path, monkeypatch):
    """Workers that are killed may leave the second and the fourth range without the third."""
    items, others = random_items(), random_items(1)
    expected = undisturbed(others, tmp_path / "expected")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(prefix_tree_build.Layout, "write", interrupted)
        PrefixTree.build(items, folder=tmp_path / "tree", memory=MEMORY)
    for kind in ("run", "range"):
        shutil.rmtree(tmp_path / "tree.building" / f"{kind}-00001")
    PrefixTree.build(others, folder=tmp_path / "tree", memory=MEMORY)
    assert contents(tmp_path / "tree") == expected


def interrupted(*arguments):
    raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["run-00001", "range-00001"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "describe"])
def test_damaged_runs_and_ranges_are_made_anew(tmp_path, monkeypatch, kind, damage):
    items = random_items()
    expected = undisturbed(items, tmp_path / "expected")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(prefix_tree_build.Layout, "write", interrupted)
        PrefixTree.build(items, folder=tmp_path / "tree", memory=MEMORY)
    path = tmp_path / "tree.building" / kind / ("rows.json" if damage == "describe" else "tokens")
    data = path.read_bytes()
    if damage == "flip":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "remove":
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 2])
    PrefixTree.build(items, folder=tmp_path / "tree", memory=MEMORY)
    assert contents(tmp_path / "tree") == expected


items_of_trees = st.lists(st.tuples(st.lists(st.integers(0, 2), max_size=5), st.none() | st.text(max_size=2)), max_size=60)


@settings(max_examples=20, deadline=None)
@given(items_of_trees, items_of_trees, st.integers(0, 60), st.integers(0, 60), st.integers(1, 2000), st.integers(1, 2000))
def test_any_interrupted_build_may_be_followed_by_any_other(items, others, at, same, memory, other_memory):
    """``others`` begins like ``items`` for ``same`` items."""
    others = items[:same] + others
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        interrupt(items, folder / "tree", at, memory=memory)
        PrefixTree.build(others, folder=folder / "tree", memory=other_memory)
        assert contents(folder / "tree") == undisturbed(others, folder / "expected")


def test_digest_depends_on_keys_and_values_only():
    def digest(items, block):
        return prefix_tree_resume.digest(item_blocks(items, 2**32 - 2, block))

    items = random_items(count=500)  # only the last one needs four bytes an id
    assert len({digest([*items, ([70000], "x")], block) for block in (1, 100, 10**6)}) == 1
    assert digest([*items, ([70000], "x")], 100) != digest([*items, ([70001], "x")], 100)


def test_only_one_build_of_a_folder_at_a_time(tmp_path):
    with building(str(tmp_path / "tree")), pytest.raises(KerasSuError, match="is being built by another process"):
        PrefixTree.build(random_items(), folder=tmp_path / "tree")
    assert names(tmp_path) == []
    (tmp_path / "tree.building").mkdir()
    (tmp_path / "tree.building" / "notes.txt").write_text("keep me")
    with pytest.raises(KerasSuError, match="is something else"):
        PrefixTree.build(random_items(), folder=tmp_path / "tree")
    assert names(tmp_path) == ["tree.building"]


def test_wrong_arguments_keep_what_was_sorted(tmp_path):
    interrupt(random_items(), tmp_path / "tree", 2900)
    kept = names(tmp_path / "tree.building")
    for wrong in ({"workers": 0}, {"workers": True}, {"memory": 0}, {"dtype": "int8"}):
        with pytest.raises(KerasSuError, match=next(iter(wrong))):
            PrefixTree.build(random_items(), folder=tmp_path / "tree", **wrong)
    with pytest.raises(KerasSuError, match="bounds"):
        PrefixTree.from_arrays([1], [0, 2], folder=tmp_path / "tree")
    assert names(tmp_path / "tree.building") == kept and "run-00001" in kept
