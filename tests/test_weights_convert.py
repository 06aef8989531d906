"""``python -m weights_convert``: every direction, and what is carried over."""

import json
import os
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from converting import CASES, VOCABULARY, convert, folder_of, runner, source_folder, tensors
from golden_cases import HERE
from helpers import to_numpy

from keras_su import build_transformer_model, hub
from keras_su.weights import write_safetensors
from weights_convert.conversion import Conversion, Request
from weights_convert.source import read_metadata

run = pytest.fixture(runner)

# ---- directions


@pytest.mark.parametrize("source, route", [("tf", "hf keras tf"), ("safetensors", "tf keras hf"), ("bin", "keras tf hf")])
def test_round_trips_are_exact(run, source, route):
    current = source
    for format in route.split():
        target = f"{format}.keras" if format == "keras" else format
        told = convert(run, current, target, format, "--verify")
        assert "largest difference 0 " in told and "with_pool=True, with_nsp=True, with_mlm='linear'" in told
        current = folder_of(target)
    before, after = tensors(CASES[source][0]), tensors(current)
    if source == "bin":  # old names, tied duplicates, a buffer
        dropped = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias", "bert.embeddings.position_ids")
        before = {name.replace("gamma", "weight").replace("beta", "bias"): a for name, a in before.items() if name not in dropped}
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(array, after[name])


def test_a_keras_file_is_whole(run, tmp_path):
    source = source_folder(tmp_path, vocab__txt="\n".join(VOCABULARY))
    convert(run, source, "bert.keras", "keras", "--set", "with_mlm=true")
    model = keras.models.load_model("bert.keras")
    inputs = [np.array([[2, 5, 6, 3]]), np.zeros((1, 4), "int32")]
    built = build_transformer_model(source, with_nsp=True, with_mlm=True)
    for ours, theirs in zip(model(inputs), built(inputs)):
        np.testing.assert_array_equal(to_numpy(ours), to_numpy(theirs))
    assert read_metadata("bert.keras")["family"] == "bert"
    convert(run, "bert.keras", "again", "hf")
    assert Path("again/vocab.txt").read_text(encoding="utf-8") == "\n".join(VOCABULARY)


def test_a_keras_file_that_was_saved_by_hand(run):
    config = HERE / "hf_bert_pretraining" / "config.json"
    build_transformer_model(HERE / "hf_bert_pretraining", with_mlm=True).save("plain.keras")
    assert "--config" in convert(run, "plain.keras", "tf", "tf", expect=1)
    convert(run, "plain.keras", "tf", "tf", "--config", config, "--verify", "--model", "bert")
    names = tensors("tf")
    assert "cls/predictions/output_bias" in names and "bert/pooler/dense/kernel" not in names


def test_a_hugging_face_folder_is_read_by_transformers(run, monkeypatch):
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    convert(run, "tf", "hf", "hf")
    theirs = transformers.BertForPreTraining.from_pretrained("hf").eval()
    ours = build_transformer_model(*reversed(CASES["tf"]), with_mlm="linear")
    ids = np.array([[2, 9, 8, 7, 3]])
    with torch.no_grad():
        want = theirs(torch.tensor(ids)).prediction_logits.numpy()
    np.testing.assert_allclose(to_numpy(ours([ids, np.zeros_like(ids)])), want, atol=2e-5)


# ---- what is carried over


def test_what_a_file_lacks_is_not_built(run):
    told = convert(run, HERE / "hf_roberta_wwm_bin", "tf", "tf")
    assert "family    bert with with_mlm='linear'" in told
    assert not any("pooler" in name or "seq_relationship" in name for name in tensors("tf"))


def test_the_report_names_every_tensor(run):
    told = convert(run, "bin", "tf", "tf", "--report", "report.json")
    report = json.loads(Path("report.json").read_text(encoding="utf-8"))
    source, target = set(tensors(CASES["bin"][0])), set(tensors("tf"))
    assert {pair[0] for pair in report["renamed"]} | report["dropped"].keys() == source
    assert {pair[1] for pair in report["renamed"]} == target
    assert report["dropped"]["cls.predictions.decoder.weight"] == "tied duplicate of bert.embeddings.word_embeddings.weight"
    assert report["dropped"]["bert.embeddings.position_ids"] == "buffer, computed anew"
    line = "renamed   bert.encoder.layer.{0..1}.intermediate.dense.weight -> bert/encoder/layer_{0..1}/intermediate/dense/kernel"
    assert line in told
    assert report["target_bytes"] == sum(array.nbytes for array in tensors("tf").values())


def test_optimizer_slots_are_dropped(run):
    case = HERE / "bert_extra_variables"
    told = convert(run, case / "bert_model.ckpt", "hf", "hf", "--config", case / "config.json")
    assert "dropped   global_step: optimizer slot or step counter" in told and "adam_m: optimizer slot" in told


