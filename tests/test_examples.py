"""Every example runs from data to table on synthetic files; what the pages say of them is what the catalogue says.

Each smoke run is made on one backend, in fixed rotation; ``make test-examples`` makes all of them on all backends.
"""

import json
import math
import subprocess
import sys
from pathlib import Path

import keras
import pytest
from example_modules import EXAMPLES, load

run = load("run")
ENTRIES = run.catalogue()
SMOKES = [(entry.example, options) for entry in ENTRIES for options in entry.smoke]
MINE = SMOKES[run.BACKENDS.index(keras.backend.backend()) :: len(run.BACKENDS)]

SERVICES = ["serve_kgclue.py"]  # answers a question instead of filling a table


@pytest.mark.parametrize(("example", "options"), MINE, ids=[" ".join([example, *options]) for example, options in MINE])
def test_smoke(example, options, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [example])
    policy = keras.config.dtype_policy().name
    output = tmp_path / "result.json"
    returned = load(Path(example).stem).main([*options, "--smoke", "--output", str(output)])
    assert keras.config.dtype_policy().name == policy
    if example in SERVICES:
        assert returned
        return
    result = json.loads(output.read_text(encoding="utf-8"))
    assert result["smoke"] and result["example"] == example
    assert any(row["baseline"] for row in result["rows"]) and not all(row["baseline"] for row in result["rows"])
    figures = [value for row in result["rows"] for value in row.values() if isinstance(value, float)]
    assert figures and all(map(math.isfinite, figures))


def test_catalogue_is_complete():
    scripts = {path.name for path in EXAMPLES.glob("*.py")} - {"run.py"}
    assert {entry.example for entry in ENTRIES} == scripts
    assert all(entry.smoke for entry in ENTRIES)
    files = [one["result"] for entry in ENTRIES for one in entry.runs]
    assert len(set(files)) == len(files)
    assert {path.name for path in (EXAMPLES / "results").glob("*.json")} == set(files)


def test_results_are_real_runs():
    for entry in ENTRIES:
        for one in entry.runs:
            result = run.read_result(one)
            assert result["example"] == entry.example and not result["smoke"]
            assert any(row["baseline"] for row in result["rows"])
            if any(row.get("below_baseline") for row in result["rows"]):
                assert one.get("note") and one.get("note_zh"), f"{one['name']}: a row below its baseline wants an explanation"


@pytest.mark.parametrize(
    ("page", "options"), [("README.md", []), ("README_zh.md", ["--language", "zh"]), ("RESULTS.md", ["--details"])]
)
def test_tables_are_what_the_command_prints(page, options):
    command = [sys.executable, str(EXAMPLES / "run.py"), "table", *options]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8").stdout
    assert printed.strip() in (EXAMPLES / page).read_text(encoding="utf-8")


def test_examples_stay_readable():
    long = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in EXAMPLES.glob("*.py")}
    assert {name: lines for name, lines in long.items() if lines > 270 and name != "task_kgclue_seq2seq.py"} == {}
