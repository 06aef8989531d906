"""Models that take the spellings of Keras 2: generators with lists, nested lists, weight files of any name, old methods."""

import os

import h5py
import keras as real
import numpy as np
import pytest
from helpers import backend, to_numpy

from keras_su.backend import K, keras
from keras_su.errors import KerasSuError
from keras_su.layers import Loss
from keras_su.models import build_transformer_model

IDS, SEGMENTS = [[1, 2, 3], [4, 5, 0]], [[0, 0, 1], [1, 0, 1]]
LABELS = np.array([0, 1])
SIZES = {"vocab_size": 9, "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8}


def two_inputs(model_class=keras.models.Model):
    ids, segments = keras.layers.Input((None,), name="ids"), keras.layers.Input((None,), name="segments")
    x = real.layers.Embedding(9, 4, name="tokens")(ids) + real.layers.Embedding(2, 4, name="kinds")(segments)
    x = real.layers.GlobalAveragePooling1D(name="mean")(x)
    return model_class([ids, segments], real.layers.Dense(2, activation="softmax", name="classes")(x))


@pytest.fixture(scope="module")
def compiled():
    """One model for many tests, which train it a little."""
    model = two_inputs()
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["sparse_categorical_accuracy"])
    return model


def batches(*lengths, labels=LABELS, as_list=True):
    """Batches as scripts yield them: a list of arrays, and labels."""
    for length in lengths:
        inputs = [np.ones((2, length), "int32"), np.zeros((2, length), "int32")]
        yield (inputs if as_list else tuple(inputs)), labels


def numbers(*shape, scale=1.0):
    return np.random.default_rng(3).normal(size=shape, scale=scale).astype("float32")


# ---- generators


def test_generators_of_lists_whatever_the_lengths(compiled):
    """Two batches of equal length in the beginning must not decide about the third."""
    history = compiled.fit(batches(3, 3, 5, 4), steps_per_epoch=2, epochs=2, verbose=0, workers=0, use_multiprocessing=False)
    assert len(history.history["loss"]) == 2
    history = compiled.fit_generator(
        batches(3, 3, 2),
        steps_per_epoch=3,
        epochs=1,
        verbose=0,
        workers=0,
        use_multiprocessing=False,
        max_queue_size=1,
        validation_data=batches(4, 5),
        validation_steps=2,
    )
    assert np.isfinite(history.history["val_loss"][0])
    loss, accuracy = compiled.evaluate_generator(batches(3, 3, 4), steps=3, workers=1)
    assert accuracy == 0.5 and loss == pytest.approx(compiled.evaluate(batches(3, 3, 4), steps=3, verbose=0)[0])
    with_labels = compiled.predict_generator(batches(3, 3, 4), steps=3)
    only_inputs = compiled.predict((inputs for inputs, _ in batches(3, 3, 4)), steps=3)
    np.testing.assert_array_equal(with_labels, only_inputs)
    assert with_labels.shape == (6, 2)
    # one input: an array is the inputs
    one = keras.models.Model(compiled.inputs[0], compiled.layers[2](compiled.inputs[0]))
    assert one.predict(iter([np.array(IDS), np.array(IDS)]), steps=2).shape == (4, 3, 4)


def test_validation_data_and_labels_as_lists(compiled):
    x = [np.array(IDS), np.array(SEGMENTS)]
    for validation in ((x, LABELS), [x, LABELS]):
        history = compiled.fit(x, LABELS, validation_data=validation, verbose=0).history
        assert history["val_loss"][0] == pytest.approx(compiled.evaluate(x, LABELS, verbose=0)[0], rel=1e-4)
    expected = compiled.evaluate(x, LABELS, verbose=0)[0]
    assert compiled.evaluate([IDS, SEGMENTS], [0, 1], verbose=0)[0] == pytest.approx(expected, rel=1e-5)
    assert compiled.test_on_batch([IDS, SEGMENTS], [0, 1])[0] == pytest.approx(expected, rel=1e-5)
    assert np.isfinite(compiled.fit([IDS, SEGMENTS], [0, 1], verbose=0).history["loss"][0])
    assert np.isfinite(compiled.train_on_batch([IDS, SEGMENTS], [0, 1])[0])