def test_half_a_head_and_a_stranger_are_told(run, tmp_path):
    arrays = tensors(CASES["safetensors"][0])
    del arrays["cls.predictions.bias"]
    arrays["my_task.weight"] = np.ones((3, 4), "float32")
    folder = source_folder(tmp_path)
    write_safetensors(folder / "model.safetensors", arrays)
    told = convert(run, folder, "tf", "tf", "--verify")
    assert "my_task.weight: unknown to family 'bert'" in told
    assert "cls.predictions.transform.dense.weight: of with_mlm, a head of which the source lacks MLM-Bias/beta" in told
    assert "with_nsp=True" in told and "with_mlm" not in told.splitlines()[1]


def test_files_around_the_weights(run, tmp_path):
    folder = source_folder(tmp_path, vocab__txt="a\nb\n", tokenizer__json="{}", tokenizer_config__json="{}", notes__md="no")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    convert(run, folder, "hf", "hf")
    found = sorted(path.relative_to("hf").as_posix() for path in Path("hf").rglob("*") if path.is_file())
    tokenizer = ["tokenizer.json", "tokenizer_config.json", "vocab.txt"]
    assert found == ["1_Pooling/config.json", "config.json", "model.safetensors", *tokenizer]
    told = convert(run, folder, "tf", "tf")
    assert sorted(path.name for path in Path("tf").iterdir()) == [
        "bert_config.json",
        "bert_model.ckpt.data-00000-of-00001",
        "bert_model.ckpt.index",
        "vocab.txt",
    ]
    assert "left out  1_Pooling/config.json, tokenizer.json, tokenizer_config.json: belongs to Hugging Face folders" in told
    assert oct(Path("hf").stat().st_mode & 0o777) == oct(0o777 & ~_umask())  # as any new folder


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_unknown_settings_are_told(run, tmp_path):
    folder = source_folder(tmp_path)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "flux_capacitor": 3}))
    assert "not known, and left alone: flux_capacitor" in convert(run, folder, "tf", "tf")


def test_a_repository_in_the_cache(run, tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    root = tmp_path / "cache" / "models--owner--name"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(commit)
    (root / "snapshots").mkdir()
    source_folder(tmp_path, vocab__txt="a\nb\n").rename(root / "snapshots" / commit)

    def unreachable(*_):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(hub._HuggingFace, "files", unreachable)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    told = convert(run, "hf://owner/name", "tf", "tf", "--verify")
    assert told.count("warning: ") == 1 and "Using the copy of owner/name in the cache" in told
    assert "hf://owner/name -> tf (tf)" in told and Path("tf/vocab.txt").exists()


def test_a_keras_2_file(run):
    handle = build_transformer_model(HERE / "hf_bert_pretraining", with_mlm=True, return_keras_model=False)
    layers = {name: [w for w in layer.weights if "seed" not in w.path] for name, layer in handle.layers.items()}
    with h5py.File("bert.weights", "w") as file:
        for name, weights in layers.items():
            group = file.create_group(name)
            for weight in weights:
                group.create_dataset(f"{weight.path}:0", data=to_numpy(weight))
            group.attrs["weight_names"] = [f"{weight.path}:0".encode() for weight in weights]
        file.create_group("My-Dense").create_dataset("kernel:0", data=np.ones((2, 2), "float32"))
        file["My-Dense"].attrs["weight_names"] = [b"kernel:0"]
        file.attrs.update(layer_names=[name.encode() for name in [*layers, "My-Dense"]], keras_version=b"2.3.1")
    told = convert(run, "bert.weights", "hf", "hf", "--config", HERE / "hf_bert_pretraining" / "config.json", "--verify")
    assert "My-Dense/kernel:0: of layer 'My-Dense', which this model does not have" in told
    name = "Transformer-{0..1}-FeedForward"
    assert f"renamed   {name}/{name}/output/bias:0 -> bert.encoder.layer.{{0..1}}.output.dense.bias" in told
    before = tensors(CASES["safetensors"][0])
    for name, array in tensors("hf").items():
        np.testing.assert_array_equal(array, before[name])


def test_progress_is_shown_where_somebody_looks(tmp_path, capsys):
    Conversion(Request(source=CASES["safetensors"][0], target=tmp_path / "tf", format="tf", progress=True)).run()
    assert "reading" in capsys.readouterr().err


def test_an_output_matrix_that_is_not_tied_is_told(run, tmp_path):
    arrays = tensors(CASES["bin"][0])
    arrays["cls.predictions.decoder.weight"][0, 0] += 1
    folder = source_folder(tmp_path)
    write_safetensors(folder / "model.safetensors", arrays)
    told = convert(run, folder, "tf", "tf")
    assert "note      cls.predictions.decoder.weight differs from what this family ties it to" in told


def test_what_was_set_is_written_down(run):
    convert(run, "tf", "tf", "tf", "--set", "hidden_act=relu", "--set", "with_pool=linear")
    config = json.loads(Path("tf/bert_config.json").read_text(encoding="utf-8"))
    assert config["hidden_act"] == "relu" and "with_pool" not in config
