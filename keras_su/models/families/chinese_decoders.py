"""Decoders of Chinese laboratories that join matrices in their files: GLM, ChatGLM2 and 3, InternLM2, Baichuan."""

from dataclasses import replace

from keras_su.errors import KerasSuError
from keras_su.models.families.common import read_rotary
from keras_su.models.families.llama import (
    ATTENTION,
    FEED_FORWARD,
    LAYER,
    LLAMA_ROWS,
    QKV,
    UNBIASED,
    decoder,
    head,
    register_decoder,
)
from keras_su.models.positions import Rotary
from keras_su.models.spec import Block
from keras_su.weights.names import TORCH, Source
from keras_su.weights.transforms import Transpose, UnitRows


def glm(config):
    """GLM-4 and GLM-edge in transformers' layout: half of each head rotates, in interleaved pairs."""
    rotary = read_rotary(config, layout="interleaved", fraction=0.5)
    bias = config.read("attention_bias", default=False)
    return decoder(config, rotary=rotary, head_size=128, epsilon=1.5625e-7, bias=bias, output_bias=False)


def glm4(config):
    """GLM-4-0414: GLM with norms after the parts, too."""
    spec = glm(config)
    residuals = tuple(replace(residual, out=residual.pre) for residual in spec.block.residuals)
    return replace(spec, block=Block(residuals=residuals))


CHATGLM_KEYS = {
    "num_hidden_layers": "num_layers",
    "vocab_size": "padded_vocab_size",
    "intermediate_size": "ffn_hidden_size",
    "head_dim": "kv_channels",
    "num_key_value_heads": "multi_query_group_num",
    "rms_norm_eps": "layernorm_epsilon",
    "max_position_embeddings": "seq_length",
}
"""Our words for the settings of ChatGLM."""

CHATGLM_FIXED = {
    "add_bias_linear": False,
    "apply_residual_connection_post_layernorm": False,
    "multi_query_attention": True,
    "post_layer_norm": True,
    "rmsnorm": True,
    "original_rope": True,
    "interleaved_qkv": False,
}
"""What all ChatGLM2, ChatGLM3 and GLM-4-9B have in common."""


def chatglm(config):
    """ChatGLM2, ChatGLM3 and glm-4-9b in their authors' layout. Their code is not in transformers."""
    for name, value in CHATGLM_FIXED.items():
        if config.read_option(name, default=value) != value:
            raise KerasSuError(f"ChatGLM with {name}={not value} is not supported; the public models have {value}.")
    config.renamed = CHATGLM_KEYS
    config.read_option("hidden_dropout", default=0.0)
    rotary = Rotary(base=10000.0 * config.read("rope_ratio", default=1.0), fraction=0.5, layout="interleaved")
    bias = config.read("add_qkv_bias", default=True)
    return decoder(config, rotary=rotary, epsilon=1e-5, bias=bias, output_bias=False)


def internlm2(config):
    """InternLM2 and 2.5: Llama with query, key and value joined group by group."""
    bias = config.read("bias", default=False)
    return decoder(config, bias=bias)


def baichuan(config):
    """Baichuan-7B and Baichuan2-7B. The models with 13B parameters have other positions (ALiBi) and are refused."""
    if config.read("model_max_length", default=None) and config.read_option("max_position_embeddings", default=None) is None:
        raise KerasSuError("This is a Baichuan of 13B parameters, whose ALiBi positions are not supported; those of 7B are.")
    return decoder(config)


