"""keras_su: Chinese Transformer models and layers for Keras 3 in the tradition of bert4keras.

Importing it registers every layer, so that ``keras.models.load_model`` reads files saved with it. It imports neither
TensorFlow, JAX nor torch by itself (Keras imports the backend that ``KERAS_BACKEND`` names), and touches no network.
"""

from keras_su import activations, backend, initializers, layers, losses, masks, metrics, models, optimizers
from keras_su.models import build_transformer_model
from keras_su.sentence import SentenceEncoder

__version__ = "1.0.0"

__all__ = [
    "SentenceEncoder",
    "__version__",
    "activations",
    "backend",
    "build_transformer_model",
    "initializers",
    "layers",
    "losses",
    "masks",
    "metrics",
    "models",
    "optimizers",
]
