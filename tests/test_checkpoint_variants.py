"""One model, many files: whatever tools did to names, containers and precision on the way, the numbers arrive; and what
configuration files say wrongly or in another version's words does not matter."""

import json
import math
import re
import warnings
from functools import lru_cache

import keras
import ml_dtypes
import numpy as np
import pytest
from families import BERT_CONFIG, LLAMA, MODERN, SANDWICH, family, randomize, run

from keras_su.errors import CheckpointError
from keras_su.models import build_transformer_model
from keras_su.weights import write_safetensors, write_tf_bundle
from keras_su.weights.load import dump

ROWS = [family(name) for name in ("bert", "albert", "gpt2", "t5.1.1", "llama", "ernie", "xlm_roberta", "electra_generator")]
ROOTS = {row.name: row.family.maps[1 if len(row.family.maps) > 1 else 0].root for row in ROWS}
HEADS = {"bert": {"with_nsp": True, "with_mlm": "linear"}}


@lru_cache(None)
def sample(row, bare=False):
    """A handle with random weights; ``bare`` without heads."""
    heads = {"with_lm": False} if row.causal else {}
    heads = heads if bare else HEADS.get(row.name, row.heads[0])
    handle = build_transformer_model(row.config, model=row.name, return_keras_model=False, **heads)
    randomize(handle.model)
    return handle, {path: np.array(keras.ops.convert_to_numpy(v)) for path, v in handle.variables().items()}


@lru_cache(None)
def tensors(row, format="torch", bare=False):
    """What a file of that model holds."""
    handle, values = sample(row, bare)
    for path, variable in handle.variables().items():  # tests load other numbers into it
        variable.assign(values[path])
    return dict(handle.tensors(format))


def check(row, source, expected=None, bare=False):
    """Load, without a complaint; every variable gets the expected number."""
    handle, values = sample(row, bare)
    for variable in handle.variables().values():
        variable.assign(np.zeros(variable.shape, "float32"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = handle.load_weights_from_checkpoint(source)
    assert report.unused == [] and report.loaded == len(values)
    for path, variable in handle.variables().items():
        wanted = values[path] if expected is None else expected(values[path])
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), wanted, err_msg=path)


@pytest.fixture(params=ROWS, ids=lambda row: row.name)
def row(request):
    return request.param


# ---- names


@pytest.mark.parametrize("row", [row for row in ROWS if ROOTS[row.name]], ids=lambda row: row.name)
def test_the_base_class_has_no_prefix(row):
    root = ROOTS[row.name]
    body = {name.removeprefix(root): value for name, value in tensors(row, bare=True).items()}
    assert not any(name.startswith(root) for name in body)
    check(row, body, bare=True)


def test_wrappers_of_parallel_training_and_trainers(row):
    for wrapper in ("module.", "_orig_mod.module."):
        check(row, {wrapper + name: value for name, value in tensors(row).items()})


def test_layer_norms_of_old_files_have_gamma_and_beta(row):
    kind = {"weight": "gamma", "bias": "beta"}
    old = {
        re.sub(r"(norm|ln_\w+)\.(weight|bias)$", lambda found: f"{found[1]}.{kind[found[2]]}", name, flags=re.I): value
        for name, value in tensors(row).items()
    }
    assert sum(name.endswith("gamma") for name in old) >= row.config.get("num_hidden_layers", 2)
    check(row, old)