_BODY = {path: s for path, s in LLAMA_ROWS.items() if not path.startswith((f"{ATTENTION}/", f"{FEED_FORWARD}/"))}
_OUTPUT = TORCH.dense(f"{ATTENTION}/output", f"{LAYER}.self_attn.o_proj", bias=False)
_GATES = [f"{FEED_FORWARD}/input_{k}" for k in (0, 1)]
_GLM = {
    **_BODY,
    **{path: s for path, s in LLAMA_ROWS.items() if path.startswith(tuple(QKV))},
    **_OUTPUT,
    **TORCH.fused(_GATES, f"{LAYER}.mlp.gate_up_proj", bias=False),
    **TORCH.dense(f"{FEED_FORWARD}/output", f"{LAYER}.mlp.down_proj", bias=False),
}
_GLM4 = {
    **{path: source for path, source in _GLM.items() if "-Norm" not in path},
    **TORCH.scale(f"{ATTENTION}-Norm-0", f"{LAYER}.input_layernorm"),
    **TORCH.scale(f"{ATTENTION}-Norm-1", f"{LAYER}.post_self_attn_layernorm"),
    **TORCH.scale(f"{FEED_FORWARD}-Norm-0", f"{LAYER}.post_attention_layernorm"),
    **TORCH.scale(f"{FEED_FORWARD}-Norm-1", f"{LAYER}.post_mlp_layernorm"),
    **TORCH.scale("Output-Norm", "model.norm"),
}
_CHATGLM_LAYER = "transformer.encoder.layers.{i}"
_CHATGLM = {
    **TORCH.table("Embedding-Token", "transformer.embedding.word_embeddings", vocabulary="rows"),
    **TORCH.scale(f"{ATTENTION}-Norm", f"{_CHATGLM_LAYER}.input_layernorm"),
    **TORCH.fused(QKV, f"{_CHATGLM_LAYER}.self_attention.query_key_value"),
    **TORCH.dense(f"{ATTENTION}/output", f"{_CHATGLM_LAYER}.self_attention.dense", bias=False),
    **TORCH.scale(f"{FEED_FORWARD}-Norm", f"{_CHATGLM_LAYER}.post_attention_layernorm"),
    **TORCH.fused(_GATES, f"{_CHATGLM_LAYER}.mlp.dense_h_to_4h", bias=False),
    **TORCH.dense(f"{FEED_FORWARD}/output", f"{_CHATGLM_LAYER}.mlp.dense_4h_to_h", bias=False),
    **TORCH.scale("Output-Norm", "transformer.encoder.final_layernorm"),
    **head("transformer.output_layer.weight"),
}
_INTERNLM2 = {
    **TORCH.table("Embedding-Token", "model.tok_embeddings", vocabulary="rows"),
    **TORCH.scale(f"{ATTENTION}-Norm", f"{LAYER}.attention_norm"),
    **TORCH.fused(QKV, f"{LAYER}.attention.wqkv", groups="kv_heads"),
    **TORCH.dense(f"{ATTENTION}/output", f"{LAYER}.attention.wo"),
    **TORCH.scale(f"{FEED_FORWARD}-Norm", f"{LAYER}.ffn_norm"),
    **TORCH.dense(f"{FEED_FORWARD}/input_0", f"{LAYER}.feed_forward.w1", bias=False),
    **TORCH.dense(f"{FEED_FORWARD}/input_1", f"{LAYER}.feed_forward.w3", bias=False),
    **TORCH.dense(f"{FEED_FORWARD}/output", f"{LAYER}.feed_forward.w2", bias=False),
    **TORCH.scale("Output-Norm", "model.norm"),
    **head("output.weight"),
}
_BAICHUAN = {
    **_BODY,
    **TORCH.fused(QKV, f"{LAYER}.self_attn.W_pack", bias=False),
    **_OUTPUT,
    **{path: s for path, s in UNBIASED.items() if path.startswith(FEED_FORWARD)},
}
_BAICHUAN2 = {**_BAICHUAN, "Output-LM/kernel": Source("lm_head.weight", (UnitRows(), Transpose()), vocabulary="rows")}

register_decoder("glm", glm, _GLM, classes=("GlmModel", "GlmForCausalLM"))
register_decoder("glm4", glm4, _GLM4, classes=("Glm4Model", "Glm4ForCausalLM"))
register_decoder("chatglm", chatglm, _CHATGLM, root="transformer.", aliases=("chatglm2", "chatglm3"))
register_decoder("internlm2", internlm2, _INTERNLM2)
register_decoder("baichuan", baichuan, _BAICHUAN)
register_decoder(
    "baichuan2",
    baichuan,
    _BAICHUAN2,
    model_types=("baichuan",),
    claims=lambda values: values.get("vocab_size") == 125696,  # the files do not say which version they are
)
