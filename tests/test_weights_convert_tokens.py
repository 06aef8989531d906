"""``python -m weights_convert`` with another dtype, and with a part of the vocabulary."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from converting import CASES, VOCABULARY, convert, folder_of, runner, source_folder, tensors

from keras_su.weights import write_safetensors

run = pytest.fixture(runner)

# ---- dtypes and tokens


@pytest.mark.parametrize("format, dtype", [("hf", "bfloat16"), ("tf", "float16"), ("keras", "bfloat16")])
def test_dtypes(run, format, dtype):
    target = "half.keras" if format == "keras" else "half"
    told = convert(run, "safetensors", target, format, "--dtype", dtype, "--verify")
    assert f"cast      46 tensors float32 -> {dtype}" in told
    if format != "keras":
        assert {array.dtype.name for array in tensors(target).values()} == {dtype}
        back = "tf" if format == "hf" else "hf"
        assert f"46 {dtype}" in convert(run, folder_of(target), "back", back)  # a half stays a half
        assert tensors("back").popitem()[1].dtype.name == dtype
    else:
        assert keras.models.load_model(target).dtype_policy.name == "float32"  # of the container; the layers compute in halves
        assert {str(w.dtype) for w in keras.models.load_model(target).weights if "seed" not in w.path} == {dtype}


def test_a_value_that_does_not_fit(run, tmp_path):
    arrays = tensors(CASES["safetensors"][0])
    arrays["bert.pooler.dense.bias"][0] = 1e6
    folder = source_folder(tmp_path)
    write_safetensors(folder / "model.safetensors", arrays)
    assert "which float16 cannot hold" in convert(run, folder, "half", "hf", "--dtype", "float16", expect=1)
    assert not Path("half").exists()


KEEP = [0, 3, 2, 90, 7]


LINES = "\n".join(map(str, KEEP)) + "\n\n"


@pytest.mark.parametrize("format, text", [("hf", json.dumps(KEEP)), ("tf", LINES), ("keras", LINES)])
def test_keep_tokens(run, tmp_path, format, text):
    folder = source_folder(
        tmp_path,
        vocab__txt="\n".join(VOCABULARY) + "\n",
        tokenizer__json="{}",
        tokenizer_config__json=json.dumps({"added_tokens_decoder": {id: {"content": "x"} for id in ("0", "5", "3")}}),
    )
    config = json.loads((folder / "config.json").read_text())
    config |= {"pad_token_id": 0, "eos_token_id": 3, "bos_token_id": 5}
    (folder / "config.json").write_text(json.dumps(config))
    Path("keep").write_text(text)
    target = "small.keras" if format == "keras" else "small"
    told = convert(run, folder, target, format, "--keep-tokens", "keep", "--verify")
    assert f"tokens    {config['vocab_size']} -> 5" in told
    assert "bos_token_id=5 is not among the kept tokens" in told
    if format == "keras":
        return
    assert (Path(target) / "vocab.txt").read_text() == "".join(f"{VOCABULARY[i]}\n" for i in KEEP)
    written = json.loads((Path(target) / ("bert_config.json" if format == "tf" else "config.json")).read_text())
    assert (written["vocab_size"], written["eos_token_id"], "bos_token_id" in written) == (5, 1, False)
    before, after = tensors(folder), tensors(target)
    name = "bert/embeddings/word_embeddings" if format == "tf" else "bert.embeddings.word_embeddings.weight"
    np.testing.assert_array_equal(after[name], before["bert.embeddings.word_embeddings.weight"][KEEP])
    name = "cls/predictions/output_bias" if format == "tf" else "cls.predictions.bias"
    np.testing.assert_array_equal(after[name], before["cls.predictions.bias"][KEEP])
    if format == "hf":
        assert "left out  tokenizer.json: describes the whole vocabulary" in told
        assert list(json.loads(Path("small/tokenizer_config.json").read_text())["added_tokens_decoder"]) == ["0", "1"]


def test_keep_tokens_of_a_keras_file(run, tmp_path):
    convert(run, source_folder(tmp_path, vocab__txt="\n".join(VOCABULARY)), "whole.keras", "keras")
    Path("keep").write_text("[0, 3, 9]")
    convert(run, "whole.keras", "small", "hf", "--keep-tokens", "keep", "--verify")
    assert Path("small/vocab.txt").read_text() == "[PAD]\n[SEP]\ntoken5\n"


@pytest.mark.parametrize(
    "text, words",
    [
        ("[0, 1, 1]", "id 1 occurs twice (again as entry 3)"),
        ("0\n1\nx\n", "entry 3: got 'x', expected a token id"),
        ("{}", "expected a JSON list of ids"),
        ("", "expected a JSON list of ids"),
        ("[0, 100000]", "keep_tokens: got 100000"),
        ("[3, 0]", None),
    ],
)
def test_lists_of_tokens_with_mistakes(run, text, words):
    Path("keep").write_text(text)
    told = convert(run, "safetensors", "out", "hf", "--keep-tokens", "keep", expect=0 if words is None else 1)
    assert (words or "id 0 counts as padding; in the new vocabulary that is the old token 3") in told
