"""Robust training in one line: adversarial (FGM, PGD, SAM), virtual adversarial, and with a gradient penalty.

Each function changes how a compiled model trains, and nothing else: ``fit``, metrics, callbacks, evaluation and saved files are
those of the model. Offsets are added while the loss is computed and never written into the weights.
"""

import keras
import numpy as np
from keras import ops

from keras_su.errors import bad_value
from keras_su.training.places import place_in
from keras_su.training.steps import change_training, check_trainable

SMALL = 1e-8
"""Added to norms before a division."""


def adversarial_training(model, name="Embedding-Token", epsilon=0.5, *, steps=1, alpha=None, target="matrix"):
    """Train at the point near the embeddings where the loss is worst.

    With one step it is FGM (arXiv 1605.07725): the gradient ``g`` is taken at ``E``, then the weights learn from the loss at
    ``E + epsilon * g / |g|``. With more it is PGD (arXiv 1706.06083): steps of length ``alpha`` inside of the ball of radius
    ``epsilon``. Where ``name`` is ``"parameters"`` it is SAM (arXiv 2010.01412). The logged loss and metrics are those of the
    perturbed pass.

    Args:
        model: compiled ``keras.Model``.
        name: the layer to perturb, or ``"parameters"``.
        epsilon: length of the perturbation.
        steps: forward and backward passes to find it.
        alpha: length of a step, default ``epsilon`` for one and ``1.5 * epsilon / steps`` for several.
        target: ``"matrix"``, the embedding table, which has one norm, as in bert4keras; or ``"activations"``, what the layer
            returns, where each row of the batch has its own.

    Returns:
        ``model``.

    Raises:
        KerasSuError: the model is not compiled, or its training was changed before; no such layer; a bad number.

    >>> embedding = keras.layers.Embedding(9, 3, name="Embedding-Token")
    >>> model = keras.Sequential([keras.Input((4,)), embedding, keras.layers.Flatten()])
    >>> model.compile("sgd", "mse")
    >>> adversarial_training(model, "Embedding-Token", epsilon=0.5) is model
    True
    """
    check_trainable(model)
    _check_positive(epsilon=epsilon, **({} if alpha is None else {"alpha": alpha}))
    if not isinstance(steps, int) or steps < 1:
        raise bad_value("steps", steps, "a positive integer")
    if alpha is None:
        alpha = epsilon if steps == 1 else 1.5 * epsilon / steps

    def objective(batch):
        offsets = batch.no_offsets()
        for _ in range(steps):
            _, _, uphill = batch.gradients(lambda x: (batch.forward(x, learn=False).loss, ()), offsets)
            offsets = [x + alpha * direction for x, direction in zip(offsets, unit(batch.place, uphill))]
            offsets = _within(batch.place, offsets, epsilon)
        return batch.forward(constant(offsets))

    return change_training(model, place_in(model, name, target), objective)


def virtual_adversarial_training(
    model, name="Embedding-Token", epsilon=1.0, xi=10.0, iters=1, *, divergence=None, target="matrix", seed=None
):
    """Add to the loss how much the outputs change when the embeddings move in the worst direction (arXiv 1704.03976).

    The direction needs no labels. It is found by power iteration: a random one of length ``xi``, replaced ``iters`` times by the
    gradient of the divergence there. Rows without labels take part with sample weight 0; see :func:`with_unlabeled`.

    Args:
        model: compiled ``keras.Model``.
        name: the layer to perturb, or ``"parameters"``.
        epsilon: length of the perturbation.
        xi: length of the trial.
        iters: power iterations, one forward and backward pass each.
        divergence: a Keras loss of clean and perturbed outputs. The default, ``keras.losses.KLDivergence()``, wants
            probabilities; for logits take ``keras.losses.CategoricalCrossentropy(from_logits=True)``.
        target: as in :func:`adversarial_training`.
        seed: integer from which the random directions follow, together with the number of the step.

    Returns:
        ``model``.

    Raises:
        KerasSuError: as in :func:`adversarial_training`.
    """
    check_trainable(model)
    _check_positive(epsilon=epsilon, xi=xi)
    if not isinstance(iters, int) or iters < 0:
        raise bad_value("iters", iters, "an integer, zero or more")
    compare = keras.losses.KLDivergence() if divergence is None else keras.losses.get(divergence)
    seed = int(np.random.randint(2**30)) if seed is None else seed

    def objective(batch):
        clean = batch.forward()
        expected = [ops.stop_gradient(x) for x in keras.tree.flatten(clean.outputs)]

        def change(offsets, learn=False):
            outputs = keras.tree.flatten(batch.forward(offsets, learn).outputs)
            return sum(ops.mean(compare(wanted, found)) for wanted, found in zip(expected, outputs)), ()

        dice = StepDice(seed, batch.step())
        offsets = [keras.random.normal(ops.shape(x), dtype=x.dtype, seed=dice) for x in batch.no_offsets()]
        for _ in range(iters):
            trial = [xi * x for x in unit(batch.place, offsets)]
            _, _, offsets = batch.gradients(change, trial)
        offsets = [epsilon * x for x in unit(batch.place, offsets)]
        worst, _ = change(constant(offsets), learn=True)
        return clean._replace(loss=clean.loss + ops.cast(worst, clean.loss.dtype))

    return change_training(model, place_in(model, name, target), objective)


