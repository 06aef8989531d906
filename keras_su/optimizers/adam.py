"""Adam and Lion as bert4keras defines them."""

from keras import ops

from keras_su.optimizers.base import Optimizer, dense, slots, wide
from keras_su.registration import register


@register
class Adam(Optimizer):
    """Adam (arXiv 1412.6980) whose bias correction can be switched off, as BERT was trained.

    Args:
        learning_rate: number, schedule or function; ``lr`` is accepted, too.
        beta_1: momentum of the mean of the gradients.
        beta_2: momentum of the mean of their squares.
        epsilon: added to the root of the second mean.
        bias_correction: divide both means by ``1 - beta ** t``. Without it the first steps are larger.
        **kwargs: those of ``keras.optimizers.Optimizer``.

    >>> import keras
    >>> weight = keras.Variable([1.0, 2.0])
    >>> Adam(0.5).apply([keras.ops.convert_to_tensor([3.0, -3.0])], [weight])
    >>> [round(float(x), 3) for x in weight.numpy()]
    [0.5, 2.5]
    """

    def __init__(self, learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-6, bias_correction=True, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.bias_correction = bias_correction

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._first = slots(self, variables, "momentum")
        self._second = slots(self, variables, "velocity")

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        first, second = self._first[index], self._second[index]
        gradient = ops.cast(dense(gradient, variable.shape), first.dtype)
        mean = self.beta_1 * first + (1 - self.beta_1) * gradient
        square = self.beta_2 * second + (1 - self.beta_2) * ops.square(gradient)
        self.assign(first, mean)
        self.assign(second, square)
        if self.bias_correction:
            t = ops.cast(self.iterations + 1, first.dtype)
            mean = mean / (1 - ops.power(ops.cast(self.beta_1, first.dtype), t))
            square = square / (1 - ops.power(ops.cast(self.beta_2, first.dtype), t))
        self.assign_sub(variable, ops.cast(learning_rate, first.dtype) * mean / (ops.sqrt(square) + self.epsilon))

    def get_config(self):
        own = {name: getattr(self, name) for name in ("beta_1", "beta_2", "epsilon", "bias_correction")}
        return {**super().get_config(), **own}


@register
class Lion(Optimizer):
    """Lion (arXiv 2302.06675): the sign of an interpolation between momentum and gradient.

    Args:
        learning_rate: number, schedule or function; a tenth of Adam's is a good start.
        beta_1: share of the momentum in the step.
        beta_2: momentum of the mean of the gradients.
        **kwargs: those of ``keras.optimizers.Optimizer``.

    The defaults are those of bert4keras; Keras' own Lion has 0.9 and 0.99.

    >>> import keras
    >>> weight = keras.Variable([1.0, 2.0])
    >>> Lion(0.5).apply([keras.ops.convert_to_tensor([3.0, -0.1])], [weight])
    >>> weight.numpy().tolist()
    [0.5, 2.5]
    """

    def __init__(self, learning_rate=3e-4, beta_1=0.95, beta_2=0.98, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.beta_1 = beta_1
        self.beta_2 = beta_2

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._momentum = slots(self, variables, "momentum")

    def update_step(self, gradient, variable, learning_rate):
        momentum = self._momentum[self._get_variable_index(variable)]
        gradient = ops.cast(dense(gradient, variable.shape), momentum.dtype)
        direction = ops.sign(self.beta_1 * momentum + (1 - self.beta_1) * gradient)
        self.assign_sub(variable, ops.cast(learning_rate, wide(variable.dtype)) * direction)
        self.assign(momentum, self.beta_2 * momentum + (1 - self.beta_2) * gradient)

    def get_config(self):
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2}