DUPLICATES = {
    "bert": {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    "albert": {
        "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
        "predictions.decoder.bias": "predictions.bias",
    },
    "gpt2": {"lm_head.weight": "transformer.wte.weight"},
    "t5.1.1": {"encoder.embed_tokens.weight": "shared.weight", "decoder.embed_tokens.weight": "shared.weight"},
    "ernie": {
        "cls.predictions.decoder.weight": "ernie.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    "xlm_roberta": {
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    },
    "electra_generator": {"generator_lm_head.weight": "electra.embeddings.word_embeddings.weight"},
}
BUFFERS = {
    "bert": ["bert.embeddings.position_ids", "bert.embeddings.token_type_ids"],
    "xlm_roberta": ["roberta.embeddings.position_ids"],
    "llama": ["model.layers.0.self_attn.rotary_emb.inv_freq"],
    "gpt2": ["transformer.h.0.attn.bias", "transformer.h.0.attn.masked_bias"],
}


def test_tied_duplicates_and_buffers_may_be_there(row):
    stored = tensors(row)
    duplicates = {name: stored[own] for name, own in DUPLICATES.get(row.name, {}).items()}
    assert not set(duplicates) & set(stored)
    buffers = {name: np.arange(4.0) for name in BUFFERS.get(row.name, [])}
    check(row, {**stored, **duplicates, **buffers})


def test_of_tied_tensors_any_one_will_do():
    row = family("t5.1.1")
    for name in DUPLICATES[row.name]:
        stored = dict(tensors(row))
        stored[name] = stored.pop("shared.weight")
        check(row, stored)


def test_a_tied_llama_may_repeat_its_table():
    config = {**LLAMA, "model_type": "llama", "tie_word_embeddings": True}
    handle = build_transformer_model(config, model=None, return_keras_model=False, checkpoint_path=_tied_llama(config))
    assert handle.family.name == "llama" and "Output-LM/kernel" not in handle.variables()


def _tied_llama(config):
    stored = dict(randomized(config, "llama").tensors("torch"))
    return {**stored, "lm_head.weight": stored["model.embed_tokens.weight"]}


def randomized(config, name, **options):
    handle = build_transformer_model(config, model=name, return_keras_model=False, **options)
    randomize(handle.model)
    return handle


# ---- containers


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_torch_files(row, legacy, tmp_path):
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(value.copy()) for name, value in tensors(row).items()}
    torch.save(state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=not legacy)
    check(row, tmp_path / "pytorch_model.bin")


def test_shards(row, tmp_path):
    written = write_safetensors(tmp_path / "model.safetensors", tensors(row), max_shard_bytes=9000)
    assert len(written) > 3
    check(row, written[-1])
    check(row, tmp_path)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(row, dtype, tmp_path):
    narrow = np.dtype(dtype if dtype == "float16" else ml_dtypes.bfloat16)
    write_safetensors(tmp_path / "model.safetensors", {name: a.astype(narrow) for name, a in tensors(row).items()})
    check(row, tmp_path / "model.safetensors", lambda value: value.astype(narrow).astype("float32"))


WITH_TF = [row for row in ROWS if row.writes("tf")]


@pytest.mark.parametrize("row", WITH_TF, ids=lambda row: row.name)
def test_tensorflow_files_with_what_training_left(row, tmp_path):
    stored = tensors(row, "tf")
    name = next(name for name, value in stored.items() if value.ndim == 2)
    training = {"global_step": np.int64(7), f"{name}/adam_m": stored[name], f"{name}/adam_v": stored[name]}
    training |= {
        f"{name}_slot_vr": stored[name][0],
        f"{name}/AdamWeightDecayOptimizer": stored[name],
        "beta1_power": np.float32(1),
    }
    stored = {**stored, **training}
    write_tf_bundle(tmp_path / "model.ckpt", stored)
    check(row, tmp_path / "model.ckpt")
    np.savez(tmp_path / "model.npz", **stored)
    check(row, tmp_path / "model.npz")
    check(row, {f"{key}:0": value for key, value in stored.items()})


# ---- layouts of other toolkits


def test_uer_checkpoints():
    """Names and segments of UER-py: segment 0 of its table is padding."""
    row = family("bert")
    words = [
        ("bert.embeddings.word_embeddings", "embedding.word_embedding"),
        ("bert.embeddings.position_embeddings", "embedding.position_embedding"),
        ("bert.embeddings.token_type_embeddings", "embedding.segment_embedding"),
        ("bert.embeddings.LayerNorm", "embedding.layer_norm"),
        ("bert.encoder.layer.", "encoder.transformer."),
        ("attention.self.query", "self_attn.linear_layers.0"),
        ("attention.self.key", "self_attn.linear_layers.1"),
        ("attention.self.value", "self_attn.linear_layers.2"),
        ("attention.output.dense", "self_attn.final_linear"),
        ("attention.output.LayerNorm", "layer_norm_1"),
        ("intermediate.dense", "feed_forward.linear_1"),
        ("output.dense", "feed_forward.linear_2"),
        ("output.LayerNorm", "layer_norm_2"),
        ("bert.pooler.dense", "target.nsp_linear_1"),
        ("cls.seq_relationship", "target.nsp_linear_2"),
        ("cls.predictions.transform.dense", "target.mlm_linear_1"),
        ("cls.predictions.transform.LayerNorm", "target.layer_norm"),
        ("cls.predictions.bias", "target.mlm_linear_2.bias"),
    ]
    stored = {}
    for name, value in tensors(row).items():
        for ours, theirs in words:
            name = name.replace(ours, theirs)
        stored[name] = value
    segments = stored["embedding.segment_embedding.weight"]
    stored["embedding.segment_embedding.weight"] = np.concatenate([np.full_like(segments[:1], 9), segments])
    stored["target.mlm_linear_2.weight"] = stored["embedding.word_embedding.weight"]
    check(row, stored)


