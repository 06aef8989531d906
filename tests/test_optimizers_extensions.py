"""Extensions in every order against compositions of numpy functions; saving of classes that are made at run time."""

import itertools
import json

import keras
import numpy as np
import pytest
from helpers import to_numpy
from test_optimizers import BIAS, GRADIENTS, KERNEL, NAMES, tensor, trained

from keras_su import optimizers
from keras_su.errors import KerasSuError
from keras_su.optimizers import LAMB, AccumOptimizer, Adam, AdamW

RATE = 0.1
SETTINGS = {
    "weight_decay": {"weight_decay_rate": 0.2, "exclude_from_weight_decay": ["bias"]},
    "layer_adaptation": {"exclude_from_layer_adaptation": "bias"},
    "lazy_optimization": {"include_in_lazy_optimization": ["kernel"]},
    "parameter_wise_lr": {"paramwise_lr_schedule": {"kernel": 0.5, "k.*l$": 3.0, "bias": 0.25}},
}
NUMPY = {
    "weight_decay": lambda step, w, g, name: step - (RATE * 0.2 * w if name == "kernel" else 0),
    "layer_adaptation": lambda step, w, g, name: (
        step * np.linalg.norm(w) / np.linalg.norm(step / RATE) if name == "kernel" else step
    ),
    "lazy_optimization": lambda step, w, g, name: step * (g != 0).any(axis=-1, keepdims=True) if name == "kernel" else step,
    "parameter_wise_lr": lambda step, w, g, name: step * (1.5 if name == "kernel" else 0.25),
}


def extended(base, *names):
    """The class with the named extensions, from the inside out."""
    for name in names:
        base = getattr(optimizers, f"extend_with_{name}")(base)
    return base


def gradients_with_a_zero_row():
    kernel, bias = (np.array(g) for g in GRADIENTS[0])
    kernel[1] = 0
    return kernel, bias


@pytest.mark.parametrize("order", list(itertools.permutations(SETTINGS)), ids=lambda order: "-".join(n[:4] for n in order))
def test_the_outer_extension_sees_the_step_of_the_inner(order):
    gradients = gradients_with_a_zero_row()
    kwargs = {key: value for settings in SETTINGS.values() for key, value in settings.items()}
    found = trained(extended(keras.optimizers.SGD, *order)(RATE, **kwargs), [gradients])
    for name, weights, gradient, result in zip(NAMES, (KERNEL, BIAS), gradients, found):
        step = -RATE * gradient
        for extension in order:
            step = NUMPY[extension](step, weights, gradient, name)
        np.testing.assert_allclose(result, weights + step, rtol=1e-5, atol=1e-6, err_msg=name)


BUILT_IN = "SGD Adam AdamW Lion RMSprop Nadam Adagrad Adadelta Adamax Ftrl Lamb Adafactor Muon ScheduleFreeAdamW".split()


@pytest.mark.parametrize("name", BUILT_IN)
def test_an_extension_that_does_nothing_changes_nothing(name):
    """Every optimizer of Keras keeps its result when its step is taken out and put back."""
    base = getattr(keras.optimizers, name)
    found = trained(extended(base, "parameter_wise_lr")(RATE, weight_decay=0.01), GRADIENTS[:2])
    expected = trained(base(RATE, weight_decay=0.01), GRADIENTS[:2])
    for f, e in zip(found, expected):
        np.testing.assert_allclose(f, e, rtol=1e-5, atol=3e-6)


def test_keras_own_decay_is_seen_by_extensions():
    """Keras' AdamW with layer adaptation is LAMB, with the decay inside the trust ratio."""
    found = trained(extended(keras.optimizers.AdamW, "layer_adaptation")(RATE, weight_decay=0.1, epsilon=1e-6))
    expected = trained(LAMB(RATE, weight_decay_rate=0.1))
    for f, e in zip(found, expected):
        np.testing.assert_allclose(f, e, rtol=1e-4, atol=1e-5)


