"""Conversions of families of other kinds than BERT: shared blocks, gates, fused tensors, encoder-decoders, language models."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from golden_cases import find_cases

from keras_su.models.registry import find_family
from keras_su.weights import open_checkpoint
from weights_convert import Request, convert
from weights_convert.heads import sketch

# A golden case, and the formats that it is converted into one after the other, back to its own in the end.
ROUTES = {
    "albert_mlm": "hf tf",  # one block for all layers
    "gau_alpha_mlm": "keras tf",  # gated units
    "hf_electra_discriminator": "tf hf",
    "hf_ernie_task_ids": "keras hf",  # a further input
    "hf_gpt2_lm": "tf hf",  # query, key and value in one tensor
    "hf_qwen2": "keras hf",  # a language model with biases on query, key and value
    "hf_mt5": "tf hf",  # encoder and decoder, tied duplicates
    "hf_bart": "keras hf",  # padding rows in the position table
}
FOLDERS = {folder.name: folder for folder in find_cases("model") if folder.name in ROUTES}


def read(path):
    with open_checkpoint(path) as reader:
        return {name: reader.read(name) for name in reader.names()}


@pytest.mark.parametrize("name", FOLDERS)
def test_round_trip(name, tmp_path):
    folder = FOLDERS[name]
    case = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    model = case["runs"][0]["builder"]["model"]
    source, config, dropped = folder / case["checkpoint"], folder / case["config"], set()
    for step, format in enumerate(ROUTES[name].split()):
        target = tmp_path / (f"{step}.keras" if format == "keras" else str(step))
        options = {} if Path(source).suffix == ".keras" else {"model": model}
        report = convert(
            Request(source=source, target=target, format=format, config=config, verify=True, progress=False, **options)
        )
        assert max(report.verified["outputs"].values()) <= 1e-6
        assert not {reason for reason in report.dropped.values() if "tied duplicate" not in reason and "buffer" not in reason}
        dropped |= report.dropped.keys()
        source, config = (target / "bert_model.ckpt" if format == "tf" else target), None
    before, after = read(folder / case["checkpoint"]), read(source)
    assert before.keys() - after.keys() <= dropped and after.keys() <= before.keys()
    for tensor, array in after.items():
        np.testing.assert_array_equal(array, before[tensor], err_msg=tensor)


def test_a_model_that_is_only_looked_at_never_gets_values(monkeypatch):
    """Or Keras would make them when another scope ends: on JAX in the middle of a compilation, where that is an error."""
    filled = []
    monkeypatch.setattr(keras.initializers.TruncatedNormal, "__call__", lambda *_, **__: filled.append(1))
    config = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    assert sketch(find_family("bert"), config, {}).variables
    with keras.StatelessScope():
        pass
    assert not filled


def test_the_tensors_of_a_report_are_those_of_the_files(tmp_path):
    report = convert(Request(source=FOLDERS["hf_gpt2_lm"], target=tmp_path / "tf", format="tf", progress=False))
    sources = [theirs for theirs, _ in report.renamed]
    assert sources.count("transformer.h.0.attn.c_attn.weight") == 3  # query, key and value
    assert {ours for _, ours in report.renamed} == read(tmp_path / "tf" / "bert_model.ckpt").keys()
    line = "transformer.h.{0..1}.attn.c_attn.weight -> gpt/transformer/layer_{0..1}/attention/self/key/kernel"
    assert line in str(report)
