"""PrefixTree at the size of a whole knowledge base: built on disk, loaded and walked at 1, 5 and 20.5 million keys.

    OMP_NUM_THREADS=1 python benchmarks/bench_prefix_tree_scale.py --keys 1000000,5000000,20500000 --folder /some/disk

Keys and objects are written to ``--folder`` first (50 bytes a key), then ``PrefixTree.from_arrays(folder=...)`` reads them from
there; while it works it needs about 200 bytes a key there. Making, building and walking run in processes of their own.

Columns: bytes a key without and with the values; gigabytes on disk, likewise; seconds of the build, wall and CPU of all threads;
memory that the build adds to the process at its highest, without mapped files, which the system takes back when it needs to
(``RssAnon``, read 50 times a second); milliseconds to load; microseconds of CPU of a step. A step lists what may follow and goes
on with the next token. "First walk" is one state at a time along random keys of a tree just loaded, page faults included. Then
come steps of 1, 32 and 256 states with equal candidate counts at every size: states with 1, 2, 4, 8 and 16 children, as many of
each, their pages in memory. Linux.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from synthetic_keys import knowledge_blocks

from keras_su.decoding.prefix_tree import PrefixTree

CANDIDATES = (1, 2, 4, 8, 16)
STATES = 2048  # of each candidate count, for those that so many keys have
VALUE_PARTS = ("value_start", "text_start", "text")


class Texts:
    """The values as the sequence that ``from_arrays`` wants, read from disk slice by slice."""

    def __init__(self, folder):
        self.text, self.bounds = mapped(folder, "text", np.uint8), mapped(folder, "text_bounds", np.int64)

    def __len__(self):
        return len(self.bounds) - 1

    def __getitem__(self, part):
        bounds = self.bounds[part.start : part.stop + 1].tolist()
        text = self.text[bounds[0] : bounds[-1]].tobytes()
        return [text[start - bounds[0] : stop - bounds[0]].decode() for start, stop in zip(bounds, bounds[1:])]


def mapped(folder, name, dtype):
    return np.memmap(folder / name, dtype, mode="r")


def make(folder, count, seed):
    """Write keys and values, block by block."""
    with open(folder / "ids", "wb") as ids_file, open(folder / "bounds", "wb") as bounds_file:
        with open(folder / "text", "wb") as text_file, open(folder / "text_bounds", "wb") as text_bounds_file:
            ids_done = text_done = 0
            np.zeros(1, np.int64).tofile(bounds_file)
            np.zeros(1, np.int64).tofile(text_bounds_file)
            for ids, bounds, texts in knowledge_blocks(count, seed, values=True):
                ids.tofile(ids_file)
                (ids_done + bounds[1:]).tofile(bounds_file)
                encoded = [text.encode() for text in texts]
                text_file.write(b"".join(encoded))
                (text_done + np.cumsum([len(text) for text in encoded])).tofile(text_bounds_file)
                ids_done += len(ids)
                text_done += sum(map(len, encoded))


def build(folder, memory, workers):
    ids, bounds, values = mapped(folder, "ids", np.uint16), mapped(folder, "bounds", np.int64), Texts(folder)
    before, wall, cpu = anonymous("self"), time.perf_counter(), time.process_time()
    tree = PrefixTree.from_arrays(ids, bounds, values, folder=folder / "tree", memory=memory, workers=workers)
    figures = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "before": before, "keys": len(tree)}
    return {**figures, "tokens": len(ids) / (len(bounds) - 1)}


def walk(folder):
    """Load the tree, walk random keys, then time steps from states with given candidate counts."""
    started = time.perf_counter()
    tree = PrefixTree.load(folder / "tree")
    tree.children(tree.root)
    figures = {"load": (time.perf_counter() - started) * 1e3}
    ids, bounds = mapped(folder, "ids", np.uint16), mapped(folder, "bounds", np.int64)
    generator = np.random.default_rng(1)
    pools, first_times = {count: [] for count in CANDIDATES}, []
    while len(first_times) < 2000 or any(len(pool) < STATES for pool in pools.values()):
        row = generator.integers(len(bounds) - 1)
        key, state, visited = ids[bounds[row] : bounds[row + 1]].tolist(), tree.root, []
        started = time.process_time()
        for token in key:
            children = tree.children(state)
            visited.append((state, token, len(children)))
            state = tree.advance(state, token)
        first_times.append((time.process_time() - started) / len(key))
        for state, token, count in visited:
            if count in pools and len(pools[count]) < STATES:
                pools[count].append((state, token))
    figures["first"] = np.mean(first_times[:2000]) * 1e6
    for batch in (1, 32, 256):
        figures[f"step{batch}"] = min(step_time(tree, pools, batch) for _ in range(7)) * 1e6
    sizes = {path.stem: path.stat().st_size for path in (folder / "tree").iterdir()}
    return {**figures, "all_bytes": sum(sizes.values()), "key_bytes": sum(sizes.values()) - sum(sizes[p] for p in VALUE_PARTS)}


def step_time(tree, pools, batch):
    """CPU seconds of a step of ``batch`` states, in which every candidate count is as frequent as the others."""
    generator = np.random.default_rng(2)
    pairs = np.array([pair for position in range(STATES) for pair in (pools[count][position] for count in CANDIDATES)])
    pairs = pairs[generator.permutation(len(pairs))]
    batches = [pairs[start : start + batch] for start in range(0, len(pairs) - batch + 1, batch)]
    if batch == 1:
        steps = [tuple(pair[0].tolist()) for pair in batches]
        started = time.process_time()
        for state, token in steps:
            tree.children(state)
            tree.advance(state, token)
    else:
        steps = [(pair[:, 0].copy(), pair[:, 1].copy()) for pair in batches]
        started = time.process_time()
        for states, tokens in steps:
            tree.children_many(states)
            tree.advance_many(states, tokens)
    return (time.process_time() - started) / len(steps)


def anonymous(process):
    """Bytes of resident memory of a process that belong to no file, 0 when it has ended."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), 0)


