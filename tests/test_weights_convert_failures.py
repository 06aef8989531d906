"""``python -m weights_convert`` when something goes wrong: nothing is destroyed, nothing is left behind, the reason is told."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from converting import CASES, convert, runner, tensors
from golden_cases import HERE
from helpers import ROOT

from keras_su.models.handle import Transformer
from keras_su.models.registry import Family
from keras_su.weights import write_npz
from weights_convert import conversion, verify
from weights_convert.cli import main

run = pytest.fixture(runner)

# ---- targets


def test_an_existing_target_is_kept(run):
    Path("out").mkdir()
    Path("out/notes.txt").write_text("mine")
    assert "holds notes.txt. Pass --force" in convert(run, "safetensors", "out", "hf", expect=1)
    assert Path("out/notes.txt").read_text() == "mine"
    convert(run, "safetensors", "out", "hf", "--force")
    assert not Path("out/notes.txt").exists()
    Path("out/thesis.tex").write_text("mine")
    assert "also holds thesis.tex" in convert(run, "safetensors", "out", "hf", "--force", expect=1)
    assert Path("out/thesis.tex").read_text() == "mine"
    Path("x.keras").write_text("mine")
    assert "exists. Pass --force" in convert(run, "safetensors", "x.keras", "keras", expect=1)
    convert(run, "safetensors", "x.keras", "keras", "--force")
    Path("out/thesis.tex").unlink()
    assert "is the source itself" in convert(run, "out", "out", "hf", "--force", expect=1)
    assert "--force would delete more" in convert(run, "out", ".", "hf", "--force", expect=1)
    assert "ends in .keras, e.g. 'y.keras'" in convert(run, "out", "y", "keras", expect=1)
    assert "is to become a folder" in convert(run, "out", "x.keras", "hf", expect=1)
    Path("empty").mkdir()
    convert(run, "out", "empty", "tf")
    convert(run, "out", "new/and/deep", "tf")


def interrupted(monkeypatch, how):
    original = Transformer.tensors

    def tensors(self, format="tf"):
        for number, pair in enumerate(original(self, format)):
            if number == 5:
                how()
            yield pair

    def save(self, path, *_, **__):
        Path(path).write_bytes(b"half")
        how()

    monkeypatch.setattr(Transformer, "tensors", tensors)
    monkeypatch.setattr(keras.Model, "save", save)


def explode():
    raise OSError("No space left on device")


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def heeds_interrupts():
    """A process started in the background ignores Ctrl-C; this one does not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def contents(folder="."):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "format, how, words",
    [
        ("hf", explode, "No space left"),
        ("tf", explode, "No space left"),
        ("keras", explode, "No space left"),
        ("hf", terminate, "nothing was written"),
        ("tf", interrupt, "nothing was written"),
    ],
)
def test_a_run_that_ends_in_the_middle_leaves_nothing(run, monkeypatch, heeds_interrupts, format, how, words):
    target = "out.keras" if format == "keras" else "out"
    interrupted(monkeypatch, how)
    handler = signal.getsignal(signal.SIGTERM)
    assert words in convert(run, "safetensors", f"new/{target}", format, expect=1)
    assert list(Path(".").iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_failed_run_keeps_what_was_there(run, monkeypatch):
    convert(run, "safetensors", "out", "tf")
    convert(run, "safetensors", "out.keras", "keras")
    before = contents()
    interrupted(monkeypatch, explode)
    convert(run, "safetensors", "out", "hf", "--force", expect=1)
    convert(run, "safetensors", "out.keras", "keras", "--force", expect=1)
    assert contents() == before


# ---- verification


def test_a_corrupted_tensor_is_found(run, monkeypatch):
    def corrupting(writer):
        def write(path, *arguments):
            *others, pairs = arguments
            return writer(path, *others, ((name, array + (1e-6 if "pooler" in name else 0)) for name, array in pairs))

        return write

    monkeypatch.setattr(conversion, "write_hf_folder", corrupting(conversion.write_hf_folder))
    monkeypatch.setattr(conversion, "write_tf_bundle", corrupting(conversion.write_tf_bundle))
    for format, name in (("hf", "bert.pooler.dense.weight"), ("tf", "bert/pooler/dense/kernel")):
        told = convert(run, "safetensors", "out", format, "--verify", expect=1)
        assert "Verification failed: tensors read back differ" in told and name in told
    assert list(Path(".").iterdir()) == []
    convert(run, "safetensors", "out", "hf")  # nobody looks


def test_a_corrupted_keras_file_is_found(run, monkeypatch):
    original = keras.Model.save

    def save(self, path, *arguments, **options):
        self.weights[3].assign(self.weights[3] + 1)
        original(self, path, *arguments, **options)
        self.weights[3].assign(self.weights[3] - 1)

    monkeypatch.setattr(keras.Model, "save", save)
    assert "Verification failed: variables read back differ" in convert(run, "bin", "x.keras", "keras", "--verify", expect=1)
    assert not Path("x.keras").exists()


def test_a_wrong_configuration_is_found(run, monkeypatch):
    original = Family.hugging_face_config
    monkeypatch.setattr(Family, "hugging_face_config", lambda *a: {**original(*a), "hidden_act": "relu"})
    told = convert(run, "safetensors", "out", "hf", "--verify", expect=1)
    assert "Verification failed: outputs differ by more than 1e-05" in told and "MLM" in told
    assert not Path("out").exists()


def test_outputs_are_compared_with_infinities_and_nothings():
    expected = {"a": np.array([1.0, np.inf]), "b": np.array([np.nan])}
    assert verify.compare_outputs(expected, dict(expected), 0.0) == {"a": 0.0, "b": 0.0}
    for wrong in (np.array([1.0, 5.0]), np.array([np.nan, np.inf]), np.array([1.0 + 1e-3, np.inf])):
        with pytest.raises(ValueError, match="a: "):
            verify.compare_outputs(expected, {"a": wrong, "b": expected["b"]}, 1e-4)


# ---- usage


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--from", "a", "--to", "b"], "--format is missing"),
        (["--from", "a", "--format", "hf"], "--to is missing"),
        ([], "--from is missing"),
        (["--from", "a", "--to", "b", "--format", "hfs"], "unknown format 'hfs'. Did you mean 'hf'? Known: hf, keras, tf"),
        (["--from", "a", "--to", "b", "--format", "hf", "--model", "berd"], "unknown model 'berd'. Did you mean 'bert'?"),
        (["--from", "a", "--to", "b", "--format", "hf", "--dtype", "float12"], "unknown dtype 'float12'. Did you mean 'float"),
        (["--fron", "a"], "Did you mean '--from'"),
        (["--from", "a", "--to", "b", "--format", "hf", "--set", "with_pool"], "expected NAME=VALUE"),
        (["--from", "a", "--to", "b", "--format", "hf", "--markdown"], "--markdown goes with --list"),
    ],
)
def test_wrong_usage(run, arguments, words):
    code, out, err = run(*arguments)
    assert code == 2 and words in err and not out


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--from", "nowhere"], "There is no checkpoint nowhere"),
        (["--from", "owner/name"], "A repository of Hugging Face is written hf://owner/name"),
        (["--from", "https://huggingface.co/owner/name"], "Use hf://owner/name instead"),
        (["--from", HERE / "bert_nsp_mlm" / "bert_model.ckpt", "--config", "x.json"], "No configuration file 'x.json'"),
        (["--from", CASES["safetensors"][0], "--set", "with_bool=1"], "Did you mean 'with_pool'"),
        (["--from", CASES["safetensors"][0], "--keep-tokens", "x.json"], "there is no file 'x.json'"),
        (["--from", HERE / "bert_embedding_size", "--model", "bert"], "cannot express embedding_size"),
        (["--from", CASES["safetensors"][0], "--report", "no/such/folder.json"], "there is no folder for it"),
    ],
)
def test_failures_are_told(run, arguments, words):
    code, out, err = run(*arguments, "--to", "out", "--format", "hf")
    assert code == 1 and words in err and not out
    assert list(Path(".").iterdir()) == []