class Halves(Loss):
    """As scripts write it: compares predictions with labels of another rank, and returns a loss with axes of its own."""

    def compute_loss(self, inputs, mask=None):
        labels, predictions = inputs
        loss = K.mean(K.sparse_categorical_crossentropy(labels, predictions))
        self.add_metric(K.mean(K.cast(K.equal(labels[:, 0], K.argmax(predictions)), K.floatx())), name="hits", aggregation="mean")
        return loss[None, None]


def test_no_labels_but_a_loss_inside(compiled):
    labels = keras.layers.Input((1,), name="labels")
    model = keras.models.Model([*compiled.inputs, labels], Halves(1)([labels, compiled.output]))
    model.compile("sgd")
    before = compiled.predict([IDS, SEGMENTS])

    def forever():
        while True:
            yield [np.array(IDS), np.array(SEGMENTS), np.array([[0], [1]])], None

    history = model.fit(forever(), steps_per_epoch=2, epochs=2, verbose=0).history
    assert history["loss"][1] < history["loss"][0] and 0 <= history["hits"][0] <= 1
    assert np.abs(compiled.predict([IDS, SEGMENTS]) - before).max() > 0


# ---- nested lists


def test_predict_on_nested_lists(compiled):
    expected = compiled.predict([np.array(IDS), np.array(SEGMENTS)])
    for inputs in (
        [IDS, SEGMENTS],
        (IDS, SEGMENTS),
        [IDS, np.array(SEGMENTS)],
        [[np.array(row) for row in IDS], [np.array(row) for row in SEGMENTS]],
    ):
        np.testing.assert_array_equal(compiled.predict(inputs), expected)
    np.testing.assert_array_equal(compiled.predict_on_batch([IDS, SEGMENTS]), expected)
    np.testing.assert_allclose(compiled.predict([[IDS[1]], [SEGMENTS[1]]]), expected[1:], rtol=1e-5)
    with pytest.raises(KerasSuError, match="got 'a list of 1', expected a list of 2"):
        compiled.predict([IDS])
    with pytest.raises(KerasSuError, match=r"differ in length \(3, 2\). Pad them with keras_su.snippets.sequence_padding"):
        compiled.predict([[[1, 2, 3], [4, 5]], [[0, 0, 0], [0, 0]]])


def test_inputs_in_a_structure_stay_there():
    a, b, c = (keras.layers.Input((2,)) for _ in range(3))
    model = keras.models.Model([[a, b], c], a + 2 * b + 3 * c)
    one = np.ones((1, 2), "float32")
    np.testing.assert_array_equal(model.predict([[one, 10 * one], 100 * one]), 321 * one)


def test_predict_on_nested_lists_for_one_input():
    x = keras.layers.Input((3,))
    model = keras.models.Model(x, x * 2.0)
    rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    for inputs in (rows, [rows], [np.array(rows)], np.array(rows), [[np.array(row) for row in rows]]):
        np.testing.assert_array_equal(model.predict(inputs), 2 * np.array(rows))
    for inputs in ([[1, 2, 3]], [[[1, 2, 3]]], [np.array([[1, 2, 3]])]):
        np.testing.assert_array_equal(model.predict(inputs), [[2, 4, 6]])
    with pytest.raises(KerasSuError, match="differ in length"):
        model.predict([[1, 2, 3], [4, 5]])
    x = keras.layers.Input((None, 2))
    model = keras.models.Model(x, x * 2.0)
    assert model.predict([[[1, 2], [3, 4]]]).shape == (1, 2, 2)


