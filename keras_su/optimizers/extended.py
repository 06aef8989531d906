"""How extensions meet an optimizer: each sees the step of a variable before it is taken, and may change it.

``extend(Adam, WeightDecay)`` is the class ``AdamWithWeightDecay(WeightDecay, Extended, Adam)``. Keras calls its ``update_step``,
Adam computes, ``Extended`` keeps what Adam wants to add to the variable, ``transform`` of every extension changes it, from the
innermost to the outermost, and only then the variable is assigned.
"""

from functools import cache

import keras
from keras import ops

from keras_su.errors import KerasSuError, bad_value, unknown_name
from keras_su.optimizers.base import ShortName, current_spelling, dense, path_of, wide
from keras_su.registration import register

# Name in saved files -> class. Every extension enters itself when it is defined.
EXTENSIONS = {}

# Whose step is the same before and after a decay of the weights, which can therefore become part of the step.
STEP_WITHOUT_WEIGHTS = tuple(
    getattr(keras.optimizers, name) for name in "SGD Adam RMSprop Nadam Adagrad Adadelta Adamax Lion".split()
)


class Extension:
    """Base of what can be added to an optimizer class. A subclass overrides what it needs, and calls ``super()`` first:

    - ``__init__`` with its own keyword arguments, and ``get_config`` with the same names;
    - ``build_state`` to create state, with :func:`keras_su.optimizers.base.slots`;
    - ``transform`` to change the step of one variable;
    - ``_backend_update_step`` to change rates, or to look at all variables after an update.
    """

    def __init_subclass__(cls, extension=None, **kwargs):
        super().__init_subclass__(**kwargs)
        if extension:
            EXTENSIONS[extension] = cls
            cls.extension_name = extension


class _Kept:
    """What an optimizer remembers without Keras tracking it."""

    variable = None
    step = None


@register(name="ExtendedOptimizer")
class Extended(ShortName):
    """Stands between an optimizer and its extensions; never used alone."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **current_spelling(kwargs))
        self._kept = _Kept()

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.build_state(variables)

    def build_state(self, variables):
        """Extensions create theirs here, when the optimizer has its own."""

    def update_step(self, gradient, variable, learning_rate):
        gradient = dense(gradient, variable.shape)
        known = self._trainable_variables[self._get_variable_index(variable)]
        kept = self._kept
        kept.variable, kept.step = variable, None
        try:
            super().update_step(gradient, variable, learning_rate)
            step = kept.step
        finally:
            kept.variable = kept.step = None
        if step is None:
            if type(self).transform is Extended.transform:
                return
            advice = "self.assign, self.assign_add or self.assign_sub"
            raise KerasSuError(
                f"{type(self).__name__}: update_step must change variables with {advice}, where extensions see it."
            )
        dtype = wide(variable.dtype)
        step, weights, gradient, rate = (ops.cast(x, dtype) for x in (step, variable, gradient, learning_rate))
        if self._decays_inside() and self._use_weight_decay(known):
            step = step - rate * self.weight_decay * weights
        super().assign_add(variable, self.transform(step, weights, gradient, rate, path_of(known)))

    def transform(self, step, weights, gradient, learning_rate, path):
        """The step that is taken instead of ``step``, which is the one of the optimizer and of the extensions inside.

        Args:
            step: what would be added to a variable; at least float32, like the other tensors.
            weights: the variable before the step.
            gradient: as the optimizer got it, averaged and clipped.
            learning_rate: scalar, with schedules applied.
            path: the path of the variable.
        """
        return step

    # Keras takes its own `weight_decay` from the variable beforehand, where no extension would see it.
    def _decays_inside(self):
        return self.weight_decay is not None and isinstance(self, STEP_WITHOUT_WEIGHTS)

    def _apply_weight_decay(self, variables):
        if not self._decays_inside():
            super()._apply_weight_decay(variables)

    def assign(self, variable, value):
        if variable is self._kept.variable:
            self._kept.step = value - variable
        else:
            super().assign(variable, value)

    def assign_add(self, variable, value):
        if variable is self._kept.variable:
            self._kept.step = value
        else:
            super().assign_add(variable, value)

    def assign_sub(self, variable, value):
        if variable is self._kept.variable:
            self._kept.step = -value
        else:
            super().assign_sub(variable, value)

    def get_config(self):
        config = super().get_config()
        generated = vars(type(self)).get("_made_of")
        if generated:
            base, added = generated
            added = [[extension.extension_name, name] for extension, name in added]
            config["extended"] = {"base": keras.saving.get_registered_name(base), "with": added}
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """An optimizer of the class that ``config["extended"]`` describes, whichever extended class is asked."""
        config = dict(config)
        described = config.pop("extended", None)
        made = _class_from(described, custom_objects) if described else cls
        return super(Extended, made).from_config(config)


def _class_from(described, custom_objects):
    """The class that ``get_config`` described."""
    name = described["base"]
    made = keras.saving.get_registered_object(name, custom_objects) or getattr(keras.optimizers, name, None)
    if made is None:
        raise unknown_name("optimizer", name, dir(keras.optimizers), "Register the class, or pass it in custom_objects.")
    for extension, name in described["with"]:
        if extension not in EXTENSIONS:
            raise unknown_name("optimizer extension", extension, EXTENSIONS)
        made = extend(made, EXTENSIONS[extension], name)
    return made


def extend(base, extension, name=None):
    """The class of ``base`` optimizers with one more :class:`Extension` around everything that ``base`` has already.

    The same arguments give the same class. Instances are saved as ``keras_su>ExtendedOptimizer`` with the names of base and
    extensions, so a file needs nothing but ``import keras_su``, and the registered class of the base if it is yours.
    """
    base = _public(base)
    return _extend(base, extension, name or f"{base.__name__}With{extension.__name__}")


@cache
def _extend(base, extension, name):
    inner, added = vars(base).get("_made_of", (base, ()))
    if any(extension is other for other, _ in added):
        raise KerasSuError(f"{base.__name__} has {extension.extension_name} already; a second one would share its settings.")
    parents = (extension, base) if issubclass(base, Extended) else (extension, Extended, base)
    made_of = (inner, (*added, (extension, name)))
    made = type(name, parents, {"_made_of": made_of, "__module__": __name__, "__doc__": extension.__doc__})
    return register(made, name="ExtendedOptimizer")


def _public(base):
    """``base``, or the class of Keras whose fast form for PyTorch it is: that one has no step of one variable."""
    if not (isinstance(base, type) and issubclass(base, keras.optimizers.Optimizer)):
        raise bad_value("BaseOptimizer", base, "a class of optimizers")
    if issubclass(base, (keras.optimizers.LossScaleOptimizer, keras.optimizers.MultiOptimizer)):
        raise bad_value("BaseOptimizer", base.__name__, "a class that computes steps itself; extend the optimizer that it wraps")
    if base.__module__.startswith("keras.src.backend."):
        return getattr(keras.optimizers, base.__name__)
    return base
