"""What ``bench_prefix_tree`` compares: our structure in several uses, and the peers, each with the same methods.

``build(folder)`` reads the stored keys and returns the bytes of the result; ``load`` saves it and returns the seconds of loading;
``start``, ``step`` and ``batch_step`` walk. What a state is, every structure knows for itself.
"""

import pickle
import time
from pathlib import Path

import numpy as np

from keras_su.decoding.prefix_tree import PrefixTree
from keras_su.decoding.prefix_tree_rows import spread

VOCABULARY = 21128


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


class DenseTree(Tree):
    """The scores as a whole matrix, always the same one: what the step before has written is set back to minus infinity."""

    title = "PrefixTree, dense"

    def __init__(self):
        self.matrix, self.written = np.full((256, VOCABULARY), -np.inf, np.float32), (0, 0)

    def step(self, state, token):
        found, after = self.batch_step(np.array([state]), [token], ONE_ROW)
        return found, int(after[0])

    def batch_step(self, states, tokens, scores):
        allowed, spans = self.tree.children_many(states)
        sizes = spans[:, 1] - spans[:, 0]
        self.matrix[self.written] = -np.inf
        self.written = np.repeat(np.arange(len(states)), sizes), allowed[spread(spans[:, 0], sizes)]
        self.matrix[self.written] = scores[self.written]
        return self.matrix[: len(states)], self.tree.advance_many(states, tokens)


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


class Transformers(NestedDict):
    """The processor of transformers; its states are all ids so far, from which it walks the dictionary anew."""

    title = "transformers over dict, dense"

    def __init__(self):
        import torch
        from transformers import PrefixConstrainedLogitsProcessor

        torch.set_num_threads(1)
        self.torch = torch
        self.processor = PrefixConstrainedLogitsProcessor(self.allowed, num_beams=1)

    def allowed(self, batch, ids):
        node = self.root
        for token in ids.tolist():
            node = node[token]
        return list(node)

    def start(self, tokens):
        return self.torch.tensor(tokens)[:, None]

    def step(self, ids, token):
        return self.batch_step(ids, [token], ONE_ROW)

    def batch_step(self, ids, tokens, scores):
        found = self.processor(ids, self.torch.from_numpy(scores))
        return found, self.torch.cat([ids, self.torch.tensor(tokens)[:, None]], dim=1)


ONE_ROW = np.random.default_rng(0).standard_normal((1, VOCABULARY), np.float32)
OWN = {"tree": Tree, "dense": DenseTree, "arrays": TreeFromArrays, "values": TreeWithValues}
PEERS = {"dict": NestedDict, "marisa": Marisa, "transformers": Transformers}
MODULES = {"dict": "json", "marisa": "marisa_trie", "transformers": "transformers"}  # what each needs
CONTESTANTS = {**OWN, **PEERS}
