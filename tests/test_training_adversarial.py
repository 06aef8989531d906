"""Changed training against the same step in numpy, and what it must not change: weights, dropout, files."""

import keras
import numpy as np
import pytest
from helpers import backend, to_numpy
from keras import ops

from keras_su.errors import KerasSuError
from keras_su.layers import Embedding
from keras_su.training import adversarial_training, gradient_penalty, plain_training, virtual_adversarial_training, with_unlabeled

IDS = np.array([[1, 2, 2], [3, 1, 4], [4, 4, 4], [0, 2, 3]])
LABELS = np.array([[1.0], [0.0], [1.0], [0.0]], "float32")
RATE = 0.5


def logistic_model(optimizer=None, loss="binary_crossentropy"):
    """The mean of three embeddings, a weight vector, a bias; small enough for numpy."""
    ids = keras.Input((3,), dtype="int32")
    hidden = Embedding(5, 4, embeddings_initializer="normal", name="Embedding-Token")(ids)
    hidden = keras.layers.GlobalAveragePooling1D()(hidden)
    model = keras.Model(ids, keras.layers.Dense(1, activation="sigmoid", bias_initializer="ones")(hidden))
    model.set_weights([20 * w for w in model.get_weights()[:1]] + model.get_weights()[1:])
    model.compile(optimizer or keras.optimizers.SGD(RATE), loss)
    return model


class Numpy:
    """The logistic model in float64: loss and gradients at weights, with something added to the embedded tokens."""

    def __init__(self, weights, added=0.0):
        self.table, self.kernel, self.bias = (np.asarray(w, "float64") for w in weights)
        hidden = (self.table[IDS] + added).mean(axis=1)
        self.p = 1 / (1 + np.exp(-(hidden @ self.kernel + self.bias)))
        self.loss = -np.mean(LABELS * np.log(self.p) + (1 - LABELS) * np.log(1 - self.p))
        slope = (self.p - LABELS) / len(IDS)
        self.at_tokens = np.repeat((slope @ self.kernel.T / 3)[:, None], 3, axis=1)
        self.at_table = np.zeros_like(self.table)
        np.add.at(self.at_table, IDS, self.at_tokens)
        self.gradients = [self.at_table, hidden.T @ slope, slope.sum(axis=0)]


def moved(weights, gradients):
    """Weights after a step of SGD."""
    return [w - RATE * g for w, g in zip(weights, gradients)]


def length(*arrays):
    return np.sqrt(sum((a**2).sum() for a in arrays))


def attack(weights, target, epsilon, steps, alpha):
    """The logistic model at the perturbed point."""
    offsets = [np.zeros_like(w) for w in weights] if target != "activations" else np.zeros((4, 3, 4))
    for _ in range(steps):
        if target == "activations":
            uphill = Numpy(weights, offsets).at_tokens
            offsets = offsets + alpha * uphill / np.sqrt((uphill**2).sum(axis=(1, 2), keepdims=True))
            norms = np.sqrt((offsets**2).sum(axis=(1, 2), keepdims=True))
            offsets = offsets * np.minimum(1, epsilon / norms)
        else:
            uphill = Numpy([w + o for w, o in zip(weights, offsets)]).gradients
            uphill = uphill if target == "parameters" else [uphill[0], 0 * uphill[1], 0 * uphill[2]]
            offsets = [o + alpha * g / length(*uphill) for o, g in zip(offsets, uphill)]
            offsets = [o * min(1, epsilon / length(*offsets)) for o in offsets]
    if target == "activations":
        return Numpy(weights, offsets)
    return Numpy([w + o for w, o in zip(weights, offsets)])


@pytest.mark.parametrize(
    "target, epsilon, steps, alpha",
    [("matrix", 0.5, 1, None), ("activations", 0.5, 1, None), ("parameters", 0.05, 1, None), ("matrix", 0.6, 3, 0.25)],
)
def test_one_step_is_that_of_numpy(target, epsilon, steps, alpha):
    """The gradient of the perturbed point moves the unperturbed weights."""
    model = logistic_model()
    name = "parameters" if target == "parameters" else "Embedding-Token"
    where = "matrix" if target == "parameters" else target
    adversarial_training(model, name, epsilon, steps=steps, alpha=alpha, target=where)
    before = model.get_weights()
    worst = attack(before, target, epsilon, steps, alpha or epsilon)
    logged = model.train_on_batch(IDS, LABELS)
    assert float(logged) == pytest.approx(worst.loss, rel=1e-5)
    for found, wanted in zip(model.get_weights(), moved(before, worst.gradients)):
        np.testing.assert_allclose(found, wanted, atol=2e-6)