def gradient_penalty(model, name="Embedding-Token", epsilon=1.0, *, target="activations"):
    """Add ``epsilon / 2 * |gradient of the loss|**2`` to the loss.

    Args:
        model: compiled ``keras.Model``.
        name: the layer for which the gradient is taken, or ``"parameters"``: all trainable weights.
        epsilon: weight of the penalty.
        target: ``"activations"``, what the layer returns, as in bert4keras: the squares of all tokens are added.
            ``"matrix"``, the embedding table: the gradients of a token that occurs several times are added first.

    The loss is the mean over the batch, and so is its gradient. The logged loss includes the penalty.

    Returns:
        ``model``.

    Raises:
        KerasSuError: as in :func:`adversarial_training`.
    """
    check_trainable(model)
    _check_positive(epsilon=epsilon)

    def objective(batch):
        def loss_of(offsets):
            result = batch.forward(offsets)
            return result.loss, result

        loss, result, found = batch.gradients(loss_of, batch.no_offsets(), differentiable=True)
        penalty = 0.5 * epsilon * sum(ops.sum(ops.square(ops.cast(x, "float32"))) for x in found)
        # In 16 bits a gradient may overflow. The optimizer notices by itself and skips the step; the log should stay a number.
        penalty = ops.where(ops.isfinite(penalty), penalty, 0.0)
        return result._replace(loss=loss + ops.cast(penalty, loss.dtype))

    return change_training(model, place_in(model, name, target), objective)


class StepDice(keras.random.SeedGenerator):
    """Random numbers that follow from a seed and the number of a step: no state for a compiled step to carry, nothing to save.

    Args:
        seed: integer.
        step: integer tensor.
    """

    def __init__(self, seed, step):  # without the parent's, which makes a variable
        self._seed = seed
        self._step = step

    def next(self, ordered=True):
        self._seed = (self._seed + 1_000_003) % 2**30
        dtype = {"jax": "uint32", "torch": "int32"}.get(keras.backend.backend(), "int64")
        return ops.stack([ops.convert_to_tensor(self._seed, dtype=dtype), ops.cast(self._step, dtype)])


def unit(place, offsets):
    """Offsets of length one in the same direction; zero where there is none."""
    scaled = []
    for x, norm in zip(offsets, place.norm(offsets)):
        finite = ops.isfinite(norm)
        x = ops.where(finite, x, 0.0) / ops.cast(ops.where(finite, norm, 1.0) + SMALL, x.dtype)
        scaled.append(x)
    return scaled


def constant(offsets):
    """Offsets that are not differentiated."""
    return [ops.stop_gradient(x) for x in offsets]


def _within(place, offsets, radius):
    """Offsets, shortened where they are longer than the radius."""
    norms = place.norm(offsets)
    return [x * ops.cast(ops.minimum(1.0, radius / (norm + SMALL)), x.dtype) for x, norm in zip(offsets, norms)]


def _check_positive(**numbers):
    for name, value in numbers.items():
        if not isinstance(value, (int, float)) or not value > 0:
            raise bad_value(name, value, "a positive number")
