"""Every registered class survives its configuration, a file, a fresh process, precision policies, quantization and LoRA."""

import json

import keras
import numpy as np
import pytest
from helpers import run_in_fresh_process, to_numpy
from keras import ops
from layer_cases import ARRAYS, ROWS, model_and_outputs

from keras_su import layers
from keras_su.activations import set_gelu
from keras_su.initializers import FanNormal, Sinusoidal
from keras_su.optimizers import PiecewiseLinear
from keras_su.registration import PACKAGE

# Objects of classes that need arguments; the others are made without. Layers have their rows in layer_cases.py.
OBJECTS = {"FanNormal": FanNormal(0.5), "PiecewiseLinear": PiecewiseLinear(0.5, {10: 1.0, 20: 0.25})}
# Layers and models have files of their own for these, and the last one stands for classes that are made when they are asked for.
ELSEWHERE = {"Lambda", "Model", "ExtendedOptimizer"}
POLICIES = ["float32", "mixed_float16", "mixed_bfloat16"]


def registered_classes():
    prefix = f"{PACKAGE}>"
    found = keras.saving.get_custom_objects()
    items = {key.removeprefix(prefix): item for key, item in found.items() if key.startswith(prefix)}
    return {key: item for key, item in items.items() if isinstance(item, type) and key not in ELSEWHERE}


def others():
    """Losses, metrics, optimizers, schedules, initializers: registered, and no layers."""
    return {name: one for name, one in registered_classes().items() if not issubclass(one, keras.layers.Layer)}


def test_every_registered_layer_is_tested_here():
    assert {row.layer.__name__ for row in ROWS} == registered_classes().keys() - others().keys()
    assert set(OBJECTS) < set(others())
    assert len({row.name for row in ROWS}) == len(ROWS)


def same_config(one, again):
    """Equal, and nothing but plain values; the order of keys matters to nobody."""
    return json.dumps(one, sort_keys=True, allow_nan=False) == json.dumps(again, sort_keys=True, allow_nan=False)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_configuration_of_layers(row):
    layer = row.make(dtype="mixed_bfloat16")
    layer.trainable = False
    config = layer.get_config()
    again = row.layer.from_config(json.loads(json.dumps(config)))
    assert same_config(config, again.get_config())
    assert again.name == row.name and not again.trainable and again.dtype_policy.name == "mixed_bfloat16"
    assert set(row.arguments) <= set(config)


@pytest.mark.parametrize("name", others())
def test_configuration_of_objects(name):
    made = OBJECTS[name] if name in OBJECTS else others()[name]()
    config = made.get_config()
    again = type(made).from_config(json.loads(json.dumps(config)))
    assert type(again) is others()[name]
    assert same_config(config, again.get_config())


@pytest.mark.parametrize("policy", POLICIES)
def test_outputs_are_finite_and_have_the_promised_shape_and_dtype(policy):
    model, outputs = model_and_outputs(policy)
    promised = model.output
    wide = dict.fromkeys(("attention_bias_1", "rotary", "rotary_custom", "rotary_scaled"), "float32")
    for name, output in outputs.items():
        dtype = keras.backend.standardize_dtype(output.dtype)
        assert dtype == promised[name].dtype, name
        assert len(output.shape) == len(promised[name].shape), name
        assert all(size in (None, given) for size, given in zip(promised[name].shape, output.shape)), name
        assert np.all(np.isfinite(output.astype("float32"))), name
        if dtype not in ("bool", "int32"):
            assert dtype == wide.get(name, keras.DTypePolicy(policy).compute_dtype), name


@pytest.mark.parametrize("policy, step", [("mixed_float16", 2.0**-10), ("mixed_bfloat16", 2.0**-7)])
def test_policies_change_outputs_by_rounding_only(policy, step):
    outputs = model_and_outputs(policy)[1]
    for name, expected in model_and_outputs("float32")[1].items():
        error = np.abs(outputs[name].astype("float32") - expected.astype("float32")).max()
        assert error <= 8 * step * max(1.0, np.abs(expected).max()), name


RELOAD = """
import sys
import keras
import numpy as np
import keras_su

model = keras.models.load_model(sys.argv[1])
arrays = np.load(sys.argv[2])
outputs = model.predict_on_batch([arrays[name] for name in arrays.files])
np.savez(sys.argv[3], **outputs)
"""


def test_file_loads_in_a_fresh_process(tmp_path):
    model, expected = model_and_outputs("float32")
    paths = [tmp_path / name for name in ("model.keras", "inputs.npz", "outputs.npz")]
    model.save(paths[0])
    np.savez(paths[1], **ARRAYS)
    run_in_fresh_process(RELOAD, *paths)
    found = np.load(paths[2])
    assert set(found.files) == set(expected)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-6, err_msg=name)


def policies(layer):
    """Dtype policies of a layer and of all layers inside it."""
    return [(inner.name, inner.dtype_policy.name) for inner in layer._flatten_layers()]


def test_file_keeps_the_policy_of_every_layer_and_sub_layer(tmp_path):
    model, _ = model_and_outputs("mixed_bfloat16")
    again = save_and_load(model, tmp_path)
    for layer in model.layers:
        assert policies(again.get_layer(layer.name)) == policies(layer)
    assert policies(again).count(("query", "mixed_bfloat16")) == 13  # rows of attention layers
    for weight, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)


def save_and_load(model, folder):
    model.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


def encoder():
    """Ids to attention to feed-forward to logits over the same table."""
    ids = keras.Input((None,), dtype="int32")
    embedding = layers.Embedding(11, 16, mask_zero=True, embeddings_initializer="glorot_uniform", name="table")
    x = embedding(ids)
    x = layers.MultiHeadAttention(2, 8, attention_dropout=0.1, name="attention")(x)
    x = layers.FeedForward(16, ["gelu", "linear"], name="feed_forward")(x)
    return keras.Model(ids, embedding(x, mode="dense"))