def test_the_loss_grows_by_the_length_of_the_gradient():
    """To first order a perturbation of length epsilon raises the loss by epsilon times the gradient's length."""
    model = adversarial_training(logistic_model(), epsilon=0.01)
    clean = Numpy(model.get_weights())
    growth = float(model.train_on_batch(IDS, LABELS)) - clean.loss
    assert growth == pytest.approx(0.01 * length(clean.at_table), rel=0.05)


@pytest.mark.parametrize("target", ["activations", "matrix", "parameters"])
def test_penalty_in_closed_form(target):
    """The loss is a formula; its step follows from differences of that formula."""
    epsilon = 2.0

    def objective(weights):
        at = Numpy(weights)
        found = {"activations": [at.at_tokens], "matrix": [at.at_table], "parameters": at.gradients}[target]
        return at.loss + epsilon / 2 * length(*found) ** 2

    model = logistic_model()
    before = model.get_weights()
    name = "parameters" if target == "parameters" else "Embedding-Token"
    gradient_penalty(model, name, epsilon, target="matrix" if target == "parameters" else target)
    assert float(model.train_on_batch(IDS, LABELS)) == pytest.approx(objective(before), rel=1e-5)
    assert objective(before) - Numpy(before).loss > 1e-3
    for number, found in enumerate(model.get_weights()):
        for index in np.ndindex(found.shape):
            ends = []
            for step in (1e-5, -1e-5):
                weights = [w.astype("float64") for w in before]
                weights[number][index] += step
                ends.append(objective(weights))
            assert before[number][index] - found[index] == pytest.approx(RATE * (ends[0] - ends[1]) / 2e-5, abs=3e-6)


@pytest.mark.parametrize("iters", [0, 30])
def test_power_iteration_finds_the_direction_of_the_greatest_change(iters):
    """A linear model and squared differences: the divergence of a direction is a quadratic form with known eigenvalues."""
    ids = keras.Input((1,), dtype="int32")
    table = Embedding(5, 4, name="Embedding-Token")
    outputs = keras.layers.Dense(6, use_bias=False, kernel_initializer="orthogonal")(keras.layers.Flatten()(table(ids)))
    model = keras.Model(ids, outputs)
    scale = np.array([3.0, 2.0, 1.0, 0.5])
    kernel = scale[:, None] * model.get_weights()[1]
    model.set_weights([model.get_weights()[0], kernel])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x, y = np.array([[1], [2]]), np.zeros((2, 6), "float32")
    clean = float(model.evaluate(x, y, verbose=0))
    virtual_adversarial_training(model, epsilon=0.3, iters=iters, divergence="mse", target="activations", seed=3)
    change = float(model.train_on_batch(x, y)) - clean
    greatest = 0.3**2 * 3.0**2 / 6
    assert change == pytest.approx(greatest, rel=1e-3) if iters else 0 < change < 0.9 * greatest


def test_directions_differ_from_step_to_step_and_follow_from_the_seed():
    def losses(seed):
        model = logistic_model(keras.optimizers.SGD(0.0))
        virtual_adversarial_training(model, iters=0, divergence="mse", seed=seed)
        return [float(model.train_on_batch(IDS, LABELS)) for _ in range(3)]

    keras.utils.set_random_seed(1)
    first = losses(1)
    keras.utils.set_random_seed(1)
    assert len(set(first)) == 3 and losses(1) == first


def dropout_model(dtype=None):
    ids = keras.Input((3,), dtype="int32")
    hidden = Embedding(5, 4, mask_zero=True, name="Embedding-Token", dtype=dtype)(ids)
    hidden = keras.layers.Dropout(0.4, dtype=dtype)(hidden)
    hidden = keras.layers.BatchNormalization(dtype=dtype)(hidden)
    hidden = keras.layers.Dense(5, activation="tanh", dtype=dtype)(hidden)
    hidden = keras.layers.GlobalAveragePooling1D(dtype=dtype)(hidden)
    return keras.Model(ids, keras.layers.Dense(2, activation="softmax", dtype=dtype)(hidden))