def test_decay_shows_in_a_step_without_gradient_and_only_where_it_should():
    zero = [np.zeros((4, 3)), np.zeros(3), np.zeros(3)]
    start, names = [KERNEL, BIAS, BIAS], ["Dense", "Norm", "bias"]
    kernel, norm, bias = trained(
        AdamW(RATE, weight_decay_rate=0.5, exclude_from_weight_decay=["Norm", "bias"]), [zero], start, names
    )
    np.testing.assert_allclose(kernel, KERNEL * 0.95, rtol=1e-6)
    np.testing.assert_allclose([norm, bias], [BIAS, BIAS], rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_lamb_steps_have_the_length_of_the_weights_whatever_the_gradient(scale):
    kernel, _ = trained(LAMB(RATE, weight_decay_rate=0), [[scale * g for g in GRADIENTS[0]]])
    assert np.linalg.norm(kernel - KERNEL) == pytest.approx(RATE * np.linalg.norm(KERNEL), rel=1e-4)
    nothing, _ = trained(LAMB(RATE), GRADIENTS[:1], (0 * KERNEL, BIAS))
    np.testing.assert_allclose(nothing, -RATE * np.sign(GRADIENTS[0][0]), rtol=1e-2)


def test_a_schedule_scales_rate_and_decay_of_each_update():
    schedule = {2: 1.0, 3: 0.5}
    found, _ = trained(extended(AdamW, "piecewise_linear_lr")(RATE, lr_schedule=schedule, weight_decay_rate=0.3))
    by_keras = optimizers.PiecewiseLinear(RATE, schedule)
    expected, _ = trained(keras.optimizers.AdamW(by_keras, weight_decay=0.3, epsilon=1e-6))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    first, _ = trained(extended(AdamW, "piecewise_linear_lr")(RATE, lr_schedule=schedule), GRADIENTS[:1])
    np.testing.assert_array_equal(first, KERNEL.astype("float32"))


def test_lookahead_starts_where_the_weights_are():
    slow = fast = KERNEL
    for t, (gradient, _) in enumerate(GRADIENTS, 1):
        fast = fast - RATE * gradient
        if t % 2 == 0:
            slow = fast = slow + 0.3 * (fast - slow)
    make = extended(keras.optimizers.SGD, "lookahead")
    found, _ = trained(make(RATE, steps_per_slow_update=2, slow_step_size=0.3))
    np.testing.assert_allclose(found, fast, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_moving_average_with_and_without_correction():
    optimizer = extended(keras.optimizers.SGD, "exponential_moving_average")(RATE, ema_momentum=0.6)
    kernel, unused = keras.Variable(tensor(KERNEL), name="kernel"), keras.Variable(tensor(BIAS), name="unused")
    for done in (optimizer.apply_ema_weights, optimizer.reset_old_weights):
        done()  # there before the first step, when there is nothing to average
    average, weights = 0, KERNEL
    for gradient, _ in GRADIENTS:
        optimizer.apply_gradients([(tensor(gradient), kernel), (None, unused)])
        weights = weights - RATE * gradient
        average = 0.6 * average + 0.4 * weights
    for correct, scale in ((True, 1 - 0.6 ** len(GRADIENTS)), (False, 1.0)):
        optimizer.apply_ema_weights(bias_correction=not correct)  # a second call replaces the first
        optimizer.apply_ema_weights(bias_correction=correct)
        np.testing.assert_allclose(to_numpy(kernel), average / scale, rtol=1e-5)
        optimizer.reset_old_weights()
        np.testing.assert_allclose(to_numpy(kernel), weights, rtol=1e-5)
    optimizer.apply_ema_weights()
    np.testing.assert_allclose(to_numpy(unused), BIAS, rtol=1e-5)


EVERYTHING = ("weight_decay", "layer_adaptation", "piecewise_linear_lr", "lookahead", "lazy_optimization")
EVERYTHING = (*EVERYTHING, "exponential_moving_average", "parameter_wise_lr", "gradient_accumulation")


def assert_same_after_json(optimizer):
    stored = json.loads(json.dumps(keras.optimizers.serialize(optimizer)))
    again = keras.optimizers.deserialize(stored)
    assert type(again) is type(optimizer) and again.get_config() == optimizer.get_config()
    direct = type(optimizer).from_config(optimizer.get_config())
    assert type(direct) is type(optimizer) and direct.get_config() == optimizer.get_config()


def test_configurations_survive():
    kwargs = {key: value for settings in SETTINGS.values() for key, value in settings.items()}
    for base in (Adam, keras.optimizers.SGD, keras.optimizers.AdamW):
        assert_same_after_json(extended(base, *EVERYTHING)(RATE, **kwargs, lr_schedule={3: 1, 9: 0.1}, grad_accum_steps=3))
    named = optimizers.extend_with_lookahead(AdamW, name="Ranger")
    assert named.__name__ == "Ranger"
    for optimizer in (Adam(), AdamW(lr=1), LAMB(), named(), optimizers.Lion(), optimizers.Tiger(), optimizers.AdaFactor(None)):
        assert_same_after_json(optimizer)
    scheduled = AccumOptimizer(Adam(optimizers.PiecewiseLinear(0.1, {5: 1})), 2)
    assert_same_after_json(scheduled)


def test_the_same_extensions_are_the_same_class():
    assert extended(Adam, "weight_decay", "lookahead") is extended(Adam, "weight_decay", "lookahead")
    assert optimizers.extend_with_weight_decay_v2(Adam, name="AdamW") is AdamW
    assert issubclass(LAMB, AdamW) and issubclass(LAMB, Adam)


def test_own_optimizers_can_be_extended_and_saved():
    class Halving(keras.optimizers.SGD):
        def update_step(self, gradient, variable, learning_rate):
            super().update_step(0.5 * gradient, variable, learning_rate)

    class Mine(extended(keras.optimizers.SGD, "weight_decay")):
        pass

    optimizer = extended(Halving, "parameter_wise_lr")(RATE, paramwise_lr_schedule={"kernel": 2})
    kernel, _ = trained(optimizer, GRADIENTS[:1])
    np.testing.assert_allclose(kernel, KERNEL - RATE * GRADIENTS[0][0], rtol=1e-4, atol=1e-6)
    stored = keras.optimizers.serialize(optimizer)
    with keras.saving.custom_object_scope({"Halving": Halving}):
        assert isinstance(keras.optimizers.deserialize(stored), Halving)
    with pytest.raises(KerasSuError, match="Unknown optimizer 'Halving'.*custom_objects"):
        type(optimizer).from_config(optimizer.get_config())
    assert type(Mine.from_config(Mine(RATE, weight_decay_rate=0.3).get_config())) is Mine


def test_a_step_that_no_extension_can_see_is_an_error():
    class Secretive(keras.optimizers.SGD):
        def update_step(self, gradient, variable, learning_rate):
            variable.assign(variable - learning_rate * gradient)

    with pytest.raises(KerasSuError, match="update_step must change variables with self.assign"):
        trained(extended(Secretive, "weight_decay")(RATE), GRADIENTS[:1])
    kernel, _ = trained(AccumOptimizer(Secretive(RATE), 1), GRADIENTS[:1])
    np.testing.assert_allclose(kernel, KERNEL - RATE * GRADIENTS[0][0], rtol=1e-4, atol=1e-6)


def test_functions_of_users_keep_their_decorator():
    @optimizers.export_to_custom_objects
    def extend_with_nothing(BaseOptimizer):
        class NewOptimizer(BaseOptimizer):
            pass

        return NewOptimizer

    try:
        made = extend_with_nothing(Adam, name="AdamAndNothing")
        assert made.__name__ == "AdamAndNothing"
        assert isinstance(keras.optimizers.deserialize(keras.optimizers.serialize(made(0.1))), made)
    finally:
        del keras.saving.get_custom_objects()["AdamAndNothing"]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: extended(AdamW, "weight_decay"), "has weight_decay already"),
        (lambda: extended(keras.optimizers.LossScaleOptimizer, "lookahead"), "extend the optimizer that it wraps"),
        (lambda: extended("adam", "lookahead"), "a class of optimizers"),
        (lambda: extended(Adam, "lookahead")(steps_per_slow_update=0), "steps_per_slow_update"),
        (lambda: AdamW(exclude_from_weight_decay=["["]), "regular expression"),
        (lambda: extended(Adam, "piecewise_linear_lr")(lr_schedule={}), "schedule"),
        (lambda: extended(Adam, "parameter_wise_lr")(paramwise_lr_schedule=["a"]), "dictionary"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(KerasSuError, match=message):
        make()
