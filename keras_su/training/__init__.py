"""Gradients in the open: adversarial training, gradient penalties and attributions for compiled Keras models.

The page [docs/gradients.md](../../docs/gradients.md) shows which call replaces which construct of older scripts.
"""

from keras_su.training.adversarial import adversarial_training, gradient_penalty, virtual_adversarial_training
from keras_su.training.attribution import gradients_of_layer, integrated_gradients
from keras_su.training.gradients import gradients, value_and_grad
from keras_su.training.steps import plain_training
from keras_su.training.unlabeled import with_unlabeled

__all__ = [
    "adversarial_training",
    "gradient_penalty",
    "gradients",
    "gradients_of_layer",
    "integrated_gradients",
    "plain_training",
    "value_and_grad",
    "virtual_adversarial_training",
    "with_unlabeled",
]
