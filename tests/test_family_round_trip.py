"""Nothing is lost on the way: file -> model -> file, and model -> ``.keras`` -> model in a fresh process."""

import gc
import json

import keras
import numpy as np
import pytest
from families import FAMILIES, built, family, randomize, run
from golden_cases import HERE, Case
from helpers import run_in_fresh_process

from keras_su.errors import CheckpointError
from keras_su.models import build_transformer_model
from keras_su.weights import open_checkpoint
from keras_su.weights.load import choose_map, dump

CHECKPOINTS = [(row, name) for row in FAMILIES for name in row.checkpoints]
REPRESENTATIVES = [family(name) for name in ("bert", "llama", "t5.1.1")]
HEADS = {
    "with_nsp": ("seq_relationship", "sop_classifier"),
    "with_pool": ("pooler",),
    "with_mlm": ("cls/predictions", "cls.predictions", "predictions.bias", "generator_predictions", "head.dense"),
    "with_discriminator": ("discriminator_predictions",),
}
"""How the tensors of a head are recognised."""
UNNAMED = ("baichuan2",)
"""Families that a folder does not name."""


def by_name(row):
    return row.name


def heads_in(names):
    """Keyword arguments for the heads that an encoder's file holds."""
    found = {head for head, words in HEADS.items() if any(word in name for word in words for name in names)}
    found -= {"with_mlm"} if "with_discriminator" in found else set()
    return {head: "linear" if head == "with_mlm" else True for head in found}


@pytest.mark.parametrize(("row", "name"), CHECKPOINTS, ids=[name for _, name in CHECKPOINTS])
def test_load_and_dump_is_bit_equal(row, name):
    case = Case(HERE / name)
    config, checkpoint = case.folder / case.data["config"], case.folder / case.data["checkpoint"]
    with open_checkpoint(checkpoint) as reader:
        source = {tensor: reader.read(tensor) for tensor in reader.names()}
        name_map = choose_map(reader, row.family.maps)
    options = {key: value for run in case.data["runs"] for key, value in run["builder"].items() if "segment" in key}
    options |= heads_in(source) if row.kind == "encoder" else {}
    handle = build_transformer_model(config, checkpoint, row.name, return_keras_model=False, **options)
    canonical = {ours: source[theirs] for ours, theirs in name_map.canonical(source).items()}
    dumped = dict(dump(handle.variables(), name_map, handle._groups()))
    for tensor, value in dumped.items():
        assert value.dtype == canonical[tensor].dtype
        np.testing.assert_array_equal(value, canonical[tensor], err_msg=tensor)
    left = [t for t in canonical if t not in dumped and not name_map.ignores(t) and t not in name_map.aliases]
    left = [t for t in left if not any(np.array_equal(canonical[t], value) for value in dumped.values())]  # tied duplicates
    if row.family.part_of:  # the file may hold the other half, too
        other = "decoder" if row.name.endswith("encoder") else "encoder"
        left = [tensor for tensor in left if not tensor.removeprefix("model.").startswith(other)]
    assert left == []


def test_every_golden_checkpoint_belongs_to_a_row():
    """One case for each kind of file suffices; but a case of a family without any would be a row forgotten."""
    used = {name for _, name in CHECKPOINTS}
    stored = {path.parent.name for path in HERE.glob("*/case.json")}
    families = {
        json.loads((HERE / name / "case.json").read_text(encoding="utf-8"))["runs"][0]["builder"]["model"] for name in stored
    }
    assert used <= stored
    assert families <= {row.name for row in FAMILIES if row.checkpoints}


KINDS = [(row, kind) for row in FAMILIES for kind in ("tf", "hf") if row.writes(kind)]


@pytest.mark.parametrize(("row", "kind"), KINDS, ids=[f"{row.name}-{kind}" for row, kind in KINDS])
def test_written_checkpoints_load_again(row, kind, tmp_path):
    heads = row.heads[min(2, len(row.heads) - 1)]
    handle = build_transformer_model(row.config, model=row.name, return_keras_model=False, **heads)
    randomize(handle.model)
    if row.name == "albert_unshared":  # the file has one block for all layers
        for path, variable in handle.variables().items():
            variable.assign(handle.variables()[path.replace("Transformer-1", "Transformer-0")])
    if row.name == "baichuan2":  # whose output vectors have length 1, whatever the file says
        kernel = handle.variables()["Output-LM/kernel"]
        kernel.assign(kernel / keras.ops.norm(kernel, axis=0, keepdims=True))
    if kind == "tf":
        handle.save_weights_as_checkpoint(tmp_path / "model.ckpt")
        again = build_transformer_model(row.config, tmp_path / "model.ckpt", row.name, return_keras_model=False, **heads)
    else:
        folder = tmp_path / "folder"
        handle.save_pretrained(folder, vocab=["[PAD]", *(f"[{i}]" for i in range(row.config["vocab_size"] - 1))])
        named = row.name if row.name in UNNAMED else None
        again = build_transformer_model(folder, model=named, return_keras_model=False, **heads)
        assert again.family.name == row.name
        assert json.loads((folder / "config.json").read_text())["model_type"] == row.family.model_types[0]
        assert len((folder / "vocab.txt").read_text(encoding="utf-8").splitlines()) == row.config["vocab_size"]
        assert not list(folder.glob("*.bin"))
    before, after = handle.variables(), again.variables()
    assert before.keys() == after.keys()
    for path, variable in before.items():
        one, two = keras.ops.convert_to_numpy(variable), keras.ops.convert_to_numpy(after[path])
        np.testing.assert_allclose(two, one, rtol=1e-6 if row.name == "baichuan2" else 0, err_msg=path)
    if kind == "hf":  # the configuration, too, says the same
        inputs = row.inputs()
        one, two = run(handle.model, inputs), run(again.model, inputs)
        for first, second in zip(one, two) if isinstance(one, list) else [(one, two)]:
            np.testing.assert_allclose(second, first, atol=2e-5, rtol=1e-4)


