"""Nothing is lost on the way: file -> model -> file, and model -> ``.keras`` -> model in a fresh process."""

import json

import keras
import numpy as np
import pytest
from families import FAMILIES
from golden_cases import HERE, Case
from helpers import run_in_fresh_process

from keras_su.models import build_transformer_model
from keras_su.weights import open_checkpoint

CHECKPOINTS = [(row, name) for row in FAMILIES for name in row.checkpoints]
HEADS = {"with_nsp": True, "with_mlm": "linear"}


def tensors_of(path):
    with open_checkpoint(path) as reader:
        return {name: reader.read(name) for name in reader.names()}


def config_and_checkpoint(name):
    case = Case(HERE / name)
    return case.folder / case.data["config"], case.folder / case.data["checkpoint"]


@pytest.mark.parametrize(("row", "name"), CHECKPOINTS, ids=[name for _, name in CHECKPOINTS])
def test_load_and_dump_is_bit_equal(row, name):
    config, checkpoint = config_and_checkpoint(name)
    source = tensors_of(checkpoint)
    has = lambda word: any(word in tensor for tensor in source)  # noqa: E731
    heads = {"with_nsp": has("seq_relationship"), "with_pool": has("pooler"), "with_mlm": "linear"}
    handle = build_transformer_model(config, checkpoint, row.name, return_keras_model=False, **heads)
    with open_checkpoint(checkpoint) as reader:
        name_map = next(m for m in handle.family.maps if m.format == reader.format)
    canonical = {ours: source[theirs] for ours, theirs in name_map.canonical(source).items()}
    dumped = dict(handle.tensors(name_map.format))
    for tensor, value in dumped.items():
        assert value.dtype == canonical[tensor].dtype
        np.testing.assert_array_equal(value, canonical[tensor], err_msg=tensor)
    assert [t for t in canonical if t not in dumped and not name_map.ignores(t)] == []


@pytest.mark.parametrize("row", FAMILIES, ids=lambda row: row.name)
@pytest.mark.parametrize("kind", ["tf", "hf"])
def test_written_checkpoints_load_again(row, kind, tmp_path):
    handle = build_transformer_model(row.config, model=row.name, return_keras_model=False, **HEADS)
    if kind == "tf":
        handle.save_weights_as_checkpoint(tmp_path / "model.ckpt")
        again = build_transformer_model(row.config, tmp_path / "model.ckpt", row.name, **HEADS)
    else:
        handle.save_pretrained(tmp_path / "folder", vocab=["[PAD]", *(f"[{i}]" for i in range(row.config["vocab_size"] - 1))])
        again = build_transformer_model(tmp_path / "folder", model=None, **HEADS)
        assert json.loads((tmp_path / "folder" / "config.json").read_text())["model_type"] == row.name
        assert len((tmp_path / "folder" / "vocab.txt").read_text(encoding="utf-8").splitlines()) == row.config["vocab_size"]
        assert not list((tmp_path / "folder").glob("*.bin"))
    for one, two in zip(handle.model.get_weights(), again.get_weights()):
        np.testing.assert_array_equal(one, two)


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


def keep(job, model, inputs, folder, jobs):
    outputs = model([keras.ops.convert_to_tensor(a) for a in inputs], training=False)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    file, arrays = folder / f"{job}.keras", folder / f"{job}.npz"
    model.save(file)
    np.savez(
        arrays,
        **{f"in{k}": a for k, a in enumerate(inputs)},
        **{f"out{k}": keras.ops.convert_to_numpy(o) for k, o in enumerate(outputs)},
    )
    jobs.append({"file": str(file), "arrays": str(arrays)})


def test_keras_files_load_in_a_fresh_process(tmp_path):
    """Every family, application and head; with LoRA; quantized. Safe mode is Keras' default."""
    jobs = []
    for row in FAMILIES:
        for application in row.applications:
            for k, heads in enumerate(row.heads):
                if application == "encoder" or k == 2:
                    model = build_transformer_model(row.config, model=row.name, application=application, **heads)
                    keep(f"{row.name}-{application}-{k}", model, row.inputs(), tmp_path, jobs)
        model = build_transformer_model(row.config, model=row.name, **HEADS)
        for layer in model._flatten_layers():
            if layer.name in ("query", "value"):
                layer.enable_lora(2)
                layer.lora_kernel_b.assign(keras.random.normal(layer.lora_kernel_b.shape))
        keep(f"{row.name}-lora", model, row.inputs(), tmp_path, jobs)
        model = build_transformer_model(row.config, model=row.name, **HEADS)
        model.quantize("int8")
        keep(f"{row.name}-int8", model, row.inputs(), tmp_path, jobs)
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    assert run_in_fresh_process(RELOAD, str(tmp_path / "jobs.json")).strip().endswith("equal")


@pytest.mark.parametrize("row", FAMILIES, ids=lambda row: row.name)
def test_quantization_stays_close(row):
    model = build_transformer_model({**row.config, "initializer_range": 0.02}, model=row.name, **HEADS)
    inputs = row.inputs()
    before = [keras.ops.convert_to_numpy(o) for o in model(inputs, training=False)]
    model.quantize("int8")
    assert sum("int8" in str(w.dtype) for w in model.weights) >= 6 * row.config["num_hidden_layers"]
    for one, two in zip(before, model(inputs, training=False)):
        two = keras.ops.convert_to_numpy(two)
        assert np.abs(one - two).max() < 0.05 * np.abs(one).max()


@pytest.mark.parametrize("row", FAMILIES, ids=lambda row: row.name)
def test_lora_trains_only_the_added_weights(row):
    model = build_transformer_model({**row.config, "hidden_dropout_prob": 0.0}, model=row.name, with_mlm="linear")
    for layer in model._flatten_layers():
        if layer.name in ("query", "value"):
            layer.enable_lora(2)
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


@pytest.mark.parametrize("row", FAMILIES, ids=lambda row: row.name)
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
def test_low_precision_is_finite_and_close(row, policy):
    keras.utils.set_random_seed(3)
    wide = build_transformer_model(row.config, model=row.name, application="unilm", with_mlm="linear")
    narrow = build_transformer_model(row.config, model=row.name, application="unilm", with_mlm="linear", dtype=policy)
    narrow.set_weights(wide.get_weights())
    inputs = [np.pad(a, ((0, 0), (0, 3))) for a in row.inputs()]
    inputs[0][1] = 0
    one = keras.ops.convert_to_numpy(wide(inputs, training=False))
    two = narrow(inputs, training=False)
    assert keras.backend.standardize_dtype(two.dtype) == "float32"  # heads compute in float32
    two = keras.ops.convert_to_numpy(two)
    assert np.isfinite(two).all()
    assert np.abs(one - two).max() < 0.1 * np.abs(one).max()
