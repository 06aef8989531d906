"""Names of UER-py and TencentPretrain (arXiv 1909.05658) for BERT, before a conversion to Hugging Face."""

from keras_su.models.families.common import CONDITIONAL
from keras_su.weights.names import TORCH, NameMap, Source
from keras_su.weights.transforms import SkipRows

_BLOCK, _ATTENTION, _FEED_FORWARD = (
    "encoder.transformer.{i}",
    "Transformer-{i}-MultiHeadSelfAttention",
    "Transformer-{i}-FeedForward",
)

# Since 2023 the parts have names of their own: newer name -> the older one.
_NEWER = {
    "embedding.word.embedding.weight": "embedding.word_embedding.weight",
    "embedding.pos.embedding.weight": "embedding.position_embedding.weight",
    "embedding.seg.embedding.weight": "embedding.segment_embedding.weight",
    **{f"target.sp.linear_{k}.{part}": f"target.nsp_linear_{k}.{part}" for k in (1, 2) for part in ("weight", "bias")},
    **{f"target.mlm.linear_{k}.{part}": f"target.mlm_linear_{k}.{part}" for k in (1, 2) for part in ("weight", "bias")},
    **{f"target.mlm.layer_norm.{part}": f"target.layer_norm.{part}" for part in ("weight", "bias")},
}

UER = NameMap(
    "torch",
    {
        **TORCH.table("Embedding-Token", "embedding.word_embedding", vocabulary="rows"),
        "Embedding-Segment/embeddings": Source("embedding.segment_embedding.weight", (SkipRows(1),)),
        **TORCH.table("Embedding-Position", "embedding.position_embedding"),
        **TORCH.norm("Embedding-Norm", "embedding.layer_norm"),
        **TORCH.dense(f"{_ATTENTION}/query", f"{_BLOCK}.self_attn.linear_layers.0"),
        **TORCH.dense(f"{_ATTENTION}/key", f"{_BLOCK}.self_attn.linear_layers.1"),
        **TORCH.dense(f"{_ATTENTION}/value", f"{_BLOCK}.self_attn.linear_layers.2"),
        **TORCH.dense(f"{_ATTENTION}/output", f"{_BLOCK}.self_attn.final_linear"),
        **TORCH.norm(f"{_ATTENTION}-Norm", f"{_BLOCK}.layer_norm_1"),
        **TORCH.dense(f"{_FEED_FORWARD}/input_0", f"{_BLOCK}.feed_forward.linear_1"),
        **TORCH.dense(f"{_FEED_FORWARD}/output", f"{_BLOCK}.feed_forward.linear_2"),
        **TORCH.norm(f"{_FEED_FORWARD}-Norm", f"{_BLOCK}.layer_norm_2"),
        **TORCH.dense("Pooler-Dense", "target.nsp_linear_1"),
        **TORCH.dense("NSP-Proba", "target.nsp_linear_2"),
        **TORCH.dense("MLM-Dense", "target.mlm_linear_1"),
        **TORCH.norm("MLM-Norm", "target.layer_norm"),
        "MLM-Bias/beta": Source("target.mlm_linear_2.bias", vocabulary="rows"),
    },
    ignore=(r"^target\.mlm_linear_2\.weight$",),
    optional=CONDITIONAL,
    aliases=_NEWER,
)
"""Segments are counted from 1; row 0 of their table is padding and is left out."""
