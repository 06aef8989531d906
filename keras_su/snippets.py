"""Where scripts of bert4keras import it from: ``from keras_su.snippets import AutoRegressiveDecoder``."""

from keras_su.decoding.auto_regressive import AutoRegressiveDecoder

__all__ = ["AutoRegressiveDecoder"]
