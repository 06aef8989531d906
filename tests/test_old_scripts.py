"""Five complete scripts in the manner of bert4keras, with only the name of the package changed, from data files to results."""

import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest

from keras_su import build_transformer_model
from keras_su.activations import set_gelu
from keras_su.tokenizers import save_vocab

SCRIPTS = Path(__file__).parent / "old_scripts"
CHARACTERS = "这个真好很差不行喜欢讨厌我你他在去了到人天地大小上下北京海广州城市春夏秋冬花雪风月山水书店车票电影。"
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "##好", *dict.fromkeys(CHARACTERS)]
SIZES = {
    "vocab_size": len(TOKENS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
    "initializer_range": 0.3,
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with checkpoints and data files, as the scripts expect them."""
    monkeypatch.chdir(tmp_path)
    np.random.seed(1)
    for name, heads in (("bert", {"with_pool": True, "with_mlm": True}), ("roformer", {"with_mlm": True})):
        path = tmp_path / name
        path.mkdir()
        sizes = str(SIZES).replace("'", '"')
        (path / "bert_config.json").write_text(sizes, encoding="utf-8")
        save_vocab(path / "vocab.txt", {token: i for i, token in enumerate(TOKENS)})
        made = build_transformer_model(SIZES, model=name, return_keras_model=False, **heads)
        made.save_weights_as_checkpoint(path / "bert_model.ckpt")
    yield tmp_path
    set_gelu("erf")


def write(folder, name, lines, end="\n"):
    (folder / name).write_text(end.join(lines) + end, encoding="utf-8")


def run(name):
    return runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")


def test_classification(folder):
    good, bad = ("这个真好", "很喜欢", "大好人", "我喜欢书"), ("这个真差", "很讨厌", "不行了", "我讨厌雪")
    lines = [f"{text}{end}\t{label}" for texts, label in ((good, 1), (bad, 0)) for text in texts for end in ("", "。", "天")]
    write(folder, "sentiment.train.data", lines)
    write(folder, "sentiment.valid.data", lines[::3])
    script = run("classification")
    assert script["test_acc"] == script["evaluator"].best_val_acc >= 0.75
    assert script["probability"].shape == (2,) and abs(script["probability"].sum() - 1) < 1e-5
    assert script["history"].history["loss"][-1] < script["history"].history["loss"][0]
    assert (folder / "best_model.weights").is_file()


def test_named_entities(folder):
    def tagged(text, *spans):
        tags = ["O"] * len(text)
        for start, end, kind in spans:
            tags[start : end + 1] = [f"B-{kind}"] + [f"I-{kind}"] * (end - start)
        return "\n".join(f"{char} {tag}" for char, tag in zip(text, tags)) + "\n"

    places = ("北京", "上海", "广州")
    texts = [tagged(f"我去{p}了", (2, 3, "LOC")) for p in places] + [tagged(f"{p}下雪", (0, 1, "LOC")) for p in places]
    texts += [tagged(f"他在{p}{q}", (2, 3, "LOC"), (4, 5, "LOC")) for p in places for q in places if p != q]
    write(folder, "ner.train", texts)
    write(folder, "ner.dev", texts[::4])
    script = run("ner_crf")
    losses = script["history"].history["loss"]
    assert min(losses) >= 0 and losses[-1] < losses[0] / 2
    assert script["evaluator"].best_val_f1 > 0.8
    assert script["evaluate"](script["valid_data"])[0] == pytest.approx(script["evaluator"].best_val_f1)
    assert script["NER"].recognize("我去北京了") == [(2, 3, "LOC")]


def test_titles(folder):
    lines = ["我在北京看花\t北京花", "他去上海买书\t上海书", "我在广州看雪\t广州雪", "他去北京买票\t北京票"]
    write(folder, "titles.txt", lines)
    script = run("seq2seq")
    assert len(script["keep_tokens"]) < len(TOKENS)
    history = script["history"].history
    assert history["token_accuracy"][0] < 0.5 and history["token_accuracy"][-1] > 0.7
    assert len(script["titles"]) == 2 and all(0 < len(title) <= 6 for title in script["titles"])


def test_similarity(folder):
    pairs = ["我喜欢书\t书我喜欢", "去北京\t到北京去", "春天花\t花在春天", "下雪了\t天下雪", "电影好\t好电影", "买票\t车票"]
    write(folder, "pairs.txt", [*pairs, "上海\t上海城", "秋风\t秋天风"])
    script = run("similarity")
    history = script["history"].history
    assert history["similarity_loss"] == pytest.approx(history["loss"], abs=1e-4)
    assert script["after"] > script["before"] + 0.1
    assert script["embeddings"].shape == (len(TOKENS), 16)
    assert (folder / "similarity.weights").is_file()
    shutil.copy(folder / "similarity.weights", folder / "copy")
    script["model"].load_weights("copy")


def test_language_model(folder):
    write(folder, "novel.txt", ["春风花月。夏天山水。秋天风雪。", "冬雪大地。北京城下。上海水上。"] * 2)
    script = run("language_model")
    losses = script["history"].history["loss"]
    assert losses[-1] < 0.6 * losses[0]
    assert script["cross_entropy"].padded  # the padding mask has come through the whole model
    assert all(story.startswith("春风") for story in script["evaluator"].stories)
    assert len(script["evaluator"].stories) == 2
    assert np.isfinite(script["continued"].history["loss"]).all()