def test_a_folder_without_a_configuration(run):
    write_npz("weights.npz", tensors(CASES["safetensors"][0]))
    assert "has no config.json or bert_config.json. Pass the right file with --config" in convert(
        run, "weights.npz", "out", "hf", expect=1
    )
    config = (HERE / "hf_bert_pretraining" / "config.json").read_text()
    Path("discriminator.json").write_text(config)
    convert(run, "weights.npz", "out", "hf")
    Path("generator.json").write_text(config)
    assert "several configurations: discriminator.json, generator.json" in convert(run, "weights.npz", "b", "hf", expect=1)


def test_debug_shows_where(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="There is no checkpoint"):
        main(["--from", "nowhere", "--to", "b", "--format", "hf", "--debug"])


def test_quiet(run):
    code, out, err = run("--from", CASES["safetensors"][0], "--to", "out", "--format", "hf", "--quiet")
    assert (code, out, err) == (0, "", "")


def test_outside_of_the_repository(tmp_path):
    command = [sys.executable, "-m", "weights_convert", "--from", str(CASES["safetensors"][0]), "--to", "out", "--format", "tf"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": keras.backend.backend()}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "46 float32" in done.stdout and "tensor/s" not in done.stderr  # no progress bar where nobody looks
    assert (tmp_path / "out" / "bert_model.ckpt.index").exists()