def brightmart(layers=2):
    """A checkpoint as the first Chinese ALBERTs were."""
    rng = np.random.default_rng(4)
    draw = lambda *shape: (0.3 * rng.normal(size=shape)).astype("float32")  # noqa: E731
    dense = lambda name, *shape: {f"{name}/kernel": draw(*shape), f"{name}/bias": draw(shape[-1])}  # noqa: E731
    norm = lambda name: {f"{name}/gamma": 1 + draw(32), f"{name}/beta": draw(32)}  # noqa: E731
    block = "bert/encoder/layer_shared"
    return {
        "bert/embeddings/word_embeddings": draw(60, 16),
        "bert/embeddings/word_embeddings_2": draw(16, 32),
        "bert/embeddings/token_type_embeddings": draw(2, 32),
        "bert/embeddings/position_embeddings": draw(24, 32),
        **norm("bert/embeddings/LayerNorm"),
        **dense(f"{block}/attention/self/query", 32, 32),
        **dense(f"{block}/attention/self/key", 32, 32),
        **dense(f"{block}/attention/self/value", 32, 32),
        **dense(f"{block}/attention/output/dense", 32, 32),
        **norm(f"{block}/attention/output/LayerNorm"),
        **dense(f"{block}/intermediate/dense", 32, 48),
        **dense(f"{block}/output/dense", 48, 32),
        **norm(f"{block}/output/LayerNorm"),
        **dense("bert/pooler/dense", 32, 32),
        **dense("cls/predictions/transform/dense", 32, 32),
        **norm("cls/predictions/transform/LayerNorm"),
        "cls/predictions/output_bias": draw(60),
        "cls/seq_relationship/output_weights": draw(2, 32),
        "cls/seq_relationship/output_bias": draw(2),
        "global_step": np.int64(3),
    }


def forward(t, tokens, segments, layers, pre):
    """The first Chinese ALBERT in straight NumPy: logits of the masked language model."""
    t = {name: value.astype("float64") for name, value in t.items()}
    norm = lambda x, name: (  # noqa: E731
        (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12) * t[f"{name}/gamma"] + t[f"{name}/beta"]
    )
    dense = lambda x, name: x @ t[f"{name}/kernel"] + t[f"{name}/bias"]  # noqa: E731
    gelu = lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))  # noqa: E731
    block = "bert/encoder/layer_shared"
    first, second = f"{block}/attention/output/LayerNorm", f"{block}/output/LayerNorm"

    def attention(x):
        q, k, v = (dense(x, f"{block}/attention/self/{name}") for name in ("query", "key", "value"))
        heads = []
        for cut in (slice(8 * head, 8 * head + 8) for head in range(4)):
            a = q[:, cut] @ k[:, cut].T / math.sqrt(8)
            a = np.exp(a - a.max(-1, keepdims=True))
            heads.append(a / a.sum(-1, keepdims=True) @ v[:, cut])
        return dense(np.concatenate(heads, -1), f"{block}/attention/output/dense")

    feed_forward = lambda x: dense(gelu(dense(x, f"{block}/intermediate/dense")), f"{block}/output/dense")  # noqa: E731
    x = t["bert/embeddings/word_embeddings"][tokens] @ t["bert/embeddings/word_embeddings_2"]
    x = x + t["bert/embeddings/token_type_embeddings"][segments] + t["bert/embeddings/position_embeddings"][: len(tokens)]
    x = norm(x, "bert/embeddings/LayerNorm")
    for _ in range(layers):
        if pre:
            x = x + attention(norm(x, first))
            x = x + feed_forward(norm(x, second))
        else:
            x = norm(x + attention(x), first)
            x = norm(x + feed_forward(x), second)
    x = norm(gelu(dense(x, "cls/predictions/transform/dense")), "cls/predictions/transform/LayerNorm")
    x = x @ t["bert/embeddings/word_embeddings_2"].T @ t["bert/embeddings/word_embeddings"].T
    return x + t["cls/predictions/output_bias"]


