"""The list of families and public checkpoints, and the small parts of ``weights_convert``."""

import doctest
import importlib
import json
import pkgutil
import subprocess
import sys

import pytest
from golden_cases import find_cases
from helpers import ROOT
from reference_models import REFERENCES

import weights_convert
import weights_convert.__main__
from keras_su.models import list_models
from keras_su.models.registry import families, find_family
from weights_convert import catalogue
from weights_convert.cli import main
from weights_convert.conversion import FORMATS, formats_of


def test_the_page_is_what_is_printed(capsys):
    assert main(["--list", "--markdown"]) == 0
    printed = capsys.readouterr().out
    page = (ROOT / "docs" / "checkpoints.md").read_text(encoding="utf-8")
    assert page == printed, "run: python -m weights_convert --list --markdown > docs/checkpoints.md"


def test_the_list_names_families_and_checkpoints(capsys):
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    for words in ("bert  ", "hf, tf, keras", "BERT-base, Chinese", "hfl/chinese-roberta-wwm-ext", "real weights"):
        assert words in printed


def test_every_row_is_complete_and_its_family_exists():
    rows = catalogue.checkpoints()
    assert len({row["name"] for row in rows}) == len(rows)
    for row in rows:
        assert row.keys() == {"group", "name", "hub", "family", "formats", "quirks", "verified"}
        assert row["family"] in list_models(), row["name"]
        assert row["verified"] in catalogue.VERIFIED
        assert set(row["formats"].split()) <= set("TBSH") and row["formats"]
        assert row["hub"] and row["name"]


def test_nothing_is_called_golden_that_is_not_compared():
    cases = [json.loads((folder / "case.json").read_text(encoding="utf-8")) for folder in find_cases("model")]
    compared = {find_family(run["builder"].get("model", "bert")).name for case in cases for run in case["runs"]}
    compared |= {find_family(reference.family).name for reference in REFERENCES}
    assert {row["family"] for row in catalogue.checkpoints() if row["verified"] == "golden"} <= compared


def test_every_family_can_be_written_as_something():
    for family in families():
        assert "keras" in formats_of(family) and set(formats_of(family)) <= set(FORMATS)


MODULES = [f"weights_convert.{module.name}" for module in pkgutil.iter_modules(weights_convert.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_a_backend_is_chosen_only_where_none_is(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    installed = {"torch"}
    monkeypatch.setattr(weights_convert.__main__.importlib.util, "find_spec", lambda name: name in installed or None)
    weights_convert.__main__.choose_backend()
    assert weights_convert.__main__.os.environ["KERAS_BACKEND"] == "torch"
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    weights_convert.__main__.choose_backend()
    assert weights_convert.__main__.os.environ["KERAS_BACKEND"] == "jax"
    monkeypatch.delenv("KERAS_BACKEND")
    installed.add("tensorflow")
    weights_convert.__main__.choose_backend()
    assert "KERAS_BACKEND" not in weights_convert.__main__.os.environ


def test_it_is_installed_with_its_data():
    """What setup.py says, without building anything."""
    program = """
import json, runpy, setuptools
setuptools.setup = lambda **arguments: print(json.dumps([arguments["packages"], arguments["package_data"]]))
runpy.run_path("setup.py")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert '"weights_convert"' in done.stdout and "checkpoints.json" in done.stdout, done.stderr