IDS = ops.convert_to_tensor(ARRAYS["ids"])


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_quantized_model_is_close_smaller_and_survives_a_file(tmp_path):
    model = encoder()
    before, weights = to_numpy(model(IDS)), sum(w.size for w in model.get_weights())
    model.quantize("int8")
    after = to_numpy(model(IDS))
    assert 0 < np.abs(after - before).max() < 0.1 * np.abs(before).max()
    matrices = [w for w in model.weights if len(w.shape) == 2]
    assert [keras.backend.standardize_dtype(w.dtype) for w in matrices].count("int8") == 1 + 4 + 3
    assert sum(w.nbytes for w in model.get_weights()) < 0.5 * 4 * weights
    again = save_and_load(model, tmp_path)
    np.testing.assert_array_equal(to_numpy(again(IDS)), after)
    assert same_config(again.get_layer("attention").get_config(), model.get_layer("attention").get_config())
    assert again.get_layer("attention").q_dense.dtype_policy == model.get_layer("attention").q_dense.dtype_policy


def test_quantized_table_keeps_the_rule_of_the_first_token():
    table = layers.Embedding(11, 16, mask_zero=True)
    ids = keras.Input((None,), dtype="int32")
    model = keras.Model(ids, table(ids))
    table.quantize("int8")
    assert model.get_layer(table.name) is table
    assert to_numpy(table.compute_mask(IDS)).tolist() == [[1, 1, 1, 0, 1], [1, 1, 1, 0, 0]]
    assert to_numpy(table(IDS)._keras_mask).tolist() == [[1, 1, 1, 0, 1], [1, 1, 1, 0, 0]]


def test_lora_trains_few_weights_and_survives_a_file(tmp_path):
    model = encoder()
    before = to_numpy(model(IDS))
    model.trainable = False
    attention = model.get_layer("attention")
    adapted = [attention.q_dense, attention.v_dense, model.get_layer("feed_forward").o_dense, model.get_layer("table")]
    for layer in adapted:
        layer.trainable = True
        layer.enable_lora(2)
    np.testing.assert_allclose(to_numpy(model(IDS)), before, atol=1e-6)  # adapters start at zero
    dice = np.random.default_rng(0)
    for layer in adapted:
        pair = [w for w in layer.trainable_weights if "lora" in w.name]
        assert len(pair) == 2
        for weight in pair:
            weight.assign(dice.normal(size=weight.shape))
    after = to_numpy(model(IDS))
    assert np.abs(after - before).max() > 0.1
    np.testing.assert_allclose(to_numpy(save_and_load(model, tmp_path)(IDS)), after, rtol=1e-5, atol=1e-5)


def test_constructor_objects_are_in_the_file_by_value(tmp_path):
    """Initializers as objects or dictionaries, a function, an array: the loaded model has the same configuration."""
    x = keras.Input((5, 8))
    y = layers.MultiHeadAttention(2, 4, kernel_initializer=keras.initializers.RandomNormal(stddev=0.5), name="object")(x)
    dictionary = keras.initializers.serialize(keras.initializers.RandomNormal(stddev=0.5))
    y = layers.MultiHeadAttention(2, 4, kernel_initializer=dictionary, name="dictionary")(y)
    y = layers.FeedForward(4, keras.activations.relu, kernel_initializer=keras.initializers.Constant(0.5), name="constant")(y)
    y = layers.PositionEmbedding(5, 8, embeddings_initializer=Sinusoidal(), name="table")(y)
    y = layers.LayerNormalization(scale=np.arange(8.0), name="array")(y)
    model = keras.Model(x, y)
    again = save_and_load(model, tmp_path)
    for layer in model.layers[1:]:
        assert same_config(layer.get_config(), again.get_layer(layer.name).get_config())
    assert again.get_layer("object").get_config()["kernel_initializer"]["config"]["stddev"] == 0.5
    assert same_config(
        *(again.get_layer(name).get_config()["kernel_initializer"] for name in ("object", "dictionary")),
    )
    # What was read is used: a clone draws its weights from the initializers in the file.
    clone = keras.models.clone_model(again)
    np.testing.assert_array_equal(to_numpy(clone.get_layer("constant").weights[0]), np.full((8, 4), 0.5))
    np.testing.assert_allclose(to_numpy(clone.get_layer("table").weights[0]), to_numpy(Sinusoidal()((5, 8))), atol=1e-6)
    assert 0.4 < np.std(to_numpy(clone.get_layer("dictionary").weights[0])) < 0.6


def test_gelu_of_a_saved_model_does_not_depend_on_the_switch(tmp_path):
    x = ops.convert_to_tensor(ARRAYS["x"] * 3)
    inputs = keras.Input((5, 8))
    try:
        set_gelu("tanh")
        model = keras.Model(inputs, layers.FeedForward(6, "gelu", name="ff")(inputs))
        set_gelu("erf")
        assert layers.FeedForward(6, "gelu").activation == "gelu_erf"
        again = save_and_load(model, tmp_path)
    finally:
        set_gelu("erf")
    assert again.get_layer("ff").activation == "gelu_tanh"
    np.testing.assert_allclose(to_numpy(again(x)), to_numpy(model(x)), atol=1e-6)
    exact = layers.FeedForward(6, "gelu_erf")
    exact.build(x.shape)
    exact.set_weights(model.get_weights())
    assert np.abs(to_numpy(exact(x)) - to_numpy(model(x))).max() > 1e-5