def measured(phase, folder, arguments, count):
    """What a phase prints as JSON, run in a process of its own, and the highest ``RssAnon`` of that."""
    command = [sys.executable, __file__, "--phase", phase, "--folder", str(folder), "--keys", str(count)]
    command += ["--seed", str(arguments.seed), "--memory", str(arguments.memory)]
    command += ["--workers", str(arguments.workers)] if arguments.workers else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, anonymous(process.pid))
            time.sleep(0.02)
        if process.returncode:
            raise SystemExit(f"{phase} at {count} keys ended with {process.returncode}")
        return {**json.loads(process.stdout.read().splitlines()[-1]), "peak": peak}


def row(count, figures, smallest):
    steps = [figures[f"step{batch}"] for batch in (1, 32, 256)]
    ratios = [figures[f"step{batch}"] / smallest[f"step{batch}"] for batch in (1, 32, 256)]
    cells = [
        f"{count:,}",
        f"{figures['key_bytes'] / figures['keys']:.1f} / {figures['all_bytes'] / figures['keys']:.1f}",
        f"{figures['key_bytes'] / 1e9:.3f} / {figures['all_bytes'] / 1e9:.3f}",
        f"{figures['wall']:.1f} / {figures['cpu']:.1f}",
        f"{figures['added'] / 2**20:,.0f} MB = {figures['added'] / count:.0f} B/key",
        f"{figures['load']:.1f}",
        f"{figures['first']:.1f}",
        " / ".join(f"{step:.1f}" for step in steps),
        " / ".join(f"{ratio:.2f}" for ratio in ratios),
    ]
    return f"| {' | '.join(cells)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", default="1000000,5000000,20500000", help="sizes; the first is what the others are compared to")
    parser.add_argument("--folder", type=Path, help="where there is room; default: the system's folder for temporary files")
    parser.add_argument("--memory", type=int, default=512, help="MiB for a build")
    parser.add_argument("--workers", type=int, help="threads of a build; default: the cores there are")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--phase", choices=["make", "build", "walk"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.phase == "make":
        make(arguments.folder, int(arguments.keys), arguments.seed)
        print("{}")
    elif arguments.phase == "build":
        print(json.dumps(build(arguments.folder, arguments.memory * 2**20, arguments.workers)))
    elif arguments.phase == "walk":
        print(json.dumps(walk(arguments.folder)))
    else:
        compare(arguments)


def compare(arguments):
    """Run all phases at every size and print the table, row by row."""
    columns = (
        "keys|B/key: keys / all|GB: keys / all|build, s: wall / CPU|peak|load, ms|first walk, us|step, us: 1 / 32 / 256|to first"
    )
    print(f"| {' | '.join(columns.split('|'))} |\n|{'---|' * 9}", flush=True)
    smallest = None
    for count in map(int, arguments.keys.split(",")):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            measured("make", folder, arguments, count)
            built = measured("build", folder, arguments, count)
            figures = {**built, **measured("walk", folder, arguments, count), "added": built["peak"] - built["before"]}
        smallest = smallest or figures
        print(row(count, figures, smallest), flush=True)


if __name__ == "__main__":
    main()
