"""The front door: every way to say what to build, and what happens when it is said wrong."""

import json
import shutil
import warnings
from dataclasses import replace

import h5py
import keras
import numpy as np
import pytest
from families import BERT_CONFIG, family
from golden_cases import HERE, Case

from keras_su.errors import CheckpointError, KerasSuError
from keras_su.models import build_transformer_model, list_models, register_family
from keras_su.models.config import Config
from keras_su.models.families.bert import BERT_TF, bert
from keras_su.models.parts import FeedForward, SelfAttention
from keras_su.models.registry import _FAMILIES, find_family
from keras_su.models.spec import map_parts

BERT = family("bert")


def golden(name):
    case = Case(HERE / name)
    return str(case.folder / case.data["config"]), str(case.folder / case.data["checkpoint"])


def run(model, arrays):
    outputs = model([keras.ops.convert_to_tensor(a) for a in arrays], training=False)
    return [keras.ops.convert_to_numpy(o) for o in outputs] if isinstance(outputs, list) else keras.ops.convert_to_numpy(outputs)


# ---- ways to say it


def test_configuration_as_file_dictionary_keywords_and_folder_agree(tmp_path):
    config, checkpoint = golden("hf_bert_pretraining")
    inputs = BERT.inputs()
    expected = run(build_transformer_model(config, checkpoint), inputs)
    values = json.loads(open(config, encoding="utf-8").read())
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(config, folder / "config.json")
    shutil.copy(checkpoint, folder / "model.safetensors")
    keywords = {
        k: values[k] for k in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    }
    for model in (
        build_transformer_model(values, checkpoint),
        build_transformer_model(folder),
        build_transformer_model(str(folder), model=None),
        build_transformer_model(checkpoint_path=checkpoint, max_position_embeddings=32, **keywords),
        build_transformer_model(values, bert_arrays(checkpoint)),
    ):
        np.testing.assert_allclose(run(model, inputs), expected, atol=1e-6)


def bert_arrays(checkpoint):
    from keras_su.weights import open_checkpoint

    with open_checkpoint(checkpoint) as reader:
        return {name: reader.read(name) for name in reader.names()}


@pytest.mark.parametrize("model_type", ["bert", "roberta-of-no-known-kind", None])
def test_model_none_finds_the_family_by_configuration_or_by_tensor_names(model_type):
    config, checkpoint = golden("bert_mlm")
    values = {k: v for k, v in json.loads(open(config, encoding="utf-8").read()).items() if k != "model_type"}
    if model_type:
        values["model_type"] = model_type
    handle = build_transformer_model(values, checkpoint, model=None, return_keras_model=False)
    assert handle.family.name == "bert"


def test_model_none_without_evidence_lists_the_families():
    with pytest.raises(KerasSuError, match="Cannot tell the model family.*bert"):
        build_transformer_model(BERT_CONFIG, model=None)


def test_a_spec_a_function_and_a_family_are_accepted_as_model():
    spec = bert(Config(BERT_CONFIG, {"with_pool": True}))
    for model in (spec, bert, find_family("bert")):
        options = {} if model is spec else {"with_pool": True}
        assert build_transformer_model({} if model is spec else BERT_CONFIG, model=model, **options).output.shape == (None, 32)
    with pytest.raises(KerasSuError, match="with_mlm.*no effect on a Spec"):
        build_transformer_model(model=spec, with_mlm=True)


def test_edit_changes_the_specification():
    def edit(spec):
        return replace(map_parts(spec, FeedForward, units=7), num_layers=1)

    model = build_transformer_model(BERT_CONFIG, edit=edit)
    assert model.get_layer("Transformer-0-FeedForward").units == 7
    assert "Transformer-1-FeedForward" not in [layer.name for layer in model.layers]
    with pytest.raises(KerasSuError, match="edit returned.*NoneType"):
        build_transformer_model(BERT_CONFIG, edit=lambda spec: None)


