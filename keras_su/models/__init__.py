"""Models: :func:`build_transformer_model` and what stands behind it."""

import keras_su.models.families  # noqa: F401  (registers the families)
from keras_su.models.build import build_transformer_model
from keras_su.models.handle import Transformer
from keras_su.models.registry import Family, list_models, register_family
from keras_su.models.spec import Spec

__all__ = ["Family", "Spec", "Transformer", "build_transformer_model", "list_models", "register_family"]
