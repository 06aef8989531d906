"""Several small batches are one large one, for everything that an optimizer does."""

import keras
import numpy as np
import pytest
from helpers import backend, to_numpy
from keras import optimizers as k
from test_optimizers import DICE, tensor, trained

from keras_su import optimizers as su
from keras_su.errors import KerasSuError

N = 3
BATCHES = [(DICE.normal(size=(4, 3)), DICE.normal(size=3)) for _ in range(4 * N)]
MEANS = [tuple(np.mean(part, axis=0) for part in zip(*BATCHES[i : i + N])) for i in range(0, len(BATCHES), N)]
ema = su.extend_with_exponential_moving_average
lookahead = su.extend_with_lookahead
MAKERS = {
    "SGD with momentum": lambda: k.SGD(0.1, momentum=0.9),
    "Adam": lambda: k.Adam(0.1),
    "AdamW": lambda: k.AdamW(0.1, weight_decay=0.1),
    "Lion": lambda: k.Lion(0.1),
    "clipnorm": lambda: k.Adam(0.1, clipnorm=0.5),
    "global_clipnorm": lambda: k.SGD(0.1, global_clipnorm=0.5),
    "clipvalue": lambda: k.SGD(0.1, clipvalue=0.2),
    "Keras schedule": lambda: k.AdamW(su.PiecewiseLinear(0.1, {2: 1, 4: 0.5}), weight_decay=0.1),
    "our schedule": lambda: su.extend_with_piecewise_linear_lr(su.AdamW)(0.1, lr_schedule={2: 1}),
    "LAMB": lambda: su.LAMB(0.1),
    "AdaFactor": lambda: su.AdaFactor(None, min_dim_size_to_factor=3),
    "Tiger": lambda: su.Tiger(0.1),
    "averages overwrite": lambda: k.Adam(0.1, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2),
    "lookahead": lambda: lookahead(k.SGD)(0.1, steps_per_slow_update=2),
}


@pytest.mark.parametrize("name", MAKERS)
def test_many_small_batches_are_one_large_batch(name):
    optimizer = su.AccumOptimizer(MAKERS[name](), N)
    found, expected = trained(optimizer, BATCHES), trained(MAKERS[name](), MEANS)
    for f, e in zip(found, expected):
        np.testing.assert_allclose(f, e, atol=2e-6)
    assert int(optimizer.iterations) == len(MEANS)


@pytest.mark.parametrize("batches, steps", [(BATCHES, N), (MEANS, 1)], ids=["small", "large"])
def test_averages_move_once_for_each_update(batches, steps):
    """Keras' ``use_ema``, which begins with the first weights, and ours, which begins at zero, against numpy."""
    weights = [-0.1 * total for total in np.cumsum([kernel for kernel, _ in MEANS], axis=0)]
    ours = 0.5 * weights[0]
    by_keras = weights[0]
    for value in weights[1:]:
        ours, by_keras = 0.5 * ours + 0.5 * value, 0.5 * by_keras + 0.5 * value
    assert np.abs(by_keras - ours).max() > 1e-3
    for make, expected in (
        (lambda: k.SGD(0.1, use_ema=True, ema_momentum=0.5), by_keras),
        (lambda: ema(k.SGD)(0.1, ema_momentum=0.5), ours),
    ):
        optimizer = su.AccumOptimizer(make(), steps)
        variable = keras.Variable(np.zeros((4, 3), "float32"), name="kernel")
        for kernel, _ in batches:
            optimizer.apply([tensor(kernel)], [variable])
        if expected is ours:
            optimizer.apply_ema_weights(bias_correction=False)
        else:
            optimizer.finalize_variable_values([variable])
        np.testing.assert_allclose(to_numpy(variable), expected, atol=1e-6)


def test_nothing_moves_before_a_group_is_full():
    optimizer = su.extend_with_gradient_accumulation(su.AdamW)(0.1, grad_accum_steps=N)
    start = (np.ones((4, 3)), np.ones(3))
    for found, value in zip(trained(optimizer, BATCHES[: N - 1], start), start):
        np.testing.assert_array_equal(found, value)
    assert int(optimizer.iterations) == 0


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_a_variable_without_gradients_is_left_alone():
    used, unused = keras.Variable(tensor([1.0]), name="used"), keras.Variable(tensor([1.0]), name="unused")
    optimizer = su.AccumOptimizer(su.AdamW(0.1), 2)
    for _ in range(2):
        optimizer.apply_gradients([(tensor([1.0]), used), (None, unused)])
    assert to_numpy(unused) == 1 and to_numpy(used) < 1


def test_accum_optimizer_takes_over_all_settings():
    given = k.AdamW(0.1, weight_decay=0.5, name="mine")
    given.exclude_from_weight_decay(var_names=["bias"])
    optimizer = su.AccumOptimizer(given, 1)
    assert optimizer.name == "mine" and isinstance(optimizer, k.AdamW)
    zero = [(np.zeros((4, 3)), np.zeros(3))]
    kernel, bias = trained(optimizer, zero, (np.ones((4, 3)), np.ones(3)))
    np.testing.assert_allclose(kernel, 0.95, rtol=1e-6)
    np.testing.assert_array_equal(bias, 1)
    assert isinstance(su.AccumOptimizer("adam", 2), k.Adam)
    averaging = su.AccumOptimizer(ema(su.AdamW)(0.1, ema_momentum=0.5), 2)
    assert averaging.get_config()["ema_momentum"] == 0.5 and averaging.apply_ema_weights() is None