def test_an_edited_model_is_not_written_under_the_settings_it_no_longer_has(tmp_path):
    handle = build_transformer_model(BERT_CONFIG, edit=lambda spec: replace(spec, num_layers=1), return_keras_model=False)
    with pytest.raises(KerasSuError, match="cannot express edit="):
        handle.save_pretrained(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_blocks_may_depend_on_the_layer():
    def edit(spec):
        first = spec.block
        wide = map_parts(spec, SelfAttention, key_size=16).block
        return replace(spec, block=lambda index: wide if index else first)

    model = build_transformer_model(BERT_CONFIG, edit=edit)
    assert [model.get_layer(f"Transformer-{i}-MultiHeadSelfAttention").key_size for i in (0, 1)] == [8, 16]


def test_a_registered_family_is_found_by_name():
    register_family("tiny_bert_of_this_test", spec=lambda config: replace(bert(config), num_layers=1), maps=(BERT_TF,))
    try:
        assert "tiny_bert_of_this_test" in list_models()
        build_transformer_model(BERT_CONFIG, model="tiny_bert_of_this_test")
    finally:
        del _FAMILIES["tiny_bert_of_this_test"]


def test_fewer_layers_of_a_checkpoint_load_without_complaint():
    config, checkpoint = golden("bert_encoder")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        short = build_transformer_model(config, checkpoint, num_hidden_layers=1)
    full = build_transformer_model(config, checkpoint)
    probe = keras.Model(full.inputs, full.get_layer("Transformer-0-FeedForward-Norm").output)
    np.testing.assert_allclose(run(short, BERT.inputs()), run(probe, BERT.inputs()), atol=1e-6)


def test_heads_come_in_the_documented_order_and_one_output_is_bare():
    build = lambda **heads: build_transformer_model(BERT_CONFIG, **heads)  # noqa: E731
    assert build().output.shape == (None, None, 32)
    assert build(with_pool=True).output.shape == (None, 32)
    assert build(with_nsp=True).output.shape == (None, 2)
    assert build(with_mlm=True).output.shape == (None, None, 60)
    assert [o.shape for o in build(with_mlm=True, with_pool=True).output] == [(None, 32), (None, None, 60)]
    probabilities, logits = (run(build(with_mlm=kind), BERT.inputs()) for kind in (True, "linear"))
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    assert (logits < 0).any()


def test_prefix_and_shared_layers_put_two_towers_into_one_graph():
    one = build_transformer_model(BERT_CONFIG, prefix="One-", return_keras_model=False)
    two = build_transformer_model(BERT_CONFIG, prefix="Two-", return_keras_model=False)
    both = keras.Model([*one.inputs, *two.inputs], keras.layers.Concatenate()([one.output, two.output]))
    assert {layer.name.split("-")[0] for layer in both.layers} >= {"One", "Two"}
    assert both.output.shape == (None, None, 64)
    shared = build_transformer_model(BERT_CONFIG, prefix="One-", layers=one.layers, with_pool=True)
    assert shared.get_layer("One-Embedding-Token") is one.layers["One-Embedding-Token"]
    config, checkpoint = golden("bert_encoder")
    prefixed = build_transformer_model(config, checkpoint, prefix="A-")
    np.testing.assert_allclose(
        run(prefixed, BERT.inputs()), run(build_transformer_model(config, checkpoint), BERT.inputs()), atol=1e-6
    )


def test_additional_inputs_and_condition():
    condition = keras.Input((5,), name="Condition")
    extra = keras.Input((3,), name="Extra")
    model = build_transformer_model(
        BERT_CONFIG, layer_norm_cond=condition, additional_input_layers=[condition, extra], with_pool=True
    )
    assert [tensor.name for tensor in model.inputs] == ["Input-Token", "Input-Segment", "Condition", "Extra"]
    plain = build_transformer_model(BERT_CONFIG, with_pool=True)
    inputs = BERT.inputs()
    rng = np.random.default_rng(0)
    values = {w.path: rng.normal(size=w.shape) * 0.3 for w in plain.weights if "seed" not in w.path}
    for target in (plain, model):
        for weight in target.weights:
            if weight.path in values:
                weight.assign(values[weight.path])
    conditions = [rng.normal(size=(3, 5)).astype("float32"), np.zeros((3, 3), "float32")]
    np.testing.assert_allclose(
        run(model, [*inputs, *conditions]), run(plain, inputs), atol=1e-5
    )  # zero-initialised: no effect yet


def test_sequence_length_fixes_the_shape():
    assert build_transformer_model(BERT_CONFIG, sequence_length=7).output.shape == (None, 7, 32)


def test_recomputation_does_not_change_gradients():
    results = []
    for remat in (None, True, ["Transformer-1-FeedForward"]):
        keras.utils.set_random_seed(5)
        options = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "remat": remat}
        model = build_transformer_model(BERT_CONFIG, with_mlm="linear", **options)
        model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        inputs = BERT.inputs()
        model.train_on_batch(inputs, inputs[0])
        results.append(model.get_weights())
    for other in results[1:]:
        for one, two in zip(results[0], other):
            np.testing.assert_allclose(one, two, atol=1e-5)


