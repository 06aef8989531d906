"""The table of model families. Everything in ``test_family_*.py`` iterates over it: a family registers for its tests with one
row.

A row says how to build the family tiny, which golden cases hold its checkpoints, and what may be asked of it.
"""

from dataclasses import dataclass
from functools import lru_cache

import keras
import numpy as np

from keras_su.models import build_transformer_model
from keras_su.models.registry import find_family

HIDDEN = 32


@dataclass(frozen=True, eq=False)
class FamilyCase:
    """One family under test.

    Attributes:
        name: its name for ``model=``.
        config: a tiny configuration, with dropout, so that tests see that inference switches it off.
        kind: ``"encoder"``, ``"decoder"``, ``"seq2seq"``, or ``"half"``: a decoder whose first input are states to attend to.
        applications: those to be tested.
        heads: keyword arguments that switch on each combination of heads.
        logits: keyword arguments that switch on the head of logits, if there is one.
        checkpoints: names of golden cases whose files must be reproduced bit for bit by load -> dump.
        segments: whether the model has a segment input.
        pad: token id of padding, ``None`` where there is none.
        windows: how far each layer looks, where this is not everywhere.
    """

    name: str
    config: dict
    kind: str = "encoder"
    applications: tuple = ("encoder",)
    heads: tuple = ({},)
    logits: dict | None = None
    checkpoints: tuple = ()
    segments: bool = False
    pad: int | None = 0
    windows: tuple = ()

    family = property(lambda self: find_family(self.name))
    causal = property(lambda self: self.kind != "encoder")

    def writes(self, kind):
        """Whether the family has files of a kind: ``"tf"``, or ``"hf"`` for a folder of transformers."""
        if self.family.part_of:
            return False
        if kind == "hf":
            return bool(self.family.model_types)
        return any(name_map.format == "tf" for name_map in self.family.maps)

    def inputs(self, batch=3, length=9, seed=0):
        """What the model is called with, without padding. Segments are 0 in the first half, 1 in the second."""
        rng = np.random.default_rng(seed)
        draw = lambda length: rng.integers(5, self.config["vocab_size"], (batch, length)).astype("int32")  # noqa: E731
        if self.kind == "seq2seq":
            return [draw(length), draw(length)]
        if self.kind == "half":
            return [rng.normal(size=(batch, length, HIDDEN)).astype("float32"), draw(length)]
        tokens = draw(length)
        if not self.segments:
            return [tokens]
        segments = np.zeros_like(tokens)
        segments[:, length // 2 :] = 1
        return [tokens, segments]

    def padded(self, arrays, before=0, after=0):
        """``arrays`` with padding around the text that the outputs belong to; segments of padding are 0."""
        text = int(self.kind in ("seq2seq", "half"))
        around = ((0, 0), (before, after))
        return [*arrays[:text], self.pad_text(arrays[text], before, after), *(np.pad(a, around) for a in arrays[text + 1 :])]

    def pad_text(self, tokens, before=0, after=0):
        """Token ids with padding around them."""
        return np.pad(tokens, ((0, 0), (before, after)), constant_values=self.pad or 0)

    def build(self, application="encoder", **options):
        """The model with logits, where it has a head for them, and with random numbers in all weights."""
        return randomize(
            build_transformer_model(self.config, model=self.name, application=application, **(self.logits or {}), **options)
        )


@lru_cache(None)
def built(row, application="encoder", **options):
    """``row.build()``, once for each combination."""
    return row.build(application, **options)


def randomize(model, seed=11, scale=0.1):
    """The model, with noise on all of its weights: zeros and ones would hide mistakes. The same for all backends."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if "seed" not in variable.path:
            around = 1.0 if variable.path.endswith("gamma") else 0.0
            deviation = scale if variable.path.endswith(("gamma", "beta", "bias")) else 2 * scale
            variable.assign((around + deviation * rng.normal(size=variable.shape)).astype("float32"))
    return model


def run(model, arrays):
    """The outputs as numpy arrays: one, or a list."""
    outputs = model([keras.ops.convert_to_tensor(a) for a in arrays], training=False)
    convert = lambda x: keras.ops.convert_to_numpy(keras.ops.cast(x, "float32"))  # noqa: E731
    return [convert(x) for x in outputs] if isinstance(outputs, list) else convert(outputs)


BERT_CONFIG = {
    "vocab_size": 60,
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 24,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.3,
}
ALL = ("encoder", "lm", "unilm")
MLM, LM, DECODED = {"with_mlm": "linear"}, {"with_lm": "linear"}, {"final_activation": "linear"}


def encoder(
    name, model_type, *checkpoints, heads=({"with_nsp": True, "with_mlm": "linear"},), applications=("encoder", "unilm"), **fields
):
    """A relative of BERT; ``config`` in ``fields`` changes its configuration."""
    changes = fields.pop("config", {})
    config = {**BERT_CONFIG, **({"model_type": model_type} if model_type else {}), **changes}
    fields = {"logits": MLM, "segments": True, **fields}
    return FamilyCase(name, config, "encoder", applications, heads, checkpoints=checkpoints, **fields)


LLAMA = {
    "vocab_size": 60,
    "hidden_size": HIDDEN,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "initializer_range": 0.3,
    "dropout_rate": 0.1,
    "attention_dropout": 0.1,
}


def decoder(name, *checkpoints, **fields):
    """A relative of Llama; ``config`` in ``fields`` changes its configuration."""
    config = {**LLAMA, "model_type": find_family(name).model_types[0], **fields.pop("config", {})}
    fields = {"kind": "decoder", "applications": ("lm",), "logits": DECODED, "pad": None, **fields}
    return FamilyCase(name, config, checkpoints=checkpoints, **fields)


GPT = {
    "vocab_size": 60,
    "n_embd": HIDDEN,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 24,
    "resid_pdrop": 0.1,
    "attn_pdrop": 0.1,
    "embd_pdrop": 0.1,
    "initializer_range": 0.3,
}


def gpt(name, model_type, *checkpoints, **fields):
    """A relative of GPT."""
    config = {**GPT, "model_type": model_type} if model_type else {**BERT_CONFIG, "type_vocab_size": 0}
    fields = {"kind": "decoder", "applications": ("lm",), "logits": DECODED, **fields}
    return FamilyCase(name, config, checkpoints=checkpoints, **fields)


def seq2seq(name, config, whole=(), **halves):
    """An encoder-decoder and its two halves; ``encoder`` and ``decoder`` are golden cases of the halves."""
    side = {part: tuple(halves.get(part, ())) for part in ("encoder", "decoder")}
    return [
        FamilyCase(name, config, "seq2seq", heads=({"with_lm": True},), logits=LM, checkpoints=whole),
        FamilyCase(f"{name}_encoder", config, "encoder", checkpoints=side["encoder"]),
        FamilyCase(f"{name}_decoder", config, "half", logits=LM, checkpoints=side["decoder"]),
    ]


T5 = {
    "vocab_size": 60,
    "d_model": HIDDEN,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_decoder_layers": 1,
    "num_heads": 4,
    "dropout_rate": 0.1,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
}
GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
BART = {
    "vocab_size": 60,
    "d_model": HIDDEN,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 24,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "pad_token_id": 0,
    "model_type": "bart",
}
DEBERTA = {
    "relative_attention": True,
    "position_biased_input": False,
    "pos_att_type": ["c2p", "p2c"],
    "position_buckets": 4,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "type_vocab_size": 0,
    "conv_kernel_size": 3,
    "conv_act": "gelu",
}
MODERN = {
    **{
        name: LLAMA[name]
        for name in ("vocab_size", "hidden_size", "num_attention_heads", "intermediate_size", "initializer_range")
    },
    "model_type": "modernbert",
    "num_hidden_layers": 2,
    "local_attention": 4,
    "pad_token_id": 0,
    "mlp_dropout": 0.1,
    "embedding_dropout": 0.1,
    "attention_dropout": 0.1,
}
CHATGLM = {
    "model_type": "chatglm",
    "padded_vocab_size": 60,
    "vocab_size": 60,
    "hidden_size": HIDDEN,
    "num_layers": 1,
    "num_attention_heads": 4,
    "multi_query_group_num": 2,
    "ffn_hidden_size": 48,
    "kv_channels": 8,
    "dropout_rate": 0.1,
    "attention_dropout": 0.1,
}
SANDWICH = {"num_hidden_layers": 2, "head_dim": 8, "query_pre_attn_scalar": 20, "sliding_window": 3}
ONE = {"num_hidden_layers": 1}


def _t5_names(version):
    return tuple(f"{version}_{part}" for part in ("full", "full_hidden", "full_nocross"))


FAMILIES = [
    FamilyCase(
        "bert",
        BERT_CONFIG,
        applications=ALL,
        heads=(
            {},
            {"with_pool": True},
            {"with_nsp": True, "with_mlm": "linear"},
            {"with_mlm": True, "hierarchical_position": True, "residual_attention_scores": True},
            {"with_mlm": "linear", "embedding_size": 16, "attention_key_size": 6},
        ),
        logits=MLM,
        checkpoints=(
            "bert_nsp_mlm",
            "bert_pool_mlm",
            "simbert",
            "hf_bert_pretraining",
            "hf_bert_legacy_bin",
            "hf_roberta_wwm_bin",
        ),
        segments=True,
    ),
    encoder(
        "xlm_roberta",
        "xlm-roberta",
        heads=({"with_pool": True, "with_mlm": "linear"},),
        config={"type_vocab_size": 1, "pad_token_id": 1},
        segments=False,
        pad=1,
        applications=("encoder", "lm"),
    ),
    encoder("albert", "albert", "albert_mlm", "hf_albert_mlm", "hf_albert_pretraining", config={"embedding_size": 16}),
    encoder("albert_unshared", None, "albert_unshared", config={"embedding_size": 16}, applications=("encoder",)),
    encoder(
        "nezha", "nezha", "nezha_nsp", "nezha_long", "hf_nezha_mlm", "hf_nezha_pretraining", config={"max_relative_position": 3}
    ),
    encoder("roformer", "roformer", "roformer_mlm", "roformer_sim", "hf_roformer_mlm", config={"embedding_size": 16}),
    encoder(
        "roformer_v2",
        "roformer",
        "roformer_v2_encoder",
        "roformer_v2_mlm",
        heads=(MLM,),
        config={"norm_type": "rms_norm", "embedding_size": 32},
    ),
    encoder(
        "gau_alpha",
        "gau_alpha",
        "gau_alpha_encoder",
        "gau_alpha_mlm",
        "gau_alpha_unilm",
        heads=(MLM,),
        config={**ONE, "hidden_act": "swish"},
    ),
    encoder(
        "electra",
        "electra",
        "electra_encoder",
        "electra_discriminator",
        "hf_electra_discriminator",
        heads=({"with_discriminator": True},),
        logits={"with_discriminator": "linear"},
        applications=("encoder",),
        config={**ONE, "embedding_size": 16},
    ),
    encoder(
        "electra_generator",
        "electra",
        "hf_electra_generator",
        heads=(MLM,),
        config={**ONE, "embedding_size": 16, "architectures": ["ElectraForMaskedLM"]},
    ),
    encoder("ernie", "ernie", "hf_ernie_mlm", "hf_ernie_task_ids", config={**ONE, "use_task_id": True}),
    encoder("megatron_bert", "megatron-bert", "hf_megatron_bert_mlm", "hf_megatron_bert_pretraining", config=ONE),
    encoder(
        "deberta_v2",
        "deberta-v2",
        "hf_deberta_v2_mlm",
        "hf_deberta_v2_conv_mlm",
        heads=(MLM,),
        applications=("encoder",),
        config=DEBERTA,
        segments=False,
    ),
    FamilyCase(
        "modernbert",
        MODERN,
        applications=("encoder", "lm"),
        heads=(MLM,),
        logits=MLM,
        checkpoints=("hf_modernbert_mlm",),
        windows=(None, 3),
    ),
    gpt("gpt", "openai-gpt", "gpt", "gpt_no_segment", "gpt_shared_segment", "hf_openai_gpt", "hf_openai_gpt_segments", pad=None),
    gpt("gpt2", "gpt2", "gpt2", "gpt2_linear", "hf_gpt2_lm", "hf_gpt2_bin", pad=None),
    gpt("gpt2_ml", None, "gpt2_ml"),
    decoder("llama", "hf_llama_gqa", config={"num_hidden_layers": 2, "pad_token_id": 0}, pad=0),
    decoder("mistral", config={"num_hidden_layers": 2, "sliding_window": 3}, windows=(3, 3)),
    decoder("qwen2", "hf_qwen2", config={"tie_word_embeddings": True}),
    decoder("qwen3", "hf_qwen3", config={"head_dim": 8}),
    decoder("internlm"),
    decoder("ernie4_5", config={"head_dim": 8}),
    decoder("minicpm", config={"scale_depth": 1.4, "scale_emb": 3, "dim_model_base": 16}),
    decoder("glm", config={"head_dim": 8, "attention_bias": True}),
    decoder("glm4", config={"head_dim": 8}),
    FamilyCase("chatglm", CHATGLM, "decoder", ("lm",), logits=DECODED, pad=None),
    decoder("internlm2", config={"bias": False}),
    decoder("baichuan", config={"num_key_value_heads": 4}),
    decoder("baichuan2", config={"num_key_value_heads": 4}),
    decoder("gemma", "hf_gemma", config={"head_dim": 8}),
    decoder("gemma2", config=SANDWICH, windows=(3, None)),
    decoder("gemma3", config={**SANDWICH, "sliding_window_pattern": 2}, windows=(3, None)),
    *seq2seq(
        "t5.1.0",
        {**T5, "model_type": "t5"},
        (*_t5_names("t5_1_0"), "hf_t5_v1_0"),
        encoder=["t5_1_0_encoder"],
        decoder=["t5_1_0_decoder"],
    ),
    *seq2seq(
        "t5.1.1",
        {**T5, **GATED, "model_type": "t5"},
        (*_t5_names("t5_1_1"), "hf_t5_v1_1"),
        encoder=["t5_1_1_encoder"],
        decoder=["t5_1_1_decoder"],
    ),
    *seq2seq(
        "mt5.1.1",
        {**T5, **GATED, "model_type": "mt5"},
        (*_t5_names("mt5_1_1"), "hf_mt5"),
        encoder=["mt5_1_1_encoder"],
        decoder=["mt5_1_1_decoder"],
    ),
    *seq2seq("umt5", {**T5, **GATED, "model_type": "umt5"}),
    *seq2seq("bart", BART, ("hf_bart",)),
    *seq2seq("cpt", {**BART, "architectures": ["CPTForConditionalGeneration"]}),
]
"""T5 checkpoints hold encoder and decoder; the golden cases of a half are read by the whole family."""


def family(name):
    """The row of one family."""
    return next(row for row in FAMILIES if row.name == name)
