"""One file per kinship of models; importing this package registers them all."""

from keras_su.models.families import albert, bert, electra, nezha, roformer

__all__ = ["albert", "bert", "electra", "nezha", "roformer"]
