"""keras_su: Chinese Transformer models and layers for Keras 3 in the tradition of bert4keras."""

__version__ = "1.0.0"