METHODS = {
    "fgm": lambda model, epsilon: adversarial_training(model, epsilon=epsilon),
    "activations": lambda model, epsilon: adversarial_training(model, epsilon=epsilon, target="activations"),
    "vat": lambda model, epsilon: virtual_adversarial_training(model, epsilon=epsilon),
    "penalty": lambda model, epsilon: gradient_penalty(model, epsilon=epsilon),
}


def trained(change):
    """Three steps from the same beginning: what was logged, and all variables afterwards."""
    keras.utils.set_random_seed(3)
    model = dropout_model()
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
    change(model)
    weight = np.array([1.0, 2.0, 0.0, 1.0])
    logs = [model.train_on_batch(IDS, LABELS[:, 0], sample_weight=weight, return_dict=True) for _ in range(3)]
    return [{k: float(v) for k, v in each.items()} for each in logs], [to_numpy(v) for v in model.variables]


@pytest.fixture(scope="module")
def trained_by_keras():
    return trained(lambda model: None)


@pytest.mark.parametrize("method", METHODS)
def test_dropout_and_statistics_are_those_of_ordinary_training(method, trained_by_keras):
    """With hardly any perturbation the training is Keras': one draw of dropout and one update of statistics a step."""
    plain_logs, plain = trained_by_keras
    logs, changed = trained(lambda model: METHODS[method](model, 1e-7))
    assert logs == [pytest.approx(each, abs=1e-5) for each in plain_logs]
    for found, wanted in zip(changed, plain):
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert len({log["loss"] for log in logs}) == 3


@pytest.mark.parametrize("method", METHODS)
def test_weights_are_not_perturbed_to_the_last_bit(method):
    model = METHODS[method](logistic_model(keras.optimizers.SGD(0.0)), 0.5)
    before = model.get_weights()
    model.train_on_batch(IDS, LABELS)
    assert all(np.array_equal(found, wanted) for found, wanted in zip(model.get_weights(), before))


def test_an_exception_in_the_second_pass_leaves_nothing_behind():
    passes = []

    def fails(x):
        passes.append(x)
        if len(passes) == 2:
            raise RuntimeError("in the middle")
        return x

    ids = keras.Input((3,), dtype="int32")
    hidden = keras.layers.GlobalAveragePooling1D()(Embedding(5, 4, name="Embedding-Token")(ids))
    model = keras.Model(ids, keras.layers.Dense(1, activation=fails)(hidden))
    # JAX runs Python again for a batch of another size; step by step it would compile every operation.
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=backend() != "jax")
    adversarial_training(model, target="activations")
    passes[:] = [None] * 10
    model.train_on_batch(IDS, LABELS)
    before, passes[:] = model.get_weights(), []
    with pytest.raises(RuntimeError, match="in the middle"):
        model.train_on_batch(IDS[:3], LABELS[:3])
    assert len(passes) == 2
    assert all(np.array_equal(found, wanted) for found, wanted in zip(model.get_weights(), before))
    expected = before[0][IDS].mean(axis=1) @ before[1] + before[2]
    np.testing.assert_allclose(model.predict(IDS, verbose=0), expected, atol=1e-6)
    assert np.isfinite(plain_training(model).train_on_batch(IDS, LABELS))


def test_steps_are_compiled():
    """On JAX and TensorFlow Python runs while the first batch is traced and never again."""
    calls = []

    def counting(x):
        calls.append(x)
        return x

    ids = keras.Input((3,), dtype="int32")
    hidden = keras.layers.GlobalAveragePooling1D()(Embedding(5, 4, name="Embedding-Token")(ids))
    model = keras.Model(ids, keras.layers.Dense(1, activation=counting)(hidden))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    adversarial_training(model)
    losses, counts = [], []
    for _ in range(3):
        losses.append(float(model.train_on_batch(IDS, LABELS)))
        counts.append(len(calls))
    assert losses[0] > losses[1] > losses[2]
    assert counts[2] == (counts[1] if backend() != "torch" else counts[1] + 2)


