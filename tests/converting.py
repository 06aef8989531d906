"""Running ``python -m weights_convert`` inside a test."""

from pathlib import Path

from golden_cases import HERE

from keras_su.weights import open_checkpoint
from weights_convert.cli import main

CASES = {
    "tf": (HERE / "bert_nsp_mlm" / "bert_model.ckpt", HERE / "bert_nsp_mlm" / "config.json"),
    "safetensors": (HERE / "hf_bert_pretraining", None),
    "bin": (HERE / "hf_bert_legacy_bin", None),
}
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *[f"token{i}" for i in range(200)]]


def runner(tmp_path, monkeypatch, capsys):
    """A fixture: runs the command in an empty folder; returns exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return run


def convert(run, source, target, format, *options, expect=0):
    """Convert a golden case or a path, and return what was printed."""
    path, config = CASES.get(source, (source, None))
    arguments = ["--from", path, "--to", target, "--format", format, *options]
    code, out, err = run(*arguments, *(["--config", config] if config else []))
    assert code == expect, out + err
    return out + err


def folder_of(path):
    """What to open in a folder that was written."""
    return Path(path) / "bert_model.ckpt" if (Path(path) / "bert_model.ckpt.index").exists() else Path(path)


def tensors(path):
    """All tensors of a checkpoint."""
    with open_checkpoint(folder_of(path)) as reader:
        return {name: reader.read(name) for name in reader.names()}


def source_folder(tmp_path, name="hf_bert_pretraining", **files):
    """A copy of a golden checkpoint with more files beside it; two underscores stand for a dot."""
    folder = tmp_path / "source"
    folder.mkdir()
    for file in (HERE / name).iterdir():
        if file.name not in ("case.json", "io.npz"):
            (folder / file.name).write_bytes(file.read_bytes())
    for file, content in files.items():
        (folder / file.replace("__", ".")).write_text(content, encoding="utf-8")
    return folder
