"""Who may import whom, and what ``import keras_su`` costs."""

import ast
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import keras_su

ROOT = Path(keras_su.__file__).parent
BACKENDS = {"tensorflow", "jax", "torch"}
KNOWS_BACKENDS = {"keras_su.decoding.compiling", "keras_su.training.gradients"}
LAZY = {"jieba", "rjieba", "sentencepiece", "tokenizers", "huggingface_hub", "matplotlib", "tqdm", "fastapi", "uvicorn"}
LAZY |= {"llguidance", "sacrebleu"}

# Each part of the package, and the parts it may import. Reading downwards, every part imports only what stands above it.
MAY_IMPORT = {
    "errors": set(),
    "registration": set(),
    "cache": {"errors"},
    "activations": {"errors", "registration"},
    "initializers": {"errors", "registration"},
    "hub": {"errors"},
    "masks": {"cache", "errors"},
    "metrics": {"errors", "registration"},
    "ops": {"errors"},
    "losses": {"errors", "registration", "ops"},
    "optimizers": {"errors", "registration", "ops"},
    "training": {"errors"},
    "postprocess": {"errors"},
    "tokenizers": {"errors"},
    "zero_shot": {"errors", "tokenizers"},
    "weights": {"errors"},
    "layers": {"errors", "registration", "activations", "cache", "initializers", "masks", "ops"},
    "decoding": {"cache", "errors", "masks", "metrics"},
    "data": {"errors", "metrics", "tokenizers"},
    "serving": {"errors"},
    "snippets": {"data", "decoding", "metrics", "serving", "tokenizers"},
    "models": {"errors", "registration", "activations", "data", "hub", "initializers", "masks", "ops", "layers", "weights"},
    "backend": {"activations", "errors", "initializers", "layers", "losses", "models", "ops", "optimizers", "registration"},
    "sentence_folder": {"errors", "tokenizers", "weights"},
    "sentence": {"errors", "hub", "layers", "models", "sentence_folder"},
}


@cache
def modules():
    """Every module of the package: dotted name -> syntax tree."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        words = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(words[:-1] if words[-1] == "__init__" else words)] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imported(node):
    """What one import statement names, with and without the last word of a ``from`` import."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"relative import of {node.module}"
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def imports(name):
    """All names that a module imports, at its top or inside functions."""
    return {other for node in ast.walk(modules()[name]) for other in imported(node)}


def part(name):
    """``"layers"`` for ``keras_su.layers.attention``; ``None`` for what is not a part of the package."""
    words = name.split(".")
    return words[1] if len(words) > 1 and words[0] == "keras_su" else None


@pytest.mark.parametrize("name", [name for name in modules() if part(name)])
def test_imports_only_downwards(name):
    assert part(name) in MAY_IMPORT, f"{name}: say in MAY_IMPORT where this part belongs"
    used = {part(other) for other in imports(name)} - {None, part(name)}
    assert used <= MAY_IMPORT[part(name)]


def test_the_table_has_no_cycle_and_no_stale_entry():
    seen = set()
    for name, allowed in MAY_IMPORT.items():
        assert allowed <= seen, f"{name} imports something that stands below it"
        seen.add(name)
    assert seen == {part(name) for name in modules() if part(name)}


def test_modules_form_no_cycle():
    """Among modules, too, and for what is imported inside functions."""
    edges = {}
    for name in modules():
        # A package that collects the names of its modules is not imported by them: loading `a.b` runs `a` first in any case.
        edges[name] = {other for other in imports(name) if other in modules() and not f"{name}.".startswith(f"{other}.")}
    done = set()

    def visit(name, path):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for other in edges[name]:
                visit(other, [*path, name])
            done.add(name)

    for name in edges:
        visit(name, [])


@pytest.mark.parametrize("name", modules())
def test_no_star_import_and_no_backend(name):
    names = imports(name)
    assert not any(other.endswith(".*") for other in names)
    assert name in KNOWS_BACKENDS or not {other.split(".")[0] for other in names} & BACKENDS


def test_importing_the_package_loads_keras_and_nothing_slow():
    """On every backend: no other backend, no tokenizer library, no connection to anywhere."""
    program = """
import socket, sys
import keras
before = set(sys.modules)
def refuse(*_, **__): raise AssertionError("import keras_su opened a connection")
socket.socket.connect = refuse
import keras_su
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
"""
    output = subprocess.run([sys.executable, "-c", program], cwd=ROOT.parent, env=os.environ, capture_output=True, text=True)
    assert output.returncode == 0, output.stderr
    loaded = set(output.stdout.split())
    assert "keras_su" in loaded
    assert not loaded & (BACKENDS | LAZY)


def test_imports_are_read_correctly():
    """The helpers above see through nesting, aliases and functions."""
    modules()["example"] = ast.parse("from os import *\nif True:\n    import a.b as c\ndef f():\n    from keras_su import ops\n")
    try:
        assert imports("example") == {"os", "os.*", "a.b", "keras_su", "keras_su.ops"}
    finally:
        del modules()["example"]
