"""PrefixTree against a nested dictionary and marisa-trie, on synthetic knowledge-graph keys.

    OMP_NUM_THREADS=1 python benchmarks/bench_prefix_tree.py --keys 1000000 --peers dict,marisa

Every measurement runs in a process of its own, the peers in turn, round after round; the table shows medians. All times but those
of loading are CPU time. The build includes turning the stored keys into Python lists, the same for all (row "lists only"), except
that ``from_arrays`` needs none. It is without garbage collection, which would slow down the dictionaries. Peak memory is what the
build adds to the process at its highest, the result included. A step is: list the tokens that may follow (for a batch also fetch
their scores from a row of 21,128), then go on with the next token of a real key; the first step, at the root, is left out. Linux.
"""

import argparse
import gc
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from synthetic_keys import knowledge_keys

from keras_su.decoding.prefix_tree import PrefixTree
from keras_su.decoding.prefix_tree_rows import spread

VOCABULARY = 21128
WALKS = {1: 200, 32: 10, 256: 4}  # batch size: batches that are walked


class Tree:
    """The library's own structure."""

    title = "PrefixTree"

    def build(self, folder):
        self.tree = PrefixTree.build(stored_keys(folder), progress=False)
        return self.tree.nbytes

    def load(self, folder):
        self.tree.save(folder / "tree")
        started = time.perf_counter()
        self.tree = PrefixTree.load(folder / "tree")
        self.tree.children(self.tree.root)
        return time.perf_counter() - started

    def start(self, tokens):
        """The state after one token, or the states of a batch."""
        states = [self.tree.advance(self.tree.root, token) for token in tokens]
        return states[0] if len(states) == 1 else np.array(states)

    def step(self, state, token):
        return self.tree.children(state), self.tree.advance(state, token)

    def batch_step(self, states, tokens, scores):
        allowed, spans = self.tree.children_many(states)
        sizes = spans[:, 1] - spans[:, 0]
        found = scores[np.repeat(np.arange(len(states)), sizes), allowed[spread(spans[:, 0], sizes)]]
        return found, self.tree.advance_many(states, tokens)


class TreeWithValues(Tree):
    """Every key with a text of five Chinese characters."""

    title = "PrefixTree, values"

    def build(self, folder):
        texts = ["".join(map(chr, range(start, start + 5))) for start in range(19968, 40000)]
        items = ((key, texts[number % len(texts)]) for number, key in enumerate(stored_keys(folder)))
        self.tree = PrefixTree.build(items, progress=False)
        return self.tree.nbytes


class TreeFromArrays(Tree):
    """The keys as one ragged array, never as lists."""

    title = "PrefixTree.from_arrays"

    def build(self, folder):
        ids, bounds = (np.load(folder / name, mmap_mode="r") for name in ("ids.npy", "bounds.npy"))
        self.tree = PrefixTree.from_arrays(ids, bounds, progress=False)
        return self.tree.nbytes


class NestedDict:
    """One dictionary a node, as in the reference implementations of constrained decoding."""

    title = "nested dict"

    def build(self, folder):
        before = resident("VmRSS")
        self.root = {}
        for key in stored_keys(folder):
            node = self.root
            for token in key:
                child = node.get(token)
                if child is None:
                    child = node[token] = {}
                node = child
        return resident("VmRSS") - before

    def load(self, folder):
        with open(folder / "pickle", "wb") as file:
            pickle.dump(self.root, file)
        self.root = None
        started = time.perf_counter()
        with open(folder / "pickle", "rb") as file:
            self.root = pickle.load(file)
        return time.perf_counter() - started

    def start(self, tokens):
        return self.root[tokens[0]] if len(tokens) == 1 else [self.root[token] for token in tokens]

    def step(self, node, token):
        return list(node), node[token]

    def batch_step(self, nodes, tokens, scores):
        found = [row[list(node)] for node, row in zip(nodes, scores)]
        return found, [node[token] for node, token in zip(nodes, tokens)]


class Marisa:
    """A succinct trie of strings, one character a token; what may follow is read off all keys below the prefix."""

    title = "marisa-trie"
    characters = [chr(token + 1 if token < 0xD7FF else token + 0x801) for token in range(65535)]  # neither NUL nor surrogates

    def build(self, folder):
        import marisa_trie

        self.token = {character: token for token, character in enumerate(self.characters)}
        self.trie = marisa_trie.Trie("".join([self.characters[token] for token in key]) for key in stored_keys(folder))
        return len(self.trie.tobytes())

    def load(self, folder):
        self.trie.save(str(folder / "marisa"))
        started = time.perf_counter()
        self.trie.mmap(str(folder / "marisa"))
        return time.perf_counter() - started

    def start(self, tokens):
        return self.characters[tokens[0]] if len(tokens) == 1 else [self.characters[token] for token in tokens]

    def step(self, prefix, token):
        length = len(prefix)
        allowed = {key[length] for key in self.trie.iterkeys(prefix) if len(key) > length}
        return [self.token[character] for character in allowed], prefix + self.characters[token]

    def batch_step(self, prefixes, tokens, scores):
        steps = [self.step(prefix, token) for prefix, token in zip(prefixes, tokens)]
        return [row[allowed] for (allowed, _), row in zip(steps, scores)], [prefix for _, prefix in steps]