def test_layers_that_became_different_cannot_be_written_as_one(tmp_path):
    row = family("albert_unshared")
    handle = build_transformer_model(row.config, model=row.name, return_keras_model=False)
    randomize(handle.model)
    with pytest.raises(
        CheckpointError, match="The file keeps .* once, but Transformer-1-MultiHeadSelfAttention/query/kernel differs"
    ):
        handle.save_weights_as_checkpoint(tmp_path / "model.ckpt")
    assert list(tmp_path.iterdir()) == []


RELOAD = """
import json, sys, numpy as np, keras, keras_su
for job in json.load(open(sys.argv[1])):
    model = keras.models.load_model(job["file"])
    arrays = np.load(job["arrays"])
    inputs = [arrays[k] for k in sorted(arrays.files) if k.startswith("in")]
    outputs = model(inputs, training=False)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    for k, output in enumerate(outputs):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(output), arrays[f"out{k}"], atol=1e-6, err_msg=job["file"])
print("equal")
"""


def quantized(model):
    """Keras collects garbage after each layer, which takes long among many models unless those are set aside."""
    gc.freeze()
    model.quantize("int8")
    gc.unfreeze()
    return model


WITH_HEADS = ("bert", "electra", "t5.1.1")


def keep(job, model, inputs, folder, jobs):
    outputs = run(model, inputs)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    file, arrays = folder / f"{job}.keras", folder / f"{job}.npz"
    model.save(file)
    np.savez(arrays, **{f"in{k}": a for k, a in enumerate(inputs)}, **{f"out{k}": a for k, a in enumerate(outputs)})
    jobs.append({"file": str(file), "arrays": str(arrays)})


def with_lora(model):
    for layer in model._flatten_layers():
        if layer.name in ("query", "value"):
            layer.enable_lora(2)
            layer.lora_kernel_b.assign(keras.random.normal(layer.lora_kernel_b.shape))
    return model


def test_keras_files_load_in_a_fresh_process(tmp_path):
    """Every family; every kind of head; with LoRA; quantized. Safe mode is Keras' default."""
    jobs = []
    for row in FAMILIES:
        inputs = row.inputs()
        keep(row.name, built(row, row.applications[-1]), inputs, tmp_path, jobs)
        for k, heads in enumerate(row.heads if row.name in WITH_HEADS else ()):
            if heads and heads != row.logits:
                keep(f"{row.name}-{k}", build_transformer_model(row.config, model=row.name, **heads), inputs, tmp_path, jobs)
    for row in REPRESENTATIVES:
        keep(f"{row.name}-lora", with_lora(row.build(row.applications[0])), row.inputs(), tmp_path, jobs)
        keep(f"{row.name}-int8", quantized(row.build(row.applications[0])), row.inputs(), tmp_path, jobs)
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    assert run_in_fresh_process(RELOAD, str(tmp_path / "jobs.json")).strip().endswith("equal")


@pytest.mark.parametrize("row", REPRESENTATIVES, ids=by_name)
def test_quantization_stays_close(row):
    model = randomize(row.build(row.applications[0]), scale=0.04)
    inputs = row.inputs()
    before = run(model, inputs)
    layers = sum(isinstance(layer, keras.layers.Dense) for layer in model._flatten_layers())
    quantized(model)
    assert sum("int8" in str(w.dtype) for w in model.weights) >= layers
    assert np.abs(before - run(model, inputs)).max() < 0.1 * np.abs(before).max()


def test_lora_trains_only_the_added_weights():
    row = family("bert")
    model = with_lora(build_transformer_model({**row.config, "hidden_dropout_prob": 0.0}, model=row.name, with_mlm="linear"))
    for variable in model.trainable_variables:
        variable.trainable = "lora" in variable.path
    trainable = [w.path for w in model.trainable_weights]
    assert len(trainable) == 4 * row.config["num_hidden_layers"] and all("lora" in path for path in trainable)
    before = [keras.ops.convert_to_numpy(w) for w in model.non_trainable_weights if "seed" not in w.path]
    model.compile(keras.optimizers.Adam(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    inputs = row.inputs()
    losses = model.fit(inputs, inputs[0], epochs=3, verbose=0).history["loss"]
    after = [keras.ops.convert_to_numpy(w) for w in model.non_trainable_weights if "seed" not in w.path]
    assert losses[-1] < losses[0]
    for one, two in zip(before, after):
        np.testing.assert_array_equal(one, two)


PRECISIONS = [(row, "mixed_bfloat16") for row in FAMILIES]
PRECISIONS += [(row, policy) for row in REPRESENTATIVES for policy in ("mixed_float16", "bfloat16")]


@pytest.mark.parametrize(("row", "policy"), PRECISIONS, ids=[f"{row.name}-{policy}" for row, policy in PRECISIONS])
def test_low_precision_is_finite_and_close(row, policy):
    application = row.applications[-1]
    wide = built(row, application)
    narrow = build_transformer_model(row.config, model=row.name, application=application, dtype=policy, **(row.logits or {}))
    narrow.set_weights(wide.get_weights())
    inputs = row.inputs()
    inputs[int(row.kind in ("seq2seq", "half"))][1, 4:] = row.pad or 0
    assert keras.backend.standardize_dtype(narrow.output.dtype) == ("float32" if row.logits else policy.removeprefix("mixed_"))
    one, two = run(wide, inputs), run(narrow, inputs)
    assert np.isfinite(two).all()
    assert np.abs(one - two).max() < 0.1 * np.abs(one).max()