def test_predict_is_quiet(compiled, capsys):
    compiled.predict([IDS, SEGMENTS])
    assert capsys.readouterr().out == ""
    compiled.predict([IDS, SEGMENTS], verbose=1)
    assert "1/1" in capsys.readouterr().out


# ---- files


def weights_of(model):
    return [to_numpy(w) for w in model.weights]


def same_weights(first, second):
    return all(np.array_equal(a, b) for a, b in zip(weights_of(first), weights_of(second), strict=True))


@pytest.mark.parametrize("name", ["best_model.weights", "best_model", "a.b/c.h5", "plain.weights.h5"])
def test_weights_under_exactly_this_name(compiled, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    compiled.save_weights(name, save_format="h5") if name.endswith("c.h5") else compiled.save_weights(name)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == [name]
    other = two_inputs()
    assert not same_weights(other, compiled)
    other.load_weights(name)
    assert same_weights(other, compiled)
    with pytest.raises(KerasSuError, match="exists already, and overwrite is False"):
        other.save_weights(name, overwrite=False)


def test_a_failure_leaves_the_old_file(compiled, tmp_path, monkeypatch):
    path = tmp_path / "best_model.weights"
    compiled.save_weights(path)
    before = path.read_bytes()

    def fail(self, file, *args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(real.Model, "save_weights", fail)
    with pytest.raises(OSError, match="disk full"):
        compiled.save_weights(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["best_model.weights"]


def test_what_cannot_be_loaded(compiled, tmp_path):
    compiled.save_weights(tmp_path / "best_model.weights")
    before = weights_of(compiled)
    with pytest.raises(KerasSuError, match="There is no file .*best.weights'. Did you mean 'best_model.weights'"):
        compiled.load_weights(tmp_path / "best.weights")
    with pytest.raises(KerasSuError, match="There is no file"):
        keras.models.load_model(tmp_path / "no_folder" / "x.model")
    (tmp_path / "model.ckpt").write_bytes(b"something else")
    with pytest.raises(KerasSuError, match="holds no weights of Keras. Public checkpoints .*build_transformer_model"):
        compiled.load_weights(tmp_path / "model.ckpt")
    assert all(np.array_equal(a, b) for a, b in zip(before, weights_of(compiled)))


class Evaluator(keras.callbacks.Callback):
    """As scripts write it: without ``super().__init__()``."""

    def __init__(self, path):
        self.path = path
        self.best = []

    def on_epoch_end(self, epoch, logs=None):
        self.best.append(self.model.predict([IDS, SEGMENTS]))
        self.model.save_weights(self.path)


def test_weights_saved_and_loaded_while_training(compiled, tmp_path):
    """On JAX the variables live elsewhere during ``fit``."""
    evaluator = Evaluator(tmp_path / "best_model.weights")
    compiled.fit(batches(3, 3, 3), steps_per_epoch=1, epochs=3, verbose=0, callbacks=[evaluator])
    assert np.abs(evaluator.best[0] - evaluator.best[-1]).max() > 0
    other = two_inputs()
    other.load_weights(tmp_path / "best_model.weights")
    assert same_weights(other, compiled)
    np.testing.assert_allclose(other.predict([IDS, SEGMENTS]), evaluator.best[-1], rtol=1e-5)


def write_keras_2_file(path, **layers):
    """The layout of ``save_weights`` of Keras 2: names in attributes, a group for each layer."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.3.1"
        for name, weights in layers.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{weight}:0".encode() for weight in weights]
            for weight, value in weights.items():
                group.create_dataset(f"{name}/{weight}:0", data=value)


def test_weight_files_of_keras_2(compiled, tmp_path):
    tokens, kinds, kernel, bias = numbers(9, 4), numbers(2, 4), numbers(4, 2), numbers(2)
    path = tmp_path / "best_model.weights"
    write_keras_2_file(
        path,
        ids={},
        segments={},
        tokens={"embeddings": tokens},
        kinds={"embeddings": kinds},
        mean={},
        classes={"kernel": kernel, "bias": bias},
    )
    model = two_inputs()
    model.load_weights(path)
    scores = (tokens[np.array(IDS)] + kinds[np.array(SEGMENTS)]).mean(1) @ kernel + bias
    powers = np.exp(scores)
    np.testing.assert_allclose(model.predict([IDS, SEGMENTS]), powers / powers.sum(1, keepdims=True), rtol=1e-4)
    write_keras_2_file(path, kinds={"embeddings": 2 * kinds})
    model.load_weights(path, by_name=True)
    np.testing.assert_array_equal(to_numpy(model.get_layer("kinds").embeddings), 2 * kinds)
    np.testing.assert_array_equal(to_numpy(model.get_layer("tokens").embeddings), tokens)


def test_whole_models_under_any_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bert = build_transformer_model(SIZES, model="bert", with_pool="linear")
    model = keras.models.Model(bert.inputs, keras.layers.Dense(2, activation="softmax")(bert.output))
    model.save("test.model", include_optimizer=False)
    assert os.listdir() == ["test.model"]
    loaded = keras.models.load_model("test.model")
    np.testing.assert_allclose(loaded.predict([IDS, SEGMENTS]), model.predict([IDS, SEGMENTS]), rtol=1e-5)
    assert loaded.get_layer("Transformer-0-FeedForward").units == 8 and hasattr(loaded, "fit_generator")
    model.set_weights([0 * w for w in model.get_weights()])
    model.load_weights("test.model")  # the weights of a whole model
    assert same_weights(model, loaded)
    with pytest.raises(KerasSuError, match="overwrite is False"):
        model.save("test.model", overwrite=False)


# ---- layers and calls


@pytest.mark.parametrize("family", ["bert", "roformer"])
def test_the_tensor_before_the_last_norm(family):
    bert = build_transformer_model(SIZES, model=family, return_keras_model=False)
    before = bert.model.layers[-2].get_output_at(-1)
    norm = bert.model.layers[-1]
    assert norm.name == "Transformer-0-FeedForward-Norm"
    beta, gamma = numbers(8), numbers(8) + 2
    norm.set_weights([beta, gamma])
    raw, out = keras.models.Model(bert.model.inputs, [before, bert.model.output]).predict([IDS, SEGMENTS])
    centred = raw - raw.mean(-1, keepdims=True)
    normalized = centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-12)
    np.testing.assert_allclose(out, normalized * gamma + beta, rtol=1e-3, atol=1e-4)
    assert norm.get_input_at(0) is before and isinstance(bert.model, keras.models.Model)
    with pytest.raises(KerasSuError, match="was called 1 times"):
        norm.get_output_at(1)


def random_table(shape, dtype=None):
    """An initializer of a script: numpy, whatever the dtype."""
    return np.arange(np.prod(shape), dtype="float64").reshape(shape)


class FirstTokens(keras.layers.GlobalAveragePooling1D):
    """A subclass with a call of its own."""

    def call(self, inputs, mask=None):
        if mask is None:
            return inputs[:, 0]
        weights = K.cast(mask, K.floatx())[:, :, None]
        return K.sum(inputs * weights, axis=1) / K.sum(weights, axis=1)


class Merge(keras.layers.Layer):
    """A layer on a list that joins the masks of its inputs."""

    def call(self, inputs, mask=None):
        return inputs[0] + inputs[1]

    def compute_mask(self, inputs, mask=None):
        return K.cast(mask[0], "bool") & K.cast(mask[1], "bool")


def test_layers_of_scripts():
    ids, more = keras.layers.Input((None,)), keras.layers.Input((None,))
    embed = keras.layers.Embedding(9, 2, mask_zero=True, embeddings_initializer=random_table)
    model = keras.models.Model([ids, more], FirstTokens()(Merge()([embed(ids), embed(more)])))
    table = np.arange(18, dtype="float32").reshape(9, 2)
    expected = np.stack([(table[1] + table[1] + table[2] + table[3]) / 2, table[4] + table[1]])
    np.testing.assert_allclose(model.predict([[[1, 2, 5], [4, 5, 0]], [[1, 3, 0], [1, 0, 2]]]), expected, rtol=1e-6)
    again = model([keras.layers.Input((4,)), keras.layers.Input((4,))])
    assert again.shape == (None, 2) and len(embed._inbound_nodes) == 2


def test_a_loss_function_with_labels_of_another_rank(compiled):
    def loss(y_true, y_pred):
        assert len(y_true.shape) == 1 and len(y_pred.shape) == 2
        return K.mean(K.sparse_categorical_crossentropy(y_true[:, None], y_pred))

    model = keras.models.Model(compiled.inputs, compiled.output)
    model.compile("sgd", loss)
    found = model.evaluate([IDS, SEGMENTS], LABELS, verbose=0)
    assert found == pytest.approx(-np.log(model.predict([IDS, SEGMENTS])[[0, 1], LABELS]).mean(), rel=1e-4)


@pytest.mark.skipif(backend() != "tensorflow", reason="TensorFlow only: tf.eye and tf.split take TensorFlow's tensors alone")
def test_functions_of_tensorflow_on_tensors_of_the_backend():
    import tensorflow as tf

    class Split(keras.layers.Layer):
        def call(self, x):
            left, right = tf.split(x, 2, axis=-1)
            return left - K.dot(right, tf.eye(K.shape(right)[1]))

    x = keras.layers.Input((4,))
    model = keras.models.Model(x, Split()(x))
    np.testing.assert_array_equal(model.predict([[4, 3, 2, 1]]), [[2, 2]])


@pytest.mark.skipif(
    backend() == "jax", reason="On JAX a second model has no weights while the first one trains: fit keeps them outside"
)
def test_a_second_model_trained_within_a_batch(compiled):
    second = keras.models.Model(compiled.inputs, compiled.output)
    second.compile("sgd", "sparse_categorical_crossentropy")
    losses = []

    class Second(keras.callbacks.Callback):
        def on_batch_end(self, batch, logs=None):
            losses.append(second.train_on_batch([IDS, SEGMENTS], LABELS))

    compiled.fit(batches(3, 3), steps_per_epoch=2, verbose=0, callbacks=[Second()])
    assert len(losses) == 2 and np.all(np.isfinite(losses))


def test_a_plain_model_takes_old_spellings_from_a_callback_on(tmp_path, monkeypatch):
    """As in scripts that import ``Model`` from Keras itself; Keras' own classes stay as they are."""
    monkeypatch.chdir(tmp_path)

    class Saver(keras.callbacks.Callback):
        def __init__(self):
            pass

        def on_epoch_end(self, epoch, logs=None):
            self.model.save_weights("best_model.weights")
            self.rows = self.model.predict([IDS, SEGMENTS])

    bert = build_transformer_model(SIZES)
    plain = real.Model(bert.inputs, real.layers.Dense(2)(bert.output[:, 0]))
    foreign = real.Model(*[real.layers.Input((3,))] * 2)
    kind = type(plain)
    assert type(foreign) is kind and not isinstance(plain, type(bert))
    saver = Saver()
    plain.compile("sgd", "mse")
    plain.fit([np.array(IDS), np.array(SEGMENTS)], np.ones((2, 2)), verbose=0, callbacks=[saver])
    keras.callbacks.Callback().set_model(foreign)
    assert type(foreign) is kind and type(plain) is type(bert)
    assert not hasattr(kind, "fit_generator") and type(real.Model(bert.inputs, bert.output)) is kind
    plain.set_weights([0 * w for w in plain.get_weights()])
    plain.load_weights("best_model.weights")
    np.testing.assert_allclose(plain.predict([IDS, SEGMENTS]), saver.rows, rtol=1e-5)