# ---- vocabulary


def test_keep_and_compound_tokens_apply_to_table_and_bias_and_once_only(tmp_path):
    config, checkpoint = golden("bert_mlm")
    options = {"keep_tokens": [3, 1, 2, 50], "compound_tokens": [[0, 3], ([1, 2], [1, 3])], "with_mlm": "linear"}
    handle = build_transformer_model(config, checkpoint, return_keras_model=False, **options)
    source = bert_arrays(checkpoint)
    for path, name in (
        ("Embedding-Token/embeddings", "bert/embeddings/word_embeddings"),
        ("MLM-Bias/beta", "cls/predictions/output_bias"),
    ):
        table = source[name]
        kept = table[[3, 1, 2, 50]]
        expected = np.concatenate([kept, [(kept[0] + kept[3]) / 2], [(kept[1] + 3 * kept[2]) / 4]])
        np.testing.assert_allclose(keras.ops.convert_to_numpy(handle.variables()[path]), expected, atol=1e-6)
    # the weights of this model, saved and loaded again with the same arguments
    handle.save_weights_as_checkpoint(tmp_path / "own.ckpt")
    again = build_transformer_model(config, tmp_path / "own.ckpt", **options)
    for one, two in zip(handle.model.get_weights(), again.get_weights()):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep_tokens": [0, 100]}, "keep_tokens: got 100, expected token ids from 0 to 59"),
        ({"keep_tokens": [-1]}, "keep_tokens: got -1"),
        ({"keep_tokens": [0, 1], "compound_tokens": [[0, 2]]}, "compound_tokens: got 2, expected token ids from 0 to 1"),
        ({"compound_tokens": [([0, 1], [1])]}, "as many weights as tokens"),
        ({"compound_tokens": [[]]}, "at least one"),
    ],
)
def test_bad_token_lists(options, message):
    with pytest.raises(KerasSuError, match=message):
        build_transformer_model(BERT_CONFIG, **options)