OWN = {"tree": Tree, "arrays": TreeFromArrays, "values": TreeWithValues}
CONTESTANTS = {**OWN, "dict": NestedDict, "marisa": Marisa}


def resident(field):
    """Bytes of resident memory: ``VmRSS`` now, ``VmHWM`` at its highest."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def stored_keys(folder, block=20_000):
    """The keys as lists of ints, read in blocks so that the source adds nothing to the memory that is measured."""
    bounds = np.load(folder / "bounds.npy", mmap_mode="r")
    for start in range(0, len(bounds) - 1, block):
        part = bounds[start : start + block + 1].tolist()
        ids = np.load(folder / "ids.npy", mmap_mode="r")[part[0] : part[-1]].tolist()
        for first, last in zip(part, part[1:]):
            yield ids[first - part[0] : last - part[0]]


def measure(name, folder):
    """All figures of one contestant, as a dictionary."""
    started = time.process_time()
    keys = sum(1 for _ in stored_keys(folder))
    figures = {"lists_us": (time.process_time() - started) / keys * 1e6}
    contestant = CONTESTANTS[name]()
    gc.collect()
    gc.disable()
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark starts again from here
    before, started = resident("VmRSS"), time.process_time()
    nbytes = contestant.build(folder)
    figures["build"] = keys / (time.process_time() - started)
    figures["peak"] = (resident("VmHWM") - before) / keys
    figures["bytes"] = nbytes / keys
    figures["load"] = contestant.load(folder) * 1e3
    for batch, walks in WALKS.items():
        times = walk(contestant, folder, batch, walks)
        figures[f"step{batch}"] = statistics.mean(times) * 1e6
        figures[f"median{batch}"] = statistics.median(times) * 1e6
    return figures


def walk(contestant, folder, batch, walks):
    """Seconds of each step along random keys, as far as the shortest of the batch goes."""
    ids, bounds = np.load(folder / "ids.npy"), np.load(folder / "bounds.npy")
    generator = np.random.default_rng(1)
    scores = generator.standard_normal((batch, VOCABULARY), np.float32)
    times = []
    for _ in range(walks):
        rows = generator.integers(0, len(bounds) - 1, batch)
        keys = [ids[bounds[row] : bounds[row + 1]].tolist() for row in rows]
        first, *columns = zip(*keys)
        state = contestant.start(first)
        for column in columns:
            started = time.process_time()
            if batch == 1:
                _, state = contestant.step(state, column[0])
            else:
                _, state = contestant.batch_step(state, column, scores)
            times.append(time.process_time() - started)
    return times


def table(results):
    """Markdown table of the medians over the rounds."""
    lines = [
        "| structure | bytes/key | build, keys/s | peak, bytes/key | load, ms | step, us: median / mean | 32 beams | 256 beams |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, rounds in results.items():
        of = {figure: statistics.median(each[figure] for each in rounds) for figure in rounds[0]}
        lines.append(
            f"| {CONTESTANTS[name].title} | {of['bytes']:,.1f} | {of['build']:,.0f} | {of['peak']:,.0f} | {of['load']:,.1f} "
            f"| {of['median1']:,.1f} / {of['step1']:,.1f} | {of['step32']:,.0f} | {of['step256']:,.0f} |"
        )
    lists = statistics.median(each["lists_us"] for rounds in results.values() for each in rounds)
    return "\n".join([*lines, f"| lists only | | {1e6 / lists:,.0f} | | | | | |"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--peers", default="dict,marisa", help="of dict, marisa (needs the package marisa-trie); may be empty")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.folder)))
        return
    names = [*OWN, *filter(None, arguments.peers.split(","))]
    results = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        ids, bounds = knowledge_keys(arguments.keys, arguments.seed)
        np.save(os.path.join(folder, "ids.npy"), ids)
        np.save(os.path.join(folder, "bounds.npy"), bounds)
        print(f"{arguments.keys:,} keys of {len(ids) / arguments.keys:.1f} ids, {arguments.rounds} rounds")
        for _ in range(arguments.rounds):
            for name in names:
                command = [sys.executable, __file__, "--measure", name, "--folder", folder]
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
                results[name].append(json.loads(done.stdout.splitlines()[-1]))
    print(table(results))


if __name__ == "__main__":
    main()
