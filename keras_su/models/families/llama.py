"""Llama (arXiv 2302.13971) and the decoders of its shape: Yi, SmolLM2, Mistral, Qwen2, Qwen3, InternLM, ERNIE 4.5, MiniCPM.

They differ in biases, norms of the heads, windows and constants, all of which :func:`decoder` takes as arguments.
"""

from dataclasses import replace

from keras_su.models.families.common import (
    POSITION_BUFFERS,
    read_frame,
    read_language_model,
    read_pad_id,
    read_position_ids,
    read_rotary,
)
from keras_su.models.parts import FeedForward, SelfAttention
from keras_su.models.registry import register_family
from keras_su.models.spec import CAUSAL, Embeddings, Mask, Output, Spec, pre_norm, rms
from keras_su.weights.names import TORCH, NameMap, Source
from keras_su.weights.transforms import Transpose


def decoder(
    config,
    *,
    rotary=None,
    epsilon=1e-6,
    norm=None,
    tied=False,
    activation=None,
    window=None,
    embedding=None,
    head_size=None,
    **attention,
):
    """A causal pre-norm model with rotary positions, grouped heads and a gated feed-forward network.

    Args:
        config: the configuration.
        rotary: positions; default is what the file says, in the ``"half"`` layout.
        epsilon: of the norms, where the file does not say.
        norm: function from an epsilon to a :class:`~keras_su.models.spec.Norm`.
        tied: whether the output is tied to the token table, where the file does not say.
        activation: of the gate, where the family does not read it from ``hidden_act``.
        window: function from a layer index to a window in tokens, or ``None``.
        embedding: factor of the embeddings.
        head_size: width of a head, where the file does not say; default is the hidden size shared out among the heads.
        **attention: further fields of :class:`~keras_su.models.parts.SelfAttention`.
    """
    hidden_size = config.read("hidden_size")
    heads = config.read("num_attention_heads")
    position_ids = read_position_ids(config)
    norm = (norm or rms)(config.read("layer_norm_eps", "rms_norm_eps", default=epsilon))
    position = rotary or read_rotary(config)
    config.read("max_position", "max_position_embeddings", default=2048)
    attention = SelfAttention(
        heads=heads,
        head_size=config.read("attention_head_size", "head_dim", default=head_size or hidden_size // heads),
        kv_heads=config.read("num_key_value_heads", default=heads),
        dropout=config.read("attention_dropout_rate", "attention_dropout", default=0.0),
        position=position,
        **{"bias": False, **attention},
    )
    feed_forward = FeedForward(
        units=config.read("intermediate_size"),
        activation=(activation or config.read("hidden_act", default="silu"), "linear"),
        bias=config.read("mlp_bias", default=False),
    )
    dropout = config.read_option("dropout_rate", default=0.0)

    def block(index):
        reach = window(index) if window else None
        mask = None if reach is None else Mask(rules=("causal",), window=reach)
        return pre_norm(norm, replace(attention, mask=mask), feed_forward, dropout=dropout)

    return Spec(
        **read_frame(config),
        hidden_size=hidden_size,
        num_layers=config.read("num_hidden_layers"),
        embeddings=Embeddings(
            size=hidden_size, position_ids=position_ids, pad_id=read_pad_id(config, position_ids), scale=embedding
        ),
        block=block if window else block(0),
        mask=CAUSAL,
        heads=read_language_model(config, tied=config.read("tie_word_embeddings", default=tied)),
        output=Output(norm=norm),
    )


def llama(config):
    """Llama, Yi, SmolLM2, DeepSeek-LLM, TinyLlama, MiniMind."""
    return decoder(config, bias=config.read("attention_bias", default=False))


def mistral(config):
    """Mistral: Llama that looks through a window, where the file names one."""
    reach = config.read("sliding_window", default=None)
    return decoder(config, window=None if reach is None else lambda index: reach)


def read_window(config):
    """The windows of Qwen: ``layer_types`` decides, before that ``use_sliding_window`` and ``max_window_layers``."""
    reach = config.read("sliding_window", default=None)
    types = config.read("layer_types", default=None)
    used = config.read("use_sliding_window", default=False)
    first = config.read("max_window_layers", default=28)
    if reach is None or not used:
        return None
    if types:
        return lambda index: reach if types[index] == "sliding_attention" else None
    return lambda index: reach if index >= first else None


def qwen2(config):
    """Qwen1.5, Qwen2, Qwen2.5: biases of query, key and value alone."""
    return decoder(config, window=read_window(config), bias=True, output_bias=False)


def qwen3(config):
    """Qwen3: norms of the query and key heads, no biases."""
    norm = rms(config.read("rms_norm_eps", default=1e-6))
    return decoder(
        config, window=read_window(config), bias=config.read("attention_bias", default=False), head_size=128, qk_norm=norm
    )


def internlm(config):
    """InternLM 1: biases everywhere in attention."""
    return decoder(config, bias=config.read("bias", default=True))


def ernie4_5(config):
    """ERNIE 4.5, dense: Llama with interleaved rotary positions."""
    bias = config.read("use_bias", default=False)
    rotary = read_rotary(config, layout="interleaved", base=500000.0)
    return decoder(config, rotary=rotary, epsilon=1e-5, tied=True, bias=bias)


def minicpm(config):
    """MiniCPM: constant factors for embeddings, branches and logits (arXiv 2404.06395)."""
    depth = config.read("num_hidden_layers")
    branch = config.read("scale_depth", default=1.0) / depth**0.5
    bias = config.read("attention_bias", default=False)
    spec = decoder(config, epsilon=1e-5, tied=True, bias=bias, embedding=config.read("scale_emb", default=1.0))
    base = config.read("dim_model_base", default=spec.hidden_size)
    residuals = tuple(replace(residual, scale=branch) for residual in spec.block.residuals)
    heads = tuple(replace(head, scale=base / spec.hidden_size) for head in spec.heads)
    return replace(spec, block=replace(spec.block, residuals=residuals), heads=heads)


ATTENTION, FEED_FORWARD = "Transformer-{i}-MultiHeadSelfAttention", "Transformer-{i}-FeedForward"
QKV = [f"{ATTENTION}/{part}" for part in ("query", "key", "value")]
LAYER = "model.layers.{i}"


def head(name="lm_head.weight"):
    """Row of an untied output matrix."""
    return {"Output-LM/kernel": Source(name, (Transpose(),), vocabulary="rows")}


LLAMA_ROWS = {
    **TORCH.table("Embedding-Token", "model.embed_tokens", vocabulary="rows"),
    **TORCH.scale(f"{ATTENTION}-Norm", f"{LAYER}.input_layernorm"),
    **TORCH.dense(f"{ATTENTION}/query", f"{LAYER}.self_attn.q_proj"),
    **TORCH.dense(f"{ATTENTION}/key", f"{LAYER}.self_attn.k_proj"),
    **TORCH.dense(f"{ATTENTION}/value", f"{LAYER}.self_attn.v_proj"),
    **TORCH.dense(f"{ATTENTION}/output", f"{LAYER}.self_attn.o_proj"),
    **TORCH.scale(f"{FEED_FORWARD}-Norm", f"{LAYER}.post_attention_layernorm"),
    **TORCH.dense(f"{FEED_FORWARD}/input_0", f"{LAYER}.mlp.gate_proj"),
    **TORCH.dense(f"{FEED_FORWARD}/input_1", f"{LAYER}.mlp.up_proj"),
    **TORCH.dense(f"{FEED_FORWARD}/output", f"{LAYER}.mlp.down_proj"),
    **TORCH.scale("Output-Norm", "model.norm"),
    **head(),
}

HEAD_NORMS = {
    **TORCH.scale(f"{ATTENTION}/query_norm", f"{LAYER}.self_attn.q_norm"),
    **TORCH.scale(f"{ATTENTION}/key_norm", f"{LAYER}.self_attn.k_norm"),
}


def llama_map(rows=LLAMA_ROWS, root="model."):
    """A table in the dialect of Llama."""
    return NameMap("torch", rows, root=root, ignore=POSITION_BUFFERS)


def register_decoder(name, spec, rows=LLAMA_ROWS, model_types=(), classes=("", ""), root="model.", **fields):
    """Register a decoder-only family."""
    register_family(
        name,
        spec=spec,
        maps=(llama_map(rows, root),),
        applications=("encoder", "lm"),
        reason="it is causal by nature",
        model_types=model_types or (name,),
        classes=classes,
        **fields,
    )


UNBIASED = {path: source for path, source in LLAMA_ROWS.items() if not path.endswith("/bias")}
"""Tables list only what a family has, so that families can be told apart by their files."""

_QKV_BIASED = UNBIASED | {path: source for path, source in LLAMA_ROWS.items() if path.startswith(tuple(QKV))}
_ATTENTION_BIASED = UNBIASED | {path: source for path, source in LLAMA_ROWS.items() if path.startswith(ATTENTION)}

register_decoder(
    "llama", llama, model_types=("llama", "Yi"), classes=("LlamaModel", "LlamaForCausalLM"), aliases=("yi", "smollm2")
)
register_decoder("mistral", mistral, UNBIASED, classes=("MistralModel", "MistralForCausalLM"))
register_decoder("qwen2", qwen2, _QKV_BIASED, classes=("Qwen2Model", "Qwen2ForCausalLM"), aliases=("qwen1.5", "qwen2.5"))
register_decoder("qwen3", qwen3, {**LLAMA_ROWS, **HEAD_NORMS}, classes=("Qwen3Model", "Qwen3ForCausalLM"))
register_decoder("internlm", internlm, _ATTENTION_BIASED, classes=("InternLMModel", "InternLMForCausalLM"))
register_decoder("ernie4_5", ernie4_5, classes=("Ernie4_5Model", "Ernie4_5ForCausalLM"), aliases=("ernie4.5",))
register_decoder("minicpm", minicpm, UNBIASED, classes=("MiniCPMModel", "MiniCPMForCausalLM"))