@pytest.mark.parametrize("kind", ["postln", "preln"])
def test_the_first_chinese_albert(kind):
    config = {**BERT_CONFIG, "embedding_size": 16, "num_hidden_layers": 3, "ln_type": kind}
    stored = brightmart()
    handle = build_transformer_model(config, stored, "albert", return_keras_model=False, with_mlm="linear")
    tokens, segments = family("bert").inputs(batch=2)
    found = run(handle.model, [tokens, segments])
    for k in range(2):
        np.testing.assert_allclose(found[k], forward(stored, tokens[k], segments[k], 3, kind == "preln"), atol=2e-4, rtol=1e-3)
    table = next(m for m in handle.family.maps if "layer_shared" in str(m.rows))
    for name, value in dump(handle.variables(), table):
        np.testing.assert_array_equal(value, stored[name], err_msg=name)
    named = build_transformer_model(config, stored, None, return_keras_model=False, with_nsp=True)
    assert named.family.name == "albert"


# ---- lies of configuration files


def recognised(config, stored, tmp_path, **options):
    (tmp_path / "config.json").write_text(json.dumps(config))
    write_safetensors(tmp_path / "model.safetensors", stored)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return build_transformer_model(tmp_path, model=None, return_keras_model=False, **options)


def assert_holds(handle, row, bare=False):
    _, values = sample(row, bare)
    found = handle.variables()
    assert handle.family.name == row.name and found.keys() == values.keys()
    for path, value in values.items():
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(found[path]), value, err_msg=path)