def test_fit_with_everything_around_it(tmp_path):
    """Metrics, weights, callbacks, validation, a generator; the file that is saved holds an ordinary model."""
    model = dropout_model()
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    adversarial_training(model)
    y = np.array([0, 1, 1, 0])
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="val_accuracy", save_best_only=True)
    batches = (each for each in [(IDS, y, np.ones(4))] * 4)
    around = {"validation_data": (IDS, y), "callbacks": [checkpoint], "shuffle": False, "verbose": 0}
    history = model.fit(batches, steps_per_epoch=2, epochs=2, **around)
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"} and len(history.history["loss"]) == 2
    model.save(tmp_path / "last.keras")
    loaded = keras.models.load_model(tmp_path / "last.keras")
    assert type(loaded) is type(dropout_model()) and "train_step" not in vars(loaded)
    np.testing.assert_allclose(loaded.predict(IDS, verbose=0), model.predict(IDS, verbose=0), atol=1e-6)
    adversarial_training(loaded)  # compiled as it was


def test_losses_of_layers_alone():
    """No labels, no compiled loss: bert4keras' `Loss` layers."""

    @keras.saving.register_keras_serializable("tests")
    class SquaredError(keras.layers.Layer):
        def call(self, inputs):
            self.add_loss(ops.mean((inputs[0] - inputs[1]) ** 2))
            return inputs[0]

    ids, label = keras.Input((3,), dtype="int32"), keras.Input((1,))
    hidden = keras.layers.GlobalAveragePooling1D()(Embedding(5, 4, embeddings_regularizer="l2", name="Embedding-Token")(ids))
    model = keras.Model([ids, label], SquaredError()([keras.layers.Dense(1)(hidden), label]))
    model.compile(keras.optimizers.SGD(0.1))
    clean = float(model.evaluate([IDS, LABELS], verbose=0))
    adversarial_training(model, epsilon=0.1)
    losses = model.fit([IDS, LABELS], batch_size=4, epochs=3, verbose=0).history["loss"]
    assert losses[0] > clean and losses == sorted(losses, reverse=True)


def test_several_outputs_and_a_table_that_is_also_the_head():
    """The matrix is perturbed wherever it is used: the logged loss is that of a model with perturbed weights."""
    ids = keras.Input((3,), dtype="int32")
    table = Embedding(5, 4, name="Embedding-Token")
    hidden = table(ids)
    words = keras.layers.Activation("softmax", name="words")(table(keras.layers.Dense(4)(hidden), mode="dense"))
    score = keras.layers.Dense(1, name="score")(keras.layers.GlobalAveragePooling1D()(hidden))
    model = keras.Model(ids, [words, score])
    model.compile(keras.optimizers.SGD(0.0), ["sparse_categorical_crossentropy", "mse"])
    targets = [IDS, LABELS]

    before = model.get_weights()

    def losses(added):
        """The sum and both losses, in float64; the table is looked up for the ids and multiplied with for the words."""
        table, kernel, bias, score_kernel, score_bias = (w.astype("float64") for w in before)
        hidden = (table + added)[IDS]
        powers = np.exp((hidden @ kernel + bias) @ (table + added).T)
        words = np.log(powers.sum(axis=-1)) - np.log(np.take_along_axis(powers, IDS[..., None], axis=-1))[..., 0]
        score = (hidden.mean(axis=1) @ score_kernel + score_bias - LABELS) ** 2
        return np.array([words.mean() + score.mean(), words.mean(), score.mean()])

    gradient = np.zeros((5, 4))
    for index in np.ndindex(5, 4):
        step = np.zeros((5, 4))
        step[index] = 1e-5
        gradient[index] = losses(step)[0] - losses(-step)[0]
    adversarial_training(model, epsilon=0.5)
    logged = np.array(model.train_on_batch(IDS, targets))
    np.testing.assert_allclose(logged[:3], losses(0.5 * gradient / length(gradient)), rtol=1e-4)
    assert logged[0] > losses(0)[0] + 0.01


def test_small_gradients_survive_16_bits():
    """The optimizer's scale of the loss does not enter the result."""

    def logged(dtype):
        keras.utils.set_random_seed(3)
        model = logistic_model_in(dtype)
        gradient_penalty(model, epsilon=3000.0)
        found = [float(model.train_on_batch(IDS, LABELS)) for _ in range(2)]
        return found, model.optimizer

    (wide, _), (narrow, optimizer) = logged("float32"), logged("mixed_float16")
    assert type(optimizer).__name__ == "LossScaleOptimizer"
    assert narrow == pytest.approx(wide, rel=0.03) and wide[1] < wide[0]