# ---- saying it wrong


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "bret"}, "Unknown model 'bret'. Did you mean 'bert'"),
        ({"model": 3}, "model: got 3"),
        ({"application": "unlim"}, "Unknown application 'unlim'. Did you mean 'unilm'"),
        ({"with_mln": True}, "Unused setting 'with_mln' for model 'bert'. Did you mean 'with_mlm'"),
        ({"hidden_act": "gelu_erff"}, "Unknown activation 'gelu_erff'. Did you mean 'gelu_erf'"),
        ({"num_attention_heads": 0}, "got 0, expected a positive integer"),
        ({"vocab_size": -5}, "vocab_size: got -5"),
        ({"segment_vocab_size": 0, "application": "unilm"}, "no segment input"),
        ({"hierarchical_position": 0.5}, "hierarchical: got 0.5"),
        ({"custom_position_ids": "left"}, "custom_position_ids: got 'left'"),
        ({"num_attention_heads": 5}, "hidden_size.*32.*5"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(KerasSuError, match=message):
        build_transformer_model(BERT_CONFIG, **options)


def test_a_missing_setting_is_named():
    values = {k: v for k, v in BERT_CONFIG.items() if k != "hidden_size"}
    with pytest.raises(KerasSuError, match="lacks 'hidden_size'.*It has 'hidden_sise': is that what was meant"):
        build_transformer_model({**values, "hidden_sise": 32})


@pytest.mark.parametrize("setting", [{"is_decoder": True}, {"position_embedding_type": "relative_key"}, {"ln_type": "preln"}])
def test_settings_that_bert_cannot_honour_are_errors(setting):
    with pytest.raises(KerasSuError, match=f"{next(iter(setting))}.*does not compute"):
        build_transformer_model({**BERT_CONFIG, **setting})


def test_unknown_settings_of_a_file_are_warnings():
    with pytest.warns(UserWarning, match="Unknown settings in the configuration: my_own_note"):
        build_transformer_model({**BERT_CONFIG, "my_own_note": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_transformer_model(
            {**BERT_CONFIG, "directionality": "bidi", "is_decoder": False, "pooler_type": "first_token_transform"}
        )


def test_configuration_files_that_are_none(tmp_path):
    (tmp_path / "bert_config.json").write_text("{ not json")
    with pytest.raises(KerasSuError, match="is not a JSON configuration"):
        build_transformer_model(tmp_path / "bert_config.json")
    with pytest.raises(KerasSuError, match="No configuration file.*JSON files there: bert_config.json"):
        build_transformer_model(tmp_path / "config.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(KerasSuError, match="has no config.json or bert_config.json"):
        build_transformer_model(tmp_path / "empty")


# ---- reports


def test_missing_variables_are_listed_folded_with_the_nearest_names():
    config, checkpoint = golden("bert_encoder")
    arrays = {name.replace("/query/", "/qeury/"): value for name, value in bert_arrays(checkpoint).items()}
    arrays.pop("bert/embeddings/LayerNorm/beta")
    with pytest.raises(CheckpointError) as error:
        build_transformer_model(config, arrays)
    text = str(error.value)
    assert "does not fit model 'bert'" in text
    assert (
        "Transformer-{0..1}-MultiHeadSelfAttention/query/kernel  <- bert/encoder/layer_{0..1}/attention/self/query/kernel" in text
    )
    assert "nearest in the file: bert/encoder/layer_1/attention/self/qeury/kernel" in text
    assert "missing   Embedding-Norm/beta  <- bert/embeddings/LayerNorm/beta" in text


def test_nothing_is_assigned_when_something_is_missing():
    config, checkpoint = golden("bert_encoder")
    handle = build_transformer_model(config, return_keras_model=False)
    before = handle.model.get_weights()
    arrays = bert_arrays(checkpoint)
    arrays.pop("bert/embeddings/LayerNorm/beta")
    with pytest.raises(CheckpointError):
        handle.load_weights_from_checkpoint(arrays)
    for one, two in zip(before, handle.model.get_weights()):
        np.testing.assert_array_equal(one, two)


def test_waive_and_ignore_invalid_weights_let_a_model_through_with_a_warning():
    config, checkpoint = golden("bert_encoder")
    arrays = bert_arrays(checkpoint)
    arrays.pop("bert/embeddings/LayerNorm/beta")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_transformer_model(config, arrays, waive=["Embedding-Norm/beta"])
    with pytest.warns(UserWarning, match="missing   Embedding-Norm/beta"):
        build_transformer_model(config, arrays, ignore_invalid_weights=True)


def test_a_wrong_vocabulary_size_suggests_keep_tokens():
    config, checkpoint = golden("bert_mlm")
    with pytest.raises(
        CheckpointError,
        match=r"shape     Embedding-Token/embeddings.*\(77, 32\).*\(100, 32\).*Pass keep_tokens=, or vocab_size=100",
    ):
        build_transformer_model(config, checkpoint, vocab_size=77)


def test_a_missing_head_is_an_error_and_unrequested_heads_are_silent():
    config, checkpoint = golden("bert_encoder")
    arrays = {name: value for name, value in bert_arrays(checkpoint).items() if not name.startswith("cls/")}
    with pytest.raises(CheckpointError, match="missing   MLM-Dense/kernel"):
        build_transformer_model(config, arrays, with_mlm=True)
    config, checkpoint = golden("bert_nsp_mlm")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_transformer_model(config, checkpoint)


def test_tensors_that_nobody_asked_for_are_reported():
    config, checkpoint = golden("bert_encoder")
    arrays = {**bert_arrays(checkpoint), "classifier/layer_0/kernel": np.zeros(1), "classifier/layer_1/kernel": np.zeros(1)}
    arrays |= {"global_step": np.zeros(1), "bert/pooler/dense/kernel/adam_m": np.zeros(1)}
    with pytest.warns(UserWarning, match=r"unused    classifier/layer_\{0..1\}/kernel"):
        handle = build_transformer_model(config, arrays, return_keras_model=False)
    assert handle.report.unused == ["classifier/layer_0/kernel", "classifier/layer_1/kernel"]
    assert "unused" in str(handle.report) and "adam_m" not in str(handle.report)


@pytest.mark.parametrize("transform", ["module.", "model.", "bare", "gamma"])
def test_names_in_the_wild(transform):
    config, checkpoint = golden("hf_bert_pretraining")
    arrays = bert_arrays(checkpoint)
    if transform == "bare":
        arrays = {name.removeprefix("bert."): value for name, value in arrays.items() if name.startswith("bert.")}
    elif transform == "gamma":
        rename = lambda n: n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")  # noqa: E731
        arrays = {rename(name): value for name, value in arrays.items()}
    else:
        arrays = {transform + name: value for name, value in arrays.items()}
    expected = run(build_transformer_model(config, checkpoint), BERT.inputs())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = build_transformer_model(config, arrays)
    np.testing.assert_allclose(run(model, BERT.inputs()), expected, atol=1e-6)


def test_frozen_layers_load_and_stay_frozen():
    config, checkpoint = golden("bert_encoder")
    handle = build_transformer_model(config, return_keras_model=False)
    handle.layers["Transformer-0-FeedForward"].trainable = False
    handle.load_weights_from_checkpoint(checkpoint)
    np.testing.assert_allclose(
        run(handle.model, BERT.inputs()), run(build_transformer_model(config, checkpoint), BERT.inputs()), atol=1e-6
    )
    assert not handle.layers["Transformer-0-FeedForward"].trainable


def test_half_precision_files_are_cast_and_counted():
    config, checkpoint = golden("bert_encoder")
    arrays = {name: value.astype("float16") if value.ndim == 2 else value for name, value in bert_arrays(checkpoint).items()}
    handle = build_transformer_model(config, arrays, return_keras_model=False)
    assert handle.report.casts == {"float16": 15}
    assert handle.variables()["Embedding-Token/embeddings"].dtype == "float32"


# ---- Keras weight files


def test_keras_2_layer_wise_weights_load_by_layer_name(tmp_path):
    handle = build_transformer_model(BERT_CONFIG, return_keras_model=False, with_mlm=True)
    path = tmp_path / "best_model.weights"
    with h5py.File(path, "w") as file:
        layers = [layer for layer in handle.model.layers if layer.weights]
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"2.3.1"
        for layer in layers:
            group = file.create_group(layer.name)
            weights = [w for w in layer.weights if "seed" not in w.path]
            names = [f"{layer.name}/{w.path}:0" for w in weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, weights):
                group.create_dataset(name, data=keras.ops.convert_to_numpy(weight))
    again = build_transformer_model(BERT_CONFIG, path, with_mlm=True)
    np.testing.assert_allclose(run(again, BERT.inputs()), run(handle.model, BERT.inputs()), atol=1e-6)
    with pytest.raises(CheckpointError, match="missing   Pooler-Dense"):
        build_transformer_model(BERT_CONFIG, path, with_mlm=True, with_pool=True)


def test_keras_3_weight_files_load(tmp_path):
    model = build_transformer_model(BERT_CONFIG, with_mlm=True)
    model.save_weights(tmp_path / "model.weights.h5")
    again = build_transformer_model(BERT_CONFIG, tmp_path / "model.weights.h5", with_mlm=True)
    np.testing.assert_allclose(run(again, BERT.inputs()), run(model, BERT.inputs()), atol=1e-6)


# ---- the handle


def test_the_handle():
    handle = build_transformer_model(BERT_CONFIG, return_keras_model=False, with_pool=True, with_mlm=True)
    assert handle.model.inputs == handle.inputs and len(handle.outputs) == 2
    assert handle.num_hidden_layers == 2 and handle.hidden_size == 32
    assert handle.outputs_of("Transformer-1-FeedForward-Norm")[-1].shape == (None, None, 32)
    assert len(handle.outputs_of("Embedding-Token")) == 2  # as embedding and as output matrix
    dense = keras.layers.Dense(2, kernel_initializer=handle.initializer)
    classifier = keras.Model(handle.inputs, dense(handle.outputs[0]))
    assert classifier.output.shape == (None, 2)
    with pytest.raises(KerasSuError, match="checkpoint format of bert: got 'onnx'"):
        handle.tensors("onnx")


def test_what_hugging_face_cannot_express_is_refused(tmp_path):
    handle = build_transformer_model(BERT_CONFIG, return_keras_model=False, embedding_size=16)
    with pytest.raises(KerasSuError, match="cannot express embedding_size"):
        handle.save_pretrained(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
