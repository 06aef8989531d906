"""MegatronBERT (arXiv 1909.08053): BERT with the norms before the parts; Erlangshen-MegatronBert."""

from dataclasses import replace

from keras_su.models.families.bert import encoder, torch_map
from keras_su.models.registry import register_family
from keras_su.models.spec import Output, pre_norm
from keras_su.weights.names import TORCH, NameMap


def megatron_bert(config):
    """No norm after the embeddings, one after the last block."""
    spec = encoder(config)
    norm, parts = spec.block.residuals[0].post, [residual.part for residual in spec.block.residuals]
    block = pre_norm(norm, *parts, dropout=spec.embeddings.dropout)
    return replace(spec, embeddings=replace(spec.embeddings, norm=None), block=block, output=Output(norm=norm))


_BERT = torch_map("bert.", without=["Embedding-Norm", "Embedding-Mapping"])
_NORMS = {
    **TORCH.norm("Transformer-{i}-MultiHeadSelfAttention-Norm", "bert.encoder.layer.{i}.attention.ln"),
    **TORCH.norm("Transformer-{i}-FeedForward-Norm", "bert.encoder.layer.{i}.ln"),
    **TORCH.norm("Output-Norm", "bert.encoder.ln"),
}

register_family(
    "megatron_bert",
    spec=megatron_bert,
    maps=(NameMap("torch", {**_BERT.rows, **_NORMS}, root="bert.", ignore=_BERT.ignore, optional=_BERT.optional),),
    aliases=("megatron-bert",),
    model_types=("megatron-bert",),
    classes=("MegatronBertModel", "MegatronBertForPreTraining"),
)
