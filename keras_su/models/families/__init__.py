"""One file per kinship of models; importing this package registers them all."""

from keras_su.models.families import albert, bert, deberta, electra, ernie, gpt, megatron_bert, modernbert, nezha, roberta, roformer

__all__ = [
    "albert",
    "bert",
    "deberta",
    "electra",
    "ernie",
    "gpt",
    "megatron_bert",
    "modernbert",
    "nezha",
    "roberta",
    "roformer",
]
