"""DeBERTa-v2 and v3 (He et al., arXiv 2006.03654): content and distance apart; Erlangshen-DeBERTa-v2."""

from dataclasses import replace

from keras_su.errors import bad_value
from keras_su.models.families.bert import encoder, torch_map
from keras_su.models.parts import Disentangled, EmbeddingConvolution
from keras_su.models.registry import register_family
from keras_su.models.spec import Block, Residual
from keras_su.weights.names import TORCH, NameMap, Source
from keras_su.weights.transforms import Axes


def deberta_v2(config):
    """The architecture of a configuration of transformers."""
    if not config.read("relative_attention", default=False):
        raise bad_value("relative_attention", False, "True; without it the model is a BERT")
    if config.read("position_biased_input", default=True):
        raise bad_value("position_biased_input", True, "False, as in all DeBERTa-v2 models")
    if not config.read("legacy", default=True):
        raise bad_value("legacy", False, "True, the head with a dense layer of its own")
    terms = config.read("pos_att_type", default=())
    terms = tuple(terms.split("|")) if isinstance(terms, str) else tuple(terms)
    buckets = config.read("position_buckets", default=-1)
    reach = config.read("max_relative_positions", default=-1)
    reach = config.read("max_position_embeddings", default=512) if reach < 1 else reach
    segments = config.read("segment_vocab_size", "type_vocab_size", default=0)
    spec = encoder(config, epsilon=1e-7, learned=False, segments=segments)
    attention, feed_forward = spec.block.residuals
    norm = attention.post
    part = Disentangled(
        heads=attention.part.heads,
        head_size=attention.part.head_size,
        span=buckets if buckets > 0 else reach,
        max_distance=reach if buckets > 0 else None,
        terms=terms,
        share_key=config.read("share_att_key", default=False),
        table_norm=norm if "layer_norm" in config.read("norm_rel_ebd", default="none") else None,
        dropout=attention.part.dropout,
    )
    block = Block(residuals=(replace(attention, part=part), feed_forward))
    kernel_size = config.read("conv_kernel_size", default=0)
    if not kernel_size:
        return replace(spec, block=block)
    config.read_choice("conv_groups", {1: 1}, default=1)
    part = EmbeddingConvolution(kernel_size=kernel_size, activation=config.read("conv_act", default="tanh"))
    first = Block(residuals=(*block.residuals, Residual(part=part, post=norm)))
    return replace(spec, block=lambda index: first if index == 0 else block)


_BASE = torch_map("deberta.", without=["Pooler", "NSP", "Embedding-Mapping", "Embedding-Position"])
_ATTENTION, _SELF = "Transformer-{i}-MultiHeadSelfAttention", "deberta.encoder.layer.{i}.attention.self"
_ROWS = {
    **TORCH.dense(f"{_ATTENTION}/query", f"{_SELF}.query_proj"),
    **TORCH.dense(f"{_ATTENTION}/key", f"{_SELF}.key_proj"),
    **TORCH.dense(f"{_ATTENTION}/value", f"{_SELF}.value_proj"),
    **TORCH.dense(f"{_ATTENTION}/distance_key", f"{_SELF}.pos_key_proj"),
    **TORCH.dense(f"{_ATTENTION}/distance_query", f"{_SELF}.pos_query_proj"),
    **TORCH.table("Embedding-Relative-Position", "deberta.encoder.rel_embeddings"),
    **TORCH.norm("Embedding-Relative-Position-Norm", "deberta.encoder.LayerNorm"),
    "Transformer-0-Convolution/convolution/kernel": Source("deberta.encoder.conv.conv.weight", (Axes((2, 1, 0)),)),
    "Transformer-0-Convolution/convolution/bias": Source("deberta.encoder.conv.conv.bias"),
    **TORCH.norm("Transformer-0-Convolution-Norm", "deberta.encoder.conv.LayerNorm"),
}
_ROWS = {path.replace("Transformer-0", "Transformer-{i}"): source for path, source in _ROWS.items()}

register_family(
    "deberta_v2",
    spec=deberta_v2,
    maps=(NameMap("torch", {**_BASE.rows, **_ROWS}, root="deberta.", ignore=_BASE.ignore, optional=_BASE.optional),),
    applications=("encoder",),
    reason="its table of distances and its convolution look both ways",
    aliases=("deberta-v2", "deberta_v3"),
    model_types=("deberta-v2",),
    classes=("DebertaV2Model", "DebertaV2ForMaskedLM"),
    export=lambda entries, spec: {**entries, "legacy": True},
)
