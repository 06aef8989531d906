"""Gemma 1, 2 and 3 (Google): norms with ``1 + weight``, scaled embeddings; from 2 on sandwich norms and alternating windows."""

from dataclasses import replace

from keras_su.models.families.common import read_rotary
from keras_su.models.families.llama import ATTENTION, FEED_FORWARD, HEAD_NORMS, LAYER, UNBIASED, decoder, register_decoder
from keras_su.models.spec import Block, Mask, rms
from keras_su.weights.names import TORCH


def gemma(config, **attention):
    """Gemma 1. Whatever ``hidden_act`` says, the gate is the tanh form of gelu unless ``hidden_activation`` differs."""
    config.read_option("hidden_act", default=None)
    activation = config.read("hidden_activation", default="gelu_pytorch_tanh")
    scale = config.read("hidden_size") ** 0.5
    norm = lambda epsilon: rms(epsilon, unit_offset=True)  # noqa: E731
    bias = config.read("attention_bias", default=False)
    options = {"norm": norm, "tied": True, "activation": activation, "embedding": scale, "head_size": 256}
    return decoder(config, **options, bias=bias, **attention)


def gemma2(config):
    """Gemma 2: capped scores and logits, a window in every other layer."""
    spec = gemma(
        config,
        scale=config.read("query_pre_attn_scalar", default=256) ** -0.5,
        soft_cap=config.read("attn_logit_softcapping", default=50.0),
    )
    return _sandwich(config, spec, default=lambda index: index % 2 == 0)


def gemma3(config):
    """Gemma 3, text: norms of the heads, five layers with a window and a short rotary base for each one without."""
    norm = rms(config.read("rms_norm_eps", default=1e-6), unit_offset=True)
    scale = config.read("query_pre_attn_scalar", default=256) ** -0.5
    bases = {"rotary": read_rotary(config, base=1e6, kind="full_attention"), "qk_norm": norm}
    spec = gemma(config, scale=scale, soft_cap=config.read("attn_logit_softcapping", default=None), **bases)
    every = config.read("sliding_window_pattern", "_sliding_window_pattern", default=6)
    parameters = (config.read("rope_parameters", default=None) or {}).get("sliding_attention", {})
    base = parameters.get("rope_theta") or config.read("rope_local_base_freq", default=10000.0)
    return _sandwich(config, spec, default=lambda index: (index + 1) % every != 0, local_base=float(base))


def _sandwich(config, spec, default, local_base=None):
    """Norms before and after both parts, windows where ``layer_types`` or ``default`` says so, and capped logits."""
    reach = config.read("sliding_window", default=4096)
    types = config.read("layer_types", default=None)
    cap = config.read("final_logit_softcapping", default=None if local_base else 30.0)

    def block(index):
        local = types[index] == "sliding_attention" if types else default(index)
        attention, feed_forward = (replace(residual, out=residual.pre) for residual in spec.block.residuals)
        if local:
            changes = {"mask": Mask(rules=("causal",), window=reach)}
            if local_base is not None:
                changes["position"] = replace(attention.part.position, base=local_base, scaling=None)
            attention = replace(attention, part=replace(attention.part, **changes))
        return Block(residuals=(attention, feed_forward))

    return replace(spec, block=block, heads=tuple(replace(head, soft_cap=cap) for head in spec.heads))


_PLAIN = {path: source for path, source in UNBIASED.items() if "-Norm" not in path}
_SANDWICH = {
    **_PLAIN,
    **TORCH.scale(f"{ATTENTION}-Norm-0", f"{LAYER}.input_layernorm"),
    **TORCH.scale(f"{ATTENTION}-Norm-1", f"{LAYER}.post_attention_layernorm"),
    **TORCH.scale(f"{FEED_FORWARD}-Norm-0", f"{LAYER}.pre_feedforward_layernorm"),
    **TORCH.scale(f"{FEED_FORWARD}-Norm-1", f"{LAYER}.post_feedforward_layernorm"),
    **TORCH.scale("Output-Norm", "model.norm"),
}

register_decoder("gemma", gemma, classes=("GemmaModel", "GemmaForCausalLM"))
register_decoder("gemma2", gemma2, _SANDWICH, classes=("Gemma2Model", "Gemma2ForCausalLM"))
register_decoder(
    "gemma3",
    gemma3,
    {**_SANDWICH, **HEAD_NORMS},
    model_types=("gemma3_text",),
    classes=("Gemma3TextModel", "Gemma3ForCausalLM"),
)