def test_what_is_refused():
    used = k.SGD(0.1)
    used.build([keras.Variable(tensor([1.0]))])
    with pytest.raises(KerasSuError, match="in use already"):
        su.AccumOptimizer(used, 2)
    with pytest.raises(KerasSuError, match="steps_per_update"):
        su.AccumOptimizer("sgd", 0)
    with pytest.raises(KerasSuError, match="two names for the same thing"):
        su.AccumOptimizer(k.SGD(0.1, gradient_accumulation_steps=2), 2)
    with pytest.raises(KerasSuError, match="extend the optimizer that it wraps"):
        su.AccumOptimizer(k.LossScaleOptimizer(k.SGD(0.1)), 2)


def toy(policy="float32"):
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Dense(5, activation="tanh", dtype=policy), keras.layers.Dense(1, dtype=policy)]
    return keras.Sequential([keras.Input((4,)), *layers])


X = DICE.normal(size=(8, 4)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


def fitted(model, rows=slice(None), batch_size=2, **kwargs):
    model.fit(X[rows], Y[rows], batch_size=batch_size, shuffle=False, verbose=0, **kwargs)
    return model


def assert_same_weights(model, other, atol=0.0):
    for a, b in zip(model.get_weights(), other.get_weights()):
        np.testing.assert_allclose(a, b, atol=atol, rtol=0)


def test_fit_and_resume_in_the_middle_of_a_group(tmp_path):
    """In compiled training, small batches are a large one; a file that was written between two updates loses nothing."""

    def make():
        return ema(lookahead(su.LAMB))(0.05, steps_per_slow_update=1, clipnorm=0.5)

    whole, model = toy(), toy()
    whole.compile(make(), "mse")
    fitted(whole, batch_size=8)
    model.compile(su.AccumOptimizer(make(), 4), "mse")
    fitted(model, slice(0, 6))
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is type(model.optimizer)
    again = toy()
    again.compile(su.AccumOptimizer(make(), 4), "mse")
    again.optimizer.build(again.trainable_variables)
    again.load_weights(tmp_path / "model.weights.h5")
    for other in (model, loaded, again):
        fitted(other, slice(6, 8))
        assert int(other.optimizer.iterations) == 1
        assert_same_weights(other, whole, atol=1e-6)
        for a, b in zip(other.optimizer.variables, model.optimizer.variables):
            np.testing.assert_array_equal(to_numpy(a), to_numpy(b))


class Averages(keras.callbacks.Callback):
    """What scripts do: averages for validation, then back."""

    def __init__(self, optimizer):
        super().__init__()
        self.averaging, self.seen = optimizer, []

    def on_epoch_end(self, epoch, logs=None):
        trained_weights = self.model.get_weights()
        self.averaging.apply_ema_weights()
        self.seen.append((trained_weights, self.model.get_weights(), self.model.predict(X, verbose=0)))
        self.averaging.reset_old_weights()


def test_averages_inside_fit_do_not_disturb_it():
    plain, model = toy(), toy()
    plain.compile(su.Adam(0.05), "mse")
    fitted(plain, batch_size=8, epochs=2)
    optimizer = ema(su.Adam)(0.05, ema_momentum=0.5)
    model.compile(optimizer, "mse")
    watch = Averages(optimizer)
    fitted(model, batch_size=8, epochs=2, callbacks=[watch])
    assert_same_weights(model, plain, atol=1e-6)
    (first, once, _), (second, twice, predicted) = watch.seen
    for a, b, c, d in zip(first, once, second, twice):
        np.testing.assert_allclose(b, a, atol=1e-6)
        np.testing.assert_allclose(d, (0.25 * a + 0.5 * c) / 0.75, atol=1e-6)
    model.set_weights(twice)
    np.testing.assert_allclose(model.predict(X, verbose=0), predicted, atol=1e-5)


def test_float16_with_loss_scaling(tmp_path):
    """The scale is applied to each batch; one that overflows is left out, and the group takes the next one instead."""
    model = toy("mixed_float16")
    model.compile(k.LossScaleOptimizer(su.AccumOptimizer(su.AdamW(0.05), 2), initial_scale=2.0**30), "mse")
    before = model.get_weights()
    fitted(model)
    skipped = 30 - np.log2(float(to_numpy(model.optimizer.dynamic_scale)))
    assert skipped > 0 and int(model.optimizer.iterations) == (4 - skipped) // 2
    model.optimizer.dynamic_scale.assign(2.0**8)
    fitted(model)
    assert all(np.isfinite(w).all() and (w != b).any() for w, b in zip(model.get_weights(), before))


@pytest.mark.skipif(backend() == "torch", reason="gradients of embeddings are always dense there")
@pytest.mark.parametrize(
    "make", [su.AdaFactor, lambda: su.Tiger(weight_decay=0, grad_accum_steps=2), lambda: su.AccumOptimizer(k.SGD(0.1), 2)]
)
def test_gradients_that_name_rows(make):
    """TensorFlow's gradients of embeddings; rows that no token read stay as they are."""
    model = keras.Sequential([keras.Input((2,), dtype="int32"), keras.layers.Embedding(6, 3), keras.layers.Flatten()])
    model.compile(make(), "mse")
    (before,) = model.get_weights()
    model.fit(np.array([[1, 2], [2, 3]] * 2), np.ones((4, 6)), batch_size=2, verbose=0)
    (after,) = model.get_weights()
    changed = (after != before).any(axis=1)
    assert changed[[1, 2, 3]].all() and not changed[[0, 4]].any()
