"""One file per kinship of models; importing this package registers them all."""

from keras_su.models.families import bert

__all__ = ["bert"]
