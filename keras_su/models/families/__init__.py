"""One file per kinship of models; importing this package registers them all."""

from keras_su.models.families import (
    albert,
    bart,
    bert,
    chinese_decoders,
    deberta,
    electra,
    ernie,
    gemma,
    gpt,
    llama,
    megatron_bert,
    modernbert,
    nezha,
    roberta,
    roformer,
    t5,
)

__all__ = [
    "albert",
    "bart",
    "bert",
    "chinese_decoders",
    "deberta",
    "electra",
    "ernie",
    "gemma",
    "gpt",
    "llama",
    "megatron_bert",
    "modernbert",
    "nezha",
    "roberta",
    "roformer",
    "t5",
]
