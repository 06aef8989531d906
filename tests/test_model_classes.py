"""Model classes: what scripts that derive their own from a class of bert4keras rely on."""

import functools
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers import assert_close, to_numpy
from keras import ops

from keras_su import build_transformer_model, layers, models
from keras_su.errors import CheckpointError, KerasSuError

GOLDEN = Path(__file__).parent / "golden"
SIZES = {
    "vocab_size": 30,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "hidden_act": "gelu",
    "max_position": 16,
}
IDS = np.array([[2, 5, 6, 7, 3], [2, 8, 3, 0, 0]], "int32")
SEGMENTS = np.array([[0, 0, 1, 1, 1], [0, 1, 1, 0, 0]], "int32")


def build(model, **settings):
    return build_transformer_model(None, model=model, return_keras_model=False, **{**SIZES, **settings})


def randomize(model):
    dice = np.random.default_rng(3)
    model.set_weights([dice.normal(size=w.shape, scale=0.3) for w in model.get_weights()])


def run(model, *inputs):
    """Outputs of a model in evaluation mode, as a list of arrays."""
    outputs = model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)
    return [to_numpy(y) for y in (outputs if isinstance(outputs, list) else [outputs])]


CLASSES = {
    "albert": models.ALBERT,
    "albert_unshared": models.ALBERT_Unshared,
    "bert": models.BERT,
    "electra": models.ELECTRA,
    "gpt": models.GPT,
    "gpt2": models.GPT2,
    "gpt2_ml": models.GPT2_ML,
    "nezha": models.NEZHA,
    "roformer": models.RoFormer,
    "roformer_v2": models.RoFormerV2,
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_is_its_family(name):
    family, own = build(name), build(CLASSES[name])
    assert isinstance(own, models.Transformer)
    assert [w.path for w in family.model.weights] == [w.path for w in own.model.weights]
    randomize(family.model)
    own.model.set_weights(family.model.get_weights())
    inputs = [IDS, SEGMENTS][: len(own.inputs)]
    assert_close(run(own.model, *inputs)[0], run(family.model, *inputs)[0])
    assert own.num_hidden_layers == 2 and own.hidden_size == 8 and own.attention_head_size == 4


@pytest.mark.parametrize("half", ["", "_encoder", "_decoder"])
def test_t5_classes(half):
    classes = {"": models.T5, "_encoder": models.T5_Encoder, "_decoder": models.T5_Decoder}
    sizes = {name: size for name, size in SIZES.items() if name != "max_position"}
    make = functools.partial(build_transformer_model, sizes, return_keras_model=False)
    family, own = make(model=f"t5.1.1{half}"), make(model=classes[half], version="t5.1.1")
    assert [w.path for w in family.model.weights] == [w.path for w in own.model.weights]
    if not half:
        assert [len(m.inputs) for m in (own.encoder, own.decoder, own.model)] == [1, 2, 2]


@pytest.mark.parametrize("application", ["lm", "unilm"])
def test_applications_extend_a_class(application):
    family, own = build("roformer", application=application), build(models.RoFormer, application=application)
    randomize(family.model)
    own.model.set_weights(family.model.get_weights())
    assert_close(run(own.model, IDS, SEGMENTS)[0], run(family.model, IDS, SEGMENTS)[0])
    assert own.with_mlm is True


def test_settings_changed_before_the_build_count():
    class Small(models.BERT):
        def __init__(self, extra, **settings):
            super().__init__(**settings)
            self.extra = extra
            self.num_hidden_layers = 1
            self.with_pool = "linear"

    own = build(Small, extra="mine")
    assert own.extra == "mine" and own.model.output.shape == (None, 8)
    assert not any("Transformer-1" in name for name in own.layers)
    assert own.model.get_layer("Pooler-Dense").activation is keras.activations.linear


def test_a_class_on_its_own():
    bert = models.BERT(**SIZES, prefix="A-")
    assert bert.model is None and not bert.built
    bert.build(**SIZES)
    bert.build()
    assert [tensor.name for tensor in bert.inputs] == ["A-Input-Token", "A-Input-Segment"]
    assert bert.output is bert.outputs[0] and bert.model.layers[-1].name == "A-Transformer-1-FeedForward-Norm"


class Ladder(models.BERT):
    """A small network beside a frozen one: its inputs are those of the big model, its blocks read the big one's states."""

    def __init__(self, big=None, **settings):
        super().__init__(**settings)
        self.big = big

    def get_inputs(self):
        return self.big.inputs

    def apply_embeddings(self, inputs):
        return keras.layers.Dense(self.hidden_size, use_bias=False)(self.big.get_layer("Big-Embedding-Norm").output)

    def apply_main_layers(self, inputs, index):
        x = super().apply_main_layers(inputs, index)
        y = self.big.get_layer(f"Big-Transformer-{2 * index + 1}-FeedForward-Norm").output
        return keras.layers.Add()([x, keras.layers.Dense(self.hidden_size, use_bias=False)(y)])

    def initializer(self, shape, dtype=None, order=2, gain=1.0):
        return keras.random.truncated_normal(shape, stddev=gain * self.num_hidden_layers ** (-1.0 / order))


def test_ladder_network():
    big = build("bert", num_hidden_layers=4, prefix="Big-").model
    big.trainable = False
    ladder = build(Ladder, big=big, hidden_size=4, intermediate_size=6, num_attention_heads=1)
    kernel = ladder.layers["Transformer-0-FeedForward"].get_weights()[0]
    assert kernel.shape == (4, 6) and kernel.std() > 0.3  # of the method; the family's own would be 0.02
    randomize(ladder.model)
    whole = run(ladder.model, IDS, SEGMENTS)[0]
    assert whole.shape == (2, 5, 4)
    alone = run(ladder.model, IDS[1:, :3], SEGMENTS[1:, :3])[0]  # padding is masked, although no step here says so
    assert_close(whole[1:, :3], alone)
    output = keras.layers.Dense(2)(ladder.model.output[:, 0])
    model = models.Model(ladder.model.inputs, output)
    model.compile("sgd", "mse")
    before = big.get_weights()
    model.train_on_batch([IDS, SEGMENTS], np.ones((2, 2)))
    assert all(np.array_equal(a, b) for a, b in zip(before, big.get_weights()))


class GatedUnits(models.RoFormerV2):
    """GAU-alpha as a class: one gated unit for each block, another initializer, names of its own."""

    def initializer(self, shape, dtype=None, order=3, gain=1.0):
        return super().initializer(shape, dtype, order, gain)

    def apply_main_layers(self, inputs, index):
        name = f"Transformer-{index}-GatedAttentionUnit"
        mask, position = self.compute_attention_bias(index), self.compute_position_bias(inputs)
        x, arguments = [inputs, position], {"a_bias": None, "p_bias": "rotary"}
        if mask is not None:
            arguments["a_bias"] = True
            x.insert(1, mask)
        x = self.apply(
            inputs=x,
            layer=layers.GatedAttentionUnit,
            arguments=arguments,
            units=self.intermediate_size,
            key_size=self.attention_key_size,
            activation=self.hidden_act,
            use_bias=False,
            normalization="softmax_plus",
            attention_dropout=self.attention_dropout_rate,
            kernel_initializer=self.initializer,
            name=name,
        )
        x = self.apply(inputs=x, layer=keras.layers.Dropout, rate=self.dropout_rate, name=name + "-Dropout")
        x = self.apply(inputs=[inputs, x], layer=keras.layers.Add, name=name + "-Add")
        norm = {"zero_mean": False, "scale": False, "offset": False}
        return self.apply(inputs=x, layer=layers.LayerNormalization, name=name + "-Norm", **norm)

    def variable_mapping(self):
        mapping = {
            "Embedding-Token": ["bert/embeddings/word_embeddings"],
            "Embedding-Segment": ["bert/embeddings/token_type_embeddings"],
        }
        for i in range(self.num_hidden_layers):
            unit = f"GAU_alpha/encoder/layer_{i}/gau/"
            weights = ["i_dense/kernel", "o_dense/kernel", "q_scaleoffset/gamma", "k_scaleoffset/gamma"]
            mapping[f"Transformer-{i}-GatedAttentionUnit"] = [unit + weight for weight in weights]
        return mapping


def test_a_published_architecture_with_its_checkpoint():
    folder = GOLDEN / "gau_alpha_encoder"
    case, arrays = json.loads((folder / "case.json").read_text()), np.load(folder / "io.npz")
    own = build_transformer_model(folder / "config.json", folder / "bert_model.ckpt", model=GatedUnits)
    found = run(own, *(arrays[f"in_{name}"] for name in case["inputs"]))
    assert_close(found[0], arrays[f"out_{case['outputs'][0]}"], 1e-4)


class Latent(models.RoFormer):
    """A variational autoencoder in one model: a mask of its own, hidden variables between the blocks, three ways to run."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.with_mlm = self.with_mlm or True
        self.mode, self.means = "whole", []
        self.z_in = self.apply(layer=keras.Input, shape=(3,), name="Latent-In")

    def compute_attention_bias(self, inputs=None):
        if self.attention_bias is None:

            def same_part_or_earlier(s, first):
                mask = ops.cumsum(s, axis=1)[:, None, :] <= ops.cumsum(s, axis=1)[:, :, None]
                return -(1 - ops.cast(mask, "float32")[:, None]) * 1e12 * first

            biases = [
                self.apply(self.inputs[1], layers.Lambda, {"first": 1.0}, function=same_part_or_earlier, name=f"Latent-Mask-{n}")
                for n in (0, 1)
            ]
            self.attention_bias = biases
        return self.attention_bias[inputs]

    def apply_main_layers(self, inputs, index):
        x = inputs
        if index == 1:
            z = self.apply(x, layers.Lambda, function=lambda x: x[:, 0], name="CLS")
            z = self.apply(z, keras.layers.Dense, units=3, kernel_initializer=self.initializer, name="In")
            if self.mode == "encoder":
                self.means.append(z)
            if self.mode == "decoder":
                z = self.z_in
            z = self.apply(z, keras.layers.Dense, units=self.hidden_size, kernel_initializer=self.initializer, name="Out")
            join = lambda xz: ops.concatenate([xz[1][:, None], xz[0][:, 1:]], axis=1)  # noqa: E731
            x = self.apply([x, z], layers.Lambda, function=join, mask=lambda x, mask: mask[0], name="Join")
        return super().apply_main_layers(x, index)

    def build(self, **settings):
        super().build(**settings)
        self.mode = "encoder"
        self.call(self.model.inputs)
        self.encoder = keras.Model(self.model.inputs, self.means[0])
        self.mode = "decoder"
        self.decoder = keras.Model([*self.model.inputs, self.z_in], self.call(self.model.inputs))


def test_latent_variables_between_the_blocks():
    own = build(Latent)
    randomize(own.model)
    ids, segments = IDS[:, [0, 1, 2, 0, 1]], np.array([[0, 0, 0, 1, 1]] * 2, "int32")
    probabilities = run(own.model, ids, segments)[0]
    z = run(own.encoder, ids, segments)[0]
    assert z.shape == (2, 3) and probabilities.shape == (2, 5, 30)
    assert_close(run(own.decoder, ids, segments, z)[0], probabilities)
    assert abs(run(own.decoder, ids, segments, z + 10)[0] - probabilities).max() > 1e-3
    changed = ids.copy()
    changed[:, 4] = 9  # behind everything else: the mask hides it from the earlier places
    assert_close(run(own.model, changed, segments)[0][:, :4], probabilities[:, :4])


def test_apply_and_position_bias_can_be_overridden():
    class Named(models.RoFormer):
        def apply(self, inputs=None, layer=None, arguments=None, **kwargs):
            self.seen.append(kwargs["name"])
            return super().apply(inputs, layer, arguments, **kwargs)

        def compute_position_bias(self, inputs=None):
            self.asked.append(inputs.shape)
            return super().compute_position_bias(inputs)

        seen, asked = [], []

    family, own = build("roformer"), build(Named)
    assert {"Embedding-Token", "Transformer-1-FeedForward", "Embedding-Rotary-Position"} <= set(own.seen)
    assert own.asked == [(None, None, 8)] * 2
    randomize(family.model)
    own.model.set_weights(family.model.get_weights())
    assert_close(run(own.model, IDS, SEGMENTS)[0], run(family.model, IDS, SEGMENTS)[0])


def test_a_call_of_its_own():
    """Blocks twice, the second time on top of the first, and another output."""

    class Twice(models.BERT):
        def call(self, inputs):
            x = self.apply_embeddings(inputs)
            for index in (0, 1, 0, 1):
                x = self.apply_main_layers(x, index)
            return [self.apply_final_layers(x), self.apply(x, keras.layers.Dense, name="Extra", units=2)]

    own = build(Twice)
    assert [tensor.shape for tensor in own.outputs] == [(None, None, 8), (None, None, 2)]
    once, twice = (own.model.get_layer("Transformer-1-FeedForward-Norm").get_output_at(n) for n in (0, 1))
    states = keras.Model(own.model.inputs, [once, twice])
    randomize(own.model)
    first, second = run(states, IDS, SEGMENTS)
    assert_close(run(own.model, IDS, SEGMENTS)[0], second)
    assert abs(first - second).max() > 0.01


def test_names_in_a_checkpoint_and_a_reduced_vocabulary():
    folder = GOLDEN / "bert_mlm"
    whole = build_transformer_model(folder / "config.json", folder / "bert_model.ckpt", with_mlm=True, return_keras_model=False)
    plain = models.BERT(**json.loads((folder / "config.json").read_text()))
    plain.build()
    norm = "bert/encoder/layer_0/output/LayerNorm/"
    assert plain.variable_mapping()["Transformer-0-FeedForward-Norm"] == [norm + "beta", norm + "gamma"]

    class Mapped(models.BERT):
        def variable_mapping(self):
            return super().variable_mapping()

    keep = [0, 5, 2, 9]
    arguments = {"with_mlm": True, "keep_tokens": keep, "return_keras_model": False}
    own = build_transformer_model(folder / "config.json", folder / "bert_model.ckpt", model=Mapped, **arguments)
    assert own.report.table == "variable_mapping" and own.vocab_size == 4
    table = whole.layers["Embedding-Token"].get_weights()[0]
    assert np.array_equal(own.layers["Embedding-Token"].get_weights()[0], table[keep])
    assert np.array_equal(
        own.layers["Transformer-1-FeedForward"].get_weights()[2], whole.layers["Transformer-1-FeedForward"].get_weights()[2]
    )
    with pytest.raises(CheckpointError, match="nothing_here"):
        own.load_weights_from_checkpoint(folder / "bert_model.ckpt", {"Embedding-Norm": ["nothing_here"]})
    with pytest.raises(CheckpointError, match="fits no weight"):
        own.load_weights_from_checkpoint(folder / "bert_model.ckpt", {"Embedding-Norm": ["bert/embeddings/position_embeddings"]})


def test_wrong_use_is_refused():
    with pytest.raises(KerasSuError, match="no family"):
        models.model_class.ModelClass(**SIZES)
    with pytest.raises(KerasSuError, match="generate"):
        models.BERT(**SIZES).build(attention_caches={"a": 1})
    with pytest.raises(KerasSuError, match="edit= is for families"):
        build(models.BERT, edit=lambda spec: spec)
    with pytest.raises(KerasSuError, match="'enocder'.*'encoder'"):
        build(models.BERT, application="enocder")
    with pytest.raises(AttributeError, match="no attribute or setting 'num_layer'"):
        build(models.BERT).num_layer  # noqa: B018


def test_star_import_gives_what_scripts_use():
    names = {}
    exec("from keras_su.models import *", names)
    with pytest.raises(AttributeError, match="Did you mean 'MultiHeadAttention'"):
        layers.MultiHeadAtention  # noqa: B018
    wanted = ["BERT", "Dropout", "Add", "Lambda", "Input", "MultiHeadAttention", "K", "keras", "np", "Model"]
    assert all(name in names for name in wanted)
    assert names["LayerNormalization"] is layers.LayerNormalization and names["Dropout"] is keras.layers.Dropout