def test_a_bert_that_calls_itself_roberta(tmp_path):
    """As the Chinese RoBERTas of CLUE do, with the token ids of the other vocabulary."""
    row = family("bert")
    config = {**row.config, "model_type": "roberta", "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    config["architectures"] = ["RobertaForMaskedLM"]
    assert_holds(recognised(config, tensors(row), tmp_path, **HEADS["bert"]), row)


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta"])
def test_a_real_roberta(kind, tmp_path):
    row = family("xlm_roberta")
    handle = recognised({**row.config, "model_type": kind}, tensors(row), tmp_path, **row.heads[0])
    assert_holds(handle, row)
    assert build_transformer_model(tmp_path, model="roberta", return_keras_model=False).family.name == "xlm_roberta"


def test_a_roformer_that_calls_itself_bert(tmp_path):
    row = family("roformer")
    handle = recognised({**row.config, "model_type": "bert"}, tensors(row), tmp_path, **row.heads[0])
    assert_holds(handle, row)


def test_an_ernie_that_calls_itself_bert(tmp_path):
    """Early uploads: BERT's names, task embeddings that the configuration does not mention."""
    row = family("ernie")
    config = {name: value for name, value in row.config.items() if name != "use_task_id"}
    stored = {re.sub(r"^ernie\.", "bert.", name): value for name, value in tensors(row).items()}
    handle = recognised({**config, "model_type": "bert"}, stored, tmp_path, **row.heads[0])
    assert_holds(handle, row)
    assert handle.model.inputs[-1].name == "Input-Segment"  # task ids are zero


def test_a_wrong_name_is_answered_with_the_right_one():
    for wrong, right in (("llama", "bert"), ("bert", "llama"), ("bert", "gpt2"), ("roformer", "t5.1.1"), ("t5.1.1", "albert")):
        row = family(right)
        fitting = f"({re.escape(right)}|mistral)" if right == "llama" else re.escape(right)  # without biases they are one
        with pytest.raises(CheckpointError, match=f"Best fit among the registered families: '{fitting}'"):
            build_transformer_model(family(wrong).config, tensors(row), wrong)


# ---- words of transformers 5


def same_outputs(name, old, new):
    handle, again = (randomized(config, name) for config in (old, new))
    inputs = family(name).inputs(length=14)
    expected = run(handle.model, inputs)
    np.testing.assert_allclose(run(again.model, inputs), expected, atol=1e-5, rtol=1e-5)
    return expected


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def test_rotary_settings_in_one_dictionary():
    base = {**LLAMA, "model_type": "llama", "max_position_embeddings": 64}
    plain = same_outputs(
        "llama",
        {**base, "rope_theta": 50.0, "torch_dtype": "float32"},
        {**base, "rope_parameters": {"rope_type": "default", "rope_theta": 50.0}, "dtype": "float32"},
    )
    scaled = same_outputs(
        "llama",
        {**base, "rope_theta": 50.0, "rope_scaling": LLAMA3},
        {**base, "rope_parameters": {**LLAMA3, "rope_theta": 50.0}},
    )
    other = run(randomized(base, "llama").model, family("llama").inputs(length=14))
    assert np.abs(plain - scaled).max() > 1e-3 and np.abs(plain - other).max() > 1e-3


def test_rotary_settings_for_each_type_of_layer():
    base = {**LLAMA, **SANDWICH, "model_type": "gemma3_text"}
    types = ["sliding_attention", "full_attention"]
    parameters = {kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in zip(types, (20.0, 300.0))}
    gemma = same_outputs(
        "gemma3",
        {**base, "sliding_window_pattern": 2, "rope_theta": 300.0, "rope_local_base_freq": 20.0},
        {**base, "layer_types": types, "rope_parameters": parameters},
    )
    assert (
        np.abs(gemma - run(randomized({**base, "layer_types": types}, "gemma3").model, family("gemma3").inputs(length=14))).max()
        > 1e-3
    )
    types = ["full_attention", "sliding_attention"]
    same_outputs(
        "modernbert",
        {**MODERN, "global_rope_theta": 300.0, "local_rope_theta": 20.0},
        {**MODERN, "layer_types": types, "rope_parameters": parameters},
    )
    linear = {**parameters, "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 300.0}}
    old = {**base, "sliding_window_pattern": 2, "rope_theta": 300.0, "rope_local_base_freq": 20.0}
    same_outputs(
        "gemma3",
        {**old, "rope_scaling": {"rope_type": "linear", "factor": 2.0}},
        {**base, "sliding_window_pattern": 2, "rope_parameters": linear},
    )


# ---- vocabulary


@pytest.mark.parametrize(("name", "format"), [("llama", "torch"), ("t5.1.1", "torch"), ("t5.1.1", "tf"), ("gpt2", "torch")])
def test_tokens_are_selected_on_both_sides(name, format, tmp_path):
    row = family(name)
    options = {"keep_tokens": [0, 3, 1, 2, 50], "compound_tokens": [[1, 4], ([2, 3], [1, 3])]}
    handle = build_transformer_model(row.config, tensors(row, format), name, return_keras_model=False, **options)
    _, values = sample(row)
    select = lambda a: np.concatenate([a[[0, 3, 1, 2, 50]], [(a[3] + a[50]) / 2, (a[1] + 3 * a[2]) / 4]])  # noqa: E731
    found = {path: keras.ops.convert_to_numpy(v) for path, v in handle.variables().items()}
    head = next((path for path in found if path.endswith("Output-LM/kernel")), None)
    assert (head is None) == (name == "gpt2")
    np.testing.assert_allclose(found["Embedding-Token/embeddings"], select(values["Embedding-Token/embeddings"]), atol=1e-6)
    if head:
        np.testing.assert_allclose(found[head], select(values[head].T).T, atol=1e-6)
    for path, value in values.items():
        if path not in ("Embedding-Token/embeddings", head):
            np.testing.assert_array_equal(found[path], value, err_msg=path)
    # what this model writes has the small vocabulary, and is taken as it is
    handle.save_pretrained(tmp_path / "small")
    again = build_transformer_model(row.config, tmp_path / "small", name, **options)
    for one, two in zip(handle.model.get_weights(), again.get_weights()):
        np.testing.assert_array_equal(one, two)
