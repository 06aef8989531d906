"""What the optimizers here share: old spellings, and state in float32."""

import re

import keras
from keras import ops

from keras_su.errors import bad_value


class ShortName:
    """Mixin: ``optimizer.lr``, as in Keras 2, for ``K.set_value(optimizer.lr, 1e-5)``."""

    @property
    def lr(self):
        """The variable that holds the learning rate; the rate itself where a schedule sets it."""
        rate = self._learning_rate
        return self.learning_rate if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule) else rate

    @lr.setter
    def lr(self, value):
        self.learning_rate = value


class Optimizer(ShortName, keras.optimizers.Optimizer):
    """A Keras optimizer that accepts ``lr=`` for ``learning_rate=`` and integers as rates.

    Args:
        learning_rate: number, schedule or function without arguments.
        **kwargs: those of ``keras.optimizers.Optimizer`` (``clipnorm``, ``global_clipnorm``, ``use_ema``, ``name``, ...).
    """

    def __init__(self, learning_rate, **kwargs):
        super().__init__(**current_spelling({"learning_rate": learning_rate, **kwargs}))


def current_spelling(kwargs):
    """Keyword arguments of an optimizer with ``lr`` renamed and an integer rate as a float."""
    kwargs = dict(kwargs)
    if "lr" in kwargs:
        kwargs["learning_rate"] = kwargs.pop("lr")
    if isinstance(kwargs.get("learning_rate"), int):
        kwargs["learning_rate"] = float(kwargs["learning_rate"])
    return kwargs


def wide(dtype):
    """``dtype``, but at least float32: in 16 bits ``1 - 0.999`` is zero, and so is the square of a small gradient."""
    return keras.backend.result_type(dtype, "float32")


def slots(optimizer, variables, name, shape=None):
    """One variable of optimizer state for each model variable, zero, at least float32.

    Args:
        optimizer: gets the variables.
        variables: the model's.
        name: what the state is, for its name.
        shape: function from the shape of a variable to that of its state, or to ``None`` where it needs none; the same shape by
            default.

    Returns:
        A list as long as ``variables``, with ``None`` for those that need no state.
    """
    made = []
    for variable in variables:
        like = tuple(variable.shape)
        size = like if shape is None else shape(like)
        if size is None or getattr(variable, "overwrite_with_gradient", False):
            made.append(None)
            continue
        owner = re.sub(r"[/:]", "_", path_of(variable))
        layout = getattr(variable, "_layout", None) if size == like else None
        made.append(optimizer.add_variable(size, dtype=wide(variable.dtype), layout=layout, name=f"{owner}_{name}"))
    return made


def path_of(variable):
    """``"Transformer-0-FeedForward/output/kernel"``: what patterns are matched against."""
    return getattr(variable, "path", variable.name)


def patterns(what, given):
    """A list of regular expressions from ``None``, one, or several; an error for what is none."""
    given = [given] if isinstance(given, str) else list(given or [])
    for pattern in given:
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            raise bad_value(what, pattern, f"a regular expression ({error})") from error
    return given


def matches(expressions, path):
    """True when one of the regular expressions is found in the path."""
    return any(re.search(expression, path) for expression in expressions)


def dense(gradient, shape):
    """A gradient as an ordinary tensor; those of embeddings on TensorFlow name only the rows that were read."""
    return ops.add(ops.zeros(shape, gradient.dtype), gradient) if hasattr(gradient, "indices") else gradient


def run_when(condition, variables, update):
    """Call ``update()`` if ``condition``, a boolean tensor, is true, also inside compiled programs.

    Args:
        condition: scalar tensor, or a Python boolean, which is decided at once.
        variables: all Keras variables that ``update`` may assign.
        update: function without arguments or result.
    """
    if keras.backend.backend() == "jax" and not isinstance(condition, bool):
        try:
            condition = bool(condition)
        except TypeError:  # known when the compiled program runs
            pass
    if isinstance(condition, bool):
        if condition:
            update()
        return
    if keras.backend.backend() != "jax":
        ops.cond(condition, update, lambda: None)
        return

    # A branch of JAX may not assign; it returns what the variables would become.
    def taken():
        with keras.StatelessScope(state_mapping=list(zip(variables, before))) as scope:
            update()
        return [scope.get_current_value(variable) for variable in variables]

    before = [variable.value for variable in variables]
    for variable, value in zip(variables, ops.cond(condition, taken, lambda: before)):
        variable.assign(value)