def logistic_model_in(dtype):
    ids = keras.Input((3,), dtype="int32")
    hidden = keras.layers.Flatten(dtype=dtype)(Embedding(5, 4, name="Embedding-Token", dtype=dtype)(ids))
    model = keras.Model(
        ids, keras.layers.Dense(1, kernel_initializer=keras.initializers.RandomNormal(stddev=1e-3), dtype=dtype)(hidden)
    )
    optimizer = keras.optimizers.SGD(1e-4)
    model.compile(keras.optimizers.LossScaleOptimizer(optimizer) if dtype == "mixed_float16" else optimizer, "mse")
    return model


def test_accumulated_gradients():
    """Two batches, one update with their mean."""
    model = logistic_model(keras.optimizers.SGD(RATE, gradient_accumulation_steps=2))
    before = model.get_weights()
    adversarial_training(model)
    model.train_on_batch(IDS, LABELS)
    model.train_on_batch(IDS, LABELS)
    for found, wanted in zip(model.get_weights(), moved(before, attack(before, "matrix", 0.5, 1, 0.5).gradients)):
        np.testing.assert_allclose(found, wanted, atol=2e-6)


def test_rows_without_labels_change_only_the_divergence():
    model = logistic_model(keras.optimizers.SGD(0.0))
    texts = [np.array([[1, 2, 3], [2, 2, 2], [4, 1, 0]])]
    (x, y, weight), *rest = with_unlabeled([(IDS, LABELS)], texts)
    assert not rest and x.tolist() == [*IDS.tolist(), *texts[0].tolist()] and y[4:].tolist() == [[0]] * 3
    assert float(model.train_on_batch(x, y, sample_weight=weight)) == pytest.approx(Numpy(model.get_weights()).loss, rel=1e-5)
    two = next(with_unlabeled([([IDS, IDS], LABELS, np.array([1.0, 0, 0, 1]))], [([IDS[:1, :2]] * 2, None)]))
    assert [each.shape for each in two[0]] == [(5, 3)] * 2 and two[2].tolist() == [1.25, 0, 0, 1.25, 0]
    with pytest.raises(KerasSuError, match="y is None"):
        next(with_unlabeled([(IDS, None)], texts))


def test_what_is_refused_and_undone():
    fresh = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")], name="fresh")
    with pytest.raises(KerasSuError, match="'fresh' is not compiled: call model.compile"):
        adversarial_training(fresh, "dense")
    fresh.compile("sgd", "mse")
    with pytest.raises(KerasSuError, match="Unknown layer of 'fresh' 'dence'. Did you mean 'dense'?"):
        adversarial_training(fresh, "dence")
    with pytest.raises(KerasSuError, match="the weights of 'dense': kernel, bias"):
        adversarial_training(fresh, "dense")
    with pytest.raises(KerasSuError, match="Unknown target 'matrices'. Did you mean 'matrix'?"):
        gradient_penalty(fresh, "dense", target="matrices")
    for arguments in ({"epsilon": 0}, {"epsilon": "0.5"}, {"steps": 0}, {"alpha": -1.0}):
        with pytest.raises(KerasSuError, match="expected a positive"):
            adversarial_training(fresh, "dense", target="activations", **arguments)
    with pytest.raises(KerasSuError, match="nothing to undo"):
        plain_training(fresh)
    gradient_penalty(fresh, "dense")
    with pytest.raises(KerasSuError, match="changed before: call plain_training"):
        adversarial_training(fresh, "dense", target="activations")
    assert plain_training(fresh) is fresh and "train_step" not in vars(fresh)

    class Own(keras.Model):
        def train_step(self, *arguments):
            raise NotImplementedError

    unbuilt = keras.Sequential([keras.layers.Dense(2)])
    unbuilt.compile("sgd", "mse")
    with pytest.raises(KerasSuError, match="no trainable weights. If it is not built yet"):
        gradient_penalty(unbuilt, "parameters")
    own = Own()
    own.compile("sgd", "mse")
    with pytest.raises(KerasSuError, match="Own has a train_step of its own"):
        gradient_penalty(own, "parameters")
