"""``K``: each function against numpy with the meaning that Keras 2 gives it, and mixtures that scripts rely on."""

import itertools

import keras as real
import numpy as np
import pytest
from helpers import assert_close, to_numpy
from keras import ops

from keras_su import training
from keras_su.backend import K, keras
from keras_su.errors import KerasSuError

A = np.array([[1.0, -2.0, 3.0], [4.0, 0.5, -6.0]], "float32")
B = np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]], "float32")
INTS = np.array([[1, 2, 3], [0, 2, 0]], "int32")
CUBE = np.arange(24, dtype="float32").reshape(2, 3, 4)


def tensor(x):
    return ops.convert_to_tensor(x)


def softmax(x, axis=-1):
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def sums_of(x):
    return np.log(np.exp(x).sum(-1))


FUNCTIONS = {
    "abs": (lambda: K.abs(A), np.abs(A)),
    "all": (lambda: K.all(K.greater(INTS, 0), axis=1), np.array([True, False])),
    "all of numbers": (lambda: K.all(INTS, axis=-1, keepdims=True), np.array([[True], [False]])),
    "any": (lambda: K.any(INTS, axis=0), np.array([True, True, True])),
    "arange": (lambda: K.arange(3), np.arange(3, dtype="int32")),
    "arange from": (lambda: K.arange(1, 7, 2), np.array([1, 3, 5], "int32")),
    "arange dtype": (lambda: K.arange(0, 2, dtype="float32"), np.array([0.0, 1.0], "float32")),
    "arange of a float": (lambda: K.arange(2.0), np.array([0.0, 1.0], "float32")),
    "arange of nothing": (lambda: K.arange(-3), np.zeros(0, "int32")),
    "arange to a tensor": (lambda: K.arange(0, tensor(np.int32(3))), np.arange(3, dtype="int32")),
    "argmax": (lambda: K.argmax(tensor(A)), np.array([2, 0], "int32")),
    "argmin": (lambda: K.argmin(tensor(A), axis=0), np.array([0, 0, 1], "int32")),
    "batch_flatten": (lambda: K.batch_flatten(tensor(CUBE)), CUBE.reshape(2, 12)),
    "bias_add": (lambda: K.bias_add(tensor(CUBE), np.arange(4, dtype="float32")), CUBE + np.arange(4, dtype="float32")),
    "cast": (lambda: K.cast(K.greater(A, 0), K.floatx()), (A > 0).astype("float32")),
    "cast a number": (lambda: K.cast(1, "float32"), np.float32(1)),
    "cast a list": (lambda: K.cast([1, 0], "bool"), np.array([True, False])),
    "cast a shape": (lambda: K.cast(K.shape(A)[1], "float32"), np.float32(3)),
    "cast_to_floatx": (lambda: K.cast_to_floatx(INTS), INTS.astype("float32")),
    "clip": (lambda: K.clip(tensor(A), -1, 2), np.clip(A, -1, 2)),
    "clip above": (lambda: K.clip(tensor(A), None, 2), np.minimum(A, 2)),
    "clip crossed": (lambda: K.clip(tensor(A), 5, 2), np.full_like(A, 5)),
    "clip integers": (lambda: K.clip(tensor(INTS), 1, 2), np.clip(INTS, 1, 2)),
    "constant": (lambda: K.constant([1, 2]), np.array([1, 2], "float32")),
    "constant everywhere": (lambda: K.constant(1, shape=(2, 2), dtype="int32"), np.ones((2, 2), "int32")),
    "constant in a shape": (lambda: K.constant([1, 2, 3, 4], shape=(2, 2)), np.array([[1, 2], [3, 4]], "float32")),
    "cumprod": (lambda: K.cumprod(A, 1), A.cumprod(1)),
    "cumsum": (lambda: K.cumsum(A), A.cumsum(0)),
    "cumsum of integers": (lambda: K.cumsum(INTS, axis=1), INTS.cumsum(1).astype("int32")),
    "dot": (lambda: K.dot(tensor(A), K.transpose(tensor(A))), A @ A.T),
    "dot of 3 and 2 axes": (lambda: K.dot(tensor(CUBE), np.ones((4, 5), "float32")), CUBE @ np.ones((4, 5), "float32")),
    "dot of 3 and 3 axes": (lambda: K.dot(tensor(CUBE), CUBE.reshape(3, 4, 2)), np.dot(CUBE, CUBE.reshape(3, 4, 2))),
    "elu": (lambda: K.elu(tensor(A), 0.5), np.where(A > 0, A, 0.5 * np.expm1(A))),
    "equal": (lambda: K.equal(tensor(INTS), 2), INTS == 2),
    "equal of int and float": (lambda: K.equal(tensor(INTS), tensor(A)), INTS == A),
    "exp": (lambda: K.exp(A), np.exp(A)),
    "expand_dims": (lambda: K.expand_dims(A), A[..., None]),
    "eye": (lambda: K.eye(3), np.eye(3, dtype="float32")),
    "flatten": (lambda: K.flatten(CUBE), CUBE.reshape(-1)),
    "flatten from": (lambda: K.flatten(tensor(CUBE), 1), CUBE.reshape(2, 12)),
    "flatten to": (lambda: K.flatten(tensor(CUBE), 0, 2), CUBE.reshape(6, 4)),
    "gather": (lambda: K.gather(tensor(A), [1, 0, 1]), A[[1, 0, 1]]),
    "gather by floats": (lambda: K.gather(tensor(A), K.constant([[1], [0]])), A[[[1], [0]]]),
    "greater": (lambda: K.greater(tensor(INTS), 1.5), INTS > 1.5),
    "greater_equal": (lambda: K.greater_equal(A, 3), A >= 3),
    "hard_sigmoid": (lambda: K.hard_sigmoid(tensor(A)), np.clip(0.2 * A + 0.5, 0, 1)),
    "identity": (lambda: K.identity(tensor(A)), A),
    "in_top_k": (lambda: K.in_top_k(tensor(A), [2, 1], 1), np.array([True, False])),
    "l2_normalize": (lambda: K.l2_normalize(tensor(A), 1), A / np.linalg.norm(A, axis=1, keepdims=True)),
    "l2_normalize all": (lambda: K.l2_normalize(tensor(A), [0, 1]), A / np.linalg.norm(A)),
    "l2_normalize zeros": (lambda: K.l2_normalize(tensor(0 * A), -1), 0 * A),
    "less": (lambda: K.less(A, 0.5), A < 0.5),
    "less_equal": (lambda: K.less_equal(A, 0.5), A <= 0.5),
    "log": (lambda: K.log(B), np.log(B)),
    "logsumexp": (lambda: K.logsumexp(tensor(A), axis=1), sums_of(A)),
    "logsumexp kept": (lambda: K.logsumexp(tensor(A), [0, 1], True), np.log(np.exp(A).sum())[None, None]),
    "map_fn": (lambda: K.map_fn(lambda row: K.sum(row), tensor(A)), A.sum(1)),
    "max": (lambda: K.max(tensor(A), axis=1), A.max(1)),
    "maximum": (lambda: K.maximum(tensor(A), 1), np.maximum(A, 1)),
    "mean": (lambda: K.mean(tensor(A), axis=[0, 1]), A.mean()),
    "mean of booleans": (lambda: K.mean(K.greater(A, 0)), np.float32(4 / 6)),
    "mean of integers": (lambda: K.mean(tensor(INTS)), np.float32(8 / 6)),
    "min": (lambda: K.min(tensor(A)), A.min()),
    "minimum": (lambda: K.minimum(tensor(A), A[:, ::-1]), np.minimum(A, A[:, ::-1])),
    "not_equal": (lambda: K.not_equal(tensor(INTS), 0), INTS != 0),
    "one_hot": (lambda: K.one_hot(tensor(INTS), 4), np.eye(4, dtype="float32")[INTS]),
    "one_hot of floats": (lambda: K.one_hot(K.constant([1, 0]), 2), np.array([[0, 1], [1, 0]], "float32")),
    "ones": (lambda: K.ones((2, 1), dtype="int32"), np.ones((2, 1), "int32")),
    "ones_like": (lambda: K.ones_like(tensor(A)), np.ones_like(A)),
    "ones_like dtype": (lambda: K.ones_like(tensor(A), dtype="int32"), np.ones_like(INTS)),
    "permute_dimensions": (lambda: K.permute_dimensions(tensor(CUBE), (0, 2, 1)), CUBE.transpose(0, 2, 1)),
    "pow": (lambda: K.pow(tensor(INTS), 2), INTS**2),
    "prod": (lambda: K.prod(tensor(A), 1, True), A.prod(1, keepdims=True)),
    "prod of a shape": (lambda: K.prod(K.shape(tensor(CUBE))[1:]), np.int32(12)),
    "relu": (lambda: K.relu(tensor(A), alpha=0.1, max_value=3), np.where(A > 0, np.minimum(A, 3), 0.1 * A)),
    "relu threshold": (lambda: K.relu(tensor(A), threshold=1.0), np.where(A > 1, A, 0)),
    "repeat": (lambda: K.repeat(tensor(A), 2), np.stack([A, A], 1)),
    "repeat_elements": (lambda: K.repeat_elements(tensor(A), 2, -1), A.repeat(2, -1)),
    "reshape": (lambda: K.reshape(tensor(CUBE), (-1, 2, 4)), CUBE.reshape(-1, 2, 4)),
    "reshape to a list": (lambda: K.reshape(CUBE, [2 * K.shape(A)[1], -1]), CUBE.reshape(6, 4)),
    "reshape axes": (lambda: K.reshape(tensor(CUBE), (1, 2), 0, (-1, 2), 2), CUBE.reshape(1, 2, 3, 2, 2)),
    "reverse": (lambda: K.reverse(tensor(A), 1), A[:, ::-1]),
    "round": (lambda: K.round(np.array([0.5, 1.5, -0.6], "float32")), np.array([0.0, 2.0, -1.0], "float32")),
    "sigmoid": (lambda: K.sigmoid(tensor(A)), 1 / (1 + np.exp(-A))),
    "sign": (lambda: K.sign(A), np.sign(A)),
    "sin, cos": (lambda: K.sin(A) ** 2 + K.cos(A) ** 2, np.ones_like(A)),
    "slice": (lambda: K.slice(tensor(CUBE), [0, 1, 2], [1, -1, 2]), CUBE[:1, 1:, 2:4]),
    "softmax": (lambda: K.softmax(tensor(A), axis=0), softmax(A, 0)),
    "softplus": (lambda: K.softplus(tensor(A)), np.log1p(np.exp(A))),
    "softsign": (lambda: K.softsign(tensor(A)), A / (1 + np.abs(A))),
    "sqrt": (lambda: K.sqrt(tensor(A)), np.sqrt(np.maximum(A, 0))),
    "square": (lambda: K.square(A), A**2),
    "squeeze": (lambda: K.squeeze(A[None], 0), A),
    "stack": (lambda: K.stack([tensor(A), 0 * A], 2), np.stack([A, 0 * A], 2)),
    "std": (lambda: K.std(tensor(A), axis=0), A.std(0)),
    "stop_gradient": (lambda: K.stop_gradient(tensor(A)), A),
    "sum": (lambda: K.sum(tensor(A), axis=1, keepdims=True), A.sum(1, keepdims=True)),
    "sum of booleans": (lambda: K.sum(K.equal(INTS, 2)), np.float32(2)),
    "sum of a cast": (lambda: K.sum(K.cast(K.equal(tensor(INTS), 2), "int32"), axis=0), np.array([0, 2, 0], "int32")),
    "sum of a list": (lambda: K.sum([1.0, 2.0]), np.float32(3)),
    "tanh": (lambda: K.tanh(A), np.tanh(A)),
    "temporal_padding": (lambda: K.temporal_padding(tensor(CUBE), (0, 2)), np.pad(CUBE, [(0, 0), (0, 2), (0, 0)])),
    "tile": (lambda: K.tile(tensor(A), (2, 1)), np.tile(A, (2, 1))),
    "transpose": (lambda: K.transpose(tensor(CUBE)), CUBE.T),
    "update": (lambda: K.update(K.variable(A), 2 * A), 2 * A),
    "update_add": (lambda: K.update_add(K.variable(A), A), 2 * A),
    "update_sub": (lambda: K.update_sub(K.variable(A), A), 0 * A),
    "moving_average_update": (lambda: K.moving_average_update(K.variable(A), A + 1, 0.75), A + 0.25),
    "var": (lambda: K.var(tensor(A)), A.var()),
    "variable": (lambda: K.variable(INTS), INTS.astype("float32")),
    "where": (lambda: K.where(K.greater(A, 0), tensor(A), 0), np.maximum(A, 0)),
    "where broadcasts": (lambda: K.where(INTS[:, :1] > 0, A[0], tensor(A)), np.stack([A[0], A[1]])),
    "where of integers": (lambda: K.where(tensor(INTS), 1, 0), np.where(INTS, 1, 0).astype("float32")),
    "where keeps the dtype": (lambda: K.where(tensor(INTS), tensor(INTS), -1), np.where(INTS, INTS, -1).astype("int32")),
    "zeros": (lambda: K.zeros((2, 3)), np.zeros((2, 3), "float32")),
    "zeros_like": (lambda: K.zeros_like(tensor(INTS)), 0 * INTS),
    # ---- several tensors
    "concatenate": (lambda: K.concatenate([tensor(A), B], 0), np.concatenate([A, B])),
    "concatenate a list": (lambda: K.concatenate([[0], tensor(A[0])], 0), np.array([0, *A[0]], "float32")),
    "concatenate with integers": (lambda: K.concatenate([[0], tensor(INTS[0])], 0), np.array([0, 1, 2, 3], "int32")),
    "concatenate int and float": (
        lambda: K.concatenate([tensor(INTS), tensor(A)]),
        np.concatenate([INTS, A], 1).astype("float32"),
    ),
    "concatenate floats to integers": (lambda: K.concatenate([tensor(INTS[0]), [0.5]]), np.array([1, 2, 3, 0.5], "float32")),
    "switch": (lambda: K.switch(K.greater(A, 0), tensor(A), 0 * A), np.maximum(A, 0)),
    "switch rows": (lambda: K.switch(tensor(np.array([True, False])), tensor(A), -A), A * [[1], [-1]]),
    "switch by a number": (lambda: K.switch(tensor(np.int32(1)), tensor(A), tensor(-A)), A),
    "switch functions": (lambda: K.switch(tensor(False), lambda: tensor(A), lambda: tensor(-A)), -A),
    "switch functions by rows": (lambda: K.switch(np.array([1, 0]), lambda: tensor(A), lambda: tensor(-A)), A * [[1], [-1]]),
    # ---- losses
    "categorical_crossentropy": (lambda: K.categorical_crossentropy([[0, 0, 1], [1, 0, 0]], tensor(B)), -np.log([0.5, 0.1])),
    "categorical_crossentropy unnormalised": (
        lambda: K.categorical_crossentropy(np.eye(3, dtype="float32")[:2], tensor(2 * B)),
        -np.log([0.2, 0.1]),
    ),
    "categorical_crossentropy from logits": (
        lambda: K.categorical_crossentropy(B, tensor(A), from_logits=True),
        sums_of(A) - (A * B).sum(-1),
    ),
    "categorical_crossentropy axis": (
        lambda: K.categorical_crossentropy(np.array([[0, 0], [0, 1], [1, 0]]), tensor(B.T), axis=0),
        -np.log([0.5, 0.1]),
    ),
    "sparse_categorical_crossentropy": (lambda: K.sparse_categorical_crossentropy([2, 0], tensor(B)), -np.log([0.5, 0.1])),
    "sparse_categorical_crossentropy of floats": (
        lambda: K.sparse_categorical_crossentropy(K.constant([2, 0]), tensor(A), from_logits=True),
        sums_of(A) - A[[0, 1], [2, 0]],
    ),
    "sparse_categorical_crossentropy (b, n, 1)": (
        lambda: K.sparse_categorical_crossentropy(tensor(np.array([[[2.0], [0.0]]])), tensor(B[None])),
        -np.log([[0.5, 0.1]]),
    ),
    "sparse_categorical_crossentropy axis": (
        lambda: K.sparse_categorical_crossentropy(np.array([2, 0]), tensor(B.T), axis=0),
        -np.log([0.5, 0.1]),
    ),
    "binary_crossentropy": (lambda: K.binary_crossentropy(tensor(INTS[:, :1] > 0), tensor(B[:, :1])), -np.log([[0.2], [0.9]])),
    "binary_crossentropy from logits": (
        lambda: K.binary_crossentropy(tensor(np.ones_like(A)), tensor(A), from_logits=True),
        np.log1p(np.exp(-A)),
    ),
    "binary_crossentropy without hope": (
        lambda: K.binary_crossentropy([0.0], K.constant([1.0])),
        np.array([15.33324], "float32"),
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_mean_what_they_meant(name):
    run, expected = FUNCTIONS[name]
    found = to_numpy(run())
    assert found.shape == np.shape(expected)
    kind = np.asarray(expected).dtype
    assert found.dtype == kind or kind == "float64"  # the losses' oracles are float64
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


USED_BY_SCRIPTS = """cast floatx sum sparse_categorical_crossentropy mean shape reshape equal not_equal concatenate l2_normalize
prod greater arange categorical_crossentropy dot eval transpose argmax gradients zeros_like cumsum epsilon int_shape logsumexp
one_hot random_uniform set_value abs eye function repeat_elements stop_gradient switch truncated_normal zeros clip
binary_crossentropy constant gather in_train_phase ones_like random_binomial random_normal""".split()


def test_every_function_is_there_and_says_what_it_does():
    for name in USED_BY_SCRIPTS:
        assert callable(getattr(K, name)), name
    public = [value for name, value in vars(K).items() if callable(value) and not name.startswith("_")]
    assert len(public) > 100 and all(value.__doc__ for value in public if value is not K.name_scope)
    assert K.relu6 is ops.relu6  # what K lacks comes from keras.ops


def numpy_batch_dot(x, y, axes):
    """Sample by sample."""
    rows = [np.tensordot(a, b, axes=[[axes[0] - 1], [axes[1] - 1]]) for a, b in zip(x, y)]
    result = np.stack(rows)
    return result[:, None] if result.ndim == 1 else result


@pytest.mark.parametrize("ranks", list(itertools.product((2, 3, 4), repeat=2)))
def test_batch_dot(ranks):
    dice = np.random.default_rng(0)
    x, y = (dice.normal(size=(2, 3, 3, 3)[:rank]).astype("float32") for rank in ranks)
    defaults = (ranks[0] - 1, 1 if ranks[1] == 2 else ranks[1] - 2)
    assert_close(K.batch_dot(tensor(x), tensor(y)), numpy_batch_dot(x, y, defaults))
    for axes in itertools.product(range(1, ranks[0]), range(1, ranks[1])):
        assert_close(K.batch_dot(tensor(x), tensor(y), axes), numpy_batch_dot(x, y, axes))
        if axes[0] == axes[1]:
            assert_close(K.batch_dot(tensor(x), tensor(y), axes[0]), numpy_batch_dot(x, y, axes))
    assert_close(K.batch_dot(tensor(x), tensor(y), -1), numpy_batch_dot(x, y, (ranks[0] - 1, ranks[1] - 1)))
    for axes in (0, (1, ranks[1]), (ranks[0], 1)):
        with pytest.raises(KerasSuError, match="K.batch_dot: axes"):
            K.batch_dot(tensor(x), tensor(y), axes)


def test_losses_of_scripts_with_masks():
    """The usual lines: a mask made of labels, cut, cast, multiplied, divided."""
    y_true, y_pred = np.array([[1, 2, 0, 0], [2, 0, 1, 0]]), softmax(np.random.default_rng(1).normal(size=(2, 4, 3)))
    y_pred = tensor(y_pred.astype("float32"))
    y_mask = K.cast(K.not_equal(tensor(y_true), 0), K.floatx())[:, 1:]
    loss = K.sparse_categorical_crossentropy(tensor(y_true)[:, 1:], y_pred[:, :-1])
    found = K.sum(loss * y_mask) / K.sum(y_mask)
    kept = [(0, 0, 2), (1, 1, 1)]
    assert_close(found, np.mean([-np.log(to_numpy(y_pred)[row, place, label]) for row, place, label in kept]))
    correct = K.cast(K.equal(tensor(y_true), K.argmax(y_pred, axis=-1)), K.floatx())
    assert_close(K.mean(correct), np.mean(y_true == to_numpy(y_pred).argmax(-1)))


def test_sizes_of_batches():
    """``K.shape`` where lengths are known when the function runs, as in losses that compare a batch with itself."""

    class Similarity(real.layers.Layer):
        def call(self, x):
            size = K.shape(x)[0]
            index = K.arange(0, size)
            labels = K.cast(K.equal(index[None, :], (index + 1 - index % 2 * 2)[:, None]), K.floatx())
            scores = K.dot(K.l2_normalize(x, 1), K.transpose(K.l2_normalize(x, 1))) - K.eye(size) * 1e12
            return K.categorical_crossentropy(labels, scores * 20, from_logits=True)

    x = real.Input((3,))
    model = real.Model(x, Similarity()(x))
    for rows in (2, 4):
        data = np.random.default_rng(2).normal(size=(rows, 3)).astype("float32")
        unit = data / np.linalg.norm(data, axis=1, keepdims=True)
        scores = 20 * (unit @ unit.T) - 2e13 * np.eye(rows)
        wanted = sums_of(scores) - scores[np.arange(rows), np.arange(rows) ^ 1]
        np.testing.assert_allclose(model.predict(data, verbose=0), wanted, rtol=1e-4, atol=1e-4)


def test_in_graphs_outside_of_layers():
    x, y = real.Input((None, 4)), real.Input((None, 4))
    model = real.Model([x, y], K.sum(K.concatenate([K.mean(x, 1), K.max(y, 1)]) * 2, axis=-1, keepdims=True))
    assert K.int_shape(x) == K.shape(x) == (None, None, 4) and K.ndim(x) == 3 and K.is_keras_tensor(x)
    found = model.predict([CUBE, -CUBE], verbose=0)
    np.testing.assert_allclose(found, 2 * (CUBE.mean(1) - CUBE.min(1)).sum(-1, keepdims=True), rtol=1e-5)
    assert K.reshape(x, (K.shape(x)[0], 8, 2)).shape == (None, 8, 2)
    assert K.flatten(x, 0, 2).shape == (None, 4) and K.batch_dot(x, y, 2).shape == (None, None, None)


def test_shapes_and_values():
    variable = K.variable(A, name="some/name")
    assert K.int_shape(variable) == (2, 3) and K.ndim(variable) == 2 and K.count_params(variable) == 6
    assert K.dtype(variable) == "float32" and K.dtype(3) is None and K.dtype(INTS) == "int32"
    assert isinstance(K.eval(K.variable(2.0)), np.float32) and K.get_value(variable).tolist() == A.tolist()
    K.set_value(variable, 2 * A)
    K.batch_set_value([(variable, K.get_value(variable) + 1)])
    np.testing.assert_array_equal(K.batch_get_value([variable])[0], 2 * A + 1)
    with pytest.raises(KerasSuError, match="constraints"):
        K.variable(A, constraint="non_neg")
    optimizer = real.optimizers.SGD(0.5)
    K.set_value(optimizer.learning_rate, 0.25)
    assert K.eval(optimizer.learning_rate) == 0.25
    optimizer = real.optimizers.SGD(real.optimizers.schedules.InverseTimeDecay(0.5, 1, 1.0))
    assert K.get_value(optimizer.learning_rate) == 0.5
    with pytest.raises(KerasSuError, match="K.set_value: .*no variable"):
        K.set_value(0.5, 0.25)


def test_training_or_not():
    x = real.Input((3,))
    model = real.Model(x, real.layers.Lambda(lambda x: K.in_train_phase(lambda: x * 0, x), output_shape=(3,))(x))
    model.compile("sgd", "mse")
    assert model.fit(A, A, verbose=0).history["loss"] == pytest.approx([np.mean(A**2)])
    np.testing.assert_array_equal(model.predict(A, verbose=0), A)

    class Layer(real.layers.Layer):  # which takes no ``training``
        def call(self, x):
            return K.in_train_phase(lambda: x * 0, x)

    model = keras.models.Model(x, Layer()(x))
    model.compile("sgd", "mse")
    assert model.fit(A, A, verbose=0).history["loss"] == pytest.approx([np.mean(A**2)])
    assert model.evaluate(A, A, verbose=0) == 0
    assert K.learning_phase() is False and K.in_test_phase(1, 2) == 1
    assert K.in_train_phase(1, 2, training=True) == 1
    assert_close(K.in_train_phase(A, -A, training=tensor(True)), A)


def test_what_is_gone_names_what_to_use():
    for name, hint in {
        "gradients": "gradient_penalty",
        "function": "keras.models.Model",
        "get_session": "everything runs at once",
        "placeholder": "keras.Input",
        "set_learning_phase": "training=True",
        "batch_normalization": "keras.layers.BatchNormalization",
    }.items():
        with pytest.raises(KerasSuError, match=f"K.{name} does not exist on Keras 3. .*{hint}"):
            getattr(K, name)(1, 2)
    for name in ("gradients", "function"):
        with pytest.raises(KerasSuError, match="keras_su.training") as caught:
            getattr(K, name)()
        words = str(caught.value).partition("keras_su.training:")[2].replace(".", "").split(",")
        assert len(words) >= 2 and all(word.split("(")[0].strip() in [*training.__all__, "inputs)"] for word in words)
    with pytest.raises(AttributeError, match="K has no 'sparse_categorical_crossentrpy'. Did you mean 'sparse_categorical_cross"):
        K.sparse_categorical_crossentrpy  # noqa: B018
    with pytest.raises(KerasSuError, match="K.switch: axes of the condition"):
        K.switch(A > 0, tensor(A[0]), tensor(A[0]))


def test_labels_in_an_axis_of_a_length_that_is_not_known():
    """As behind ``Input(shape=(None,))``, whose rows hold one label each."""
    labels, probabilities = keras.layers.Input((None,)), keras.layers.Input((3,))
    assert K.sparse_categorical_crossentropy(labels, probabilities).shape == (None,)
    found = K.sparse_categorical_crossentropy(np.array([[1.0], [2.0]]), ops.convert_to_tensor([[0.5, 0.25, 0.25]] * 2))
    np.testing.assert_allclose(K.eval(found), -np.log([0.25, 0.25]), rtol=1e-5)
