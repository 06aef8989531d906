"""Generators in the manner of bert4keras: what they yield, in which order, and that Keras takes it whatever the sizes are."""

import sys

import keras
import numpy as np
import pytest
from helpers import backend
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_su.data import DataGenerator, sequence_padding
from keras_su.data.stream import open_shape
from keras_su.errors import KerasSuError, MissingDependencyError
from keras_su.layers import Loss
from keras_su.models import Model, build_transformer_model
from keras_su.optimizers import extend_with_weight_decay


class Samples(DataGenerator):
    """Batches of numbers as they are."""

    def __iter__(self, random=False):
        batch = []
        for is_end, sample in self.sample(random):
            batch.append(sample)
            if len(batch) == self.batch_size or is_end:
                yield np.array(batch), None
                batch = []


def numbers(batches):
    return [batch.tolist() for batch, _ in batches]


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 6))
def test_each_pass_gives_every_sample_once(count, batch_size, buffer_size):
    for data in (list(range(count)), iter(range(count))):
        found = numbers(Samples(data, batch_size, buffer_size))
        assert sum(found, []) == list(range(count)) and all(len(batch) == batch_size for batch in found[:-1])
    assert len(Samples(range(count), batch_size)) == len(found)
    for data in (list(range(count)), iter(range(count))):
        assert sorted(sum(numbers(Samples(data, batch_size, buffer_size).__iter__(True)), [])) == list(range(count))


def test_random_order_is_that_of_numpy():
    np.random.seed(3)
    found = sum(numbers(Samples(range(10), 4).__iter__(random=True)), [])
    np.random.seed(3)
    assert found == np.random.permutation(10).tolist()


class Lines:
    """Data that can be read again and has no length."""

    def __iter__(self):
        return iter(range(20))


def test_data_without_length_is_shuffled_in_a_buffer():
    generator = Samples(Lines(), 4, buffer_size=5)
    assert generator.steps is None
    with pytest.raises(TypeError, match="steps_per_epoch"):
        len(generator)
    orders = [sum(numbers(generator.__iter__(True)), []) for _ in range(2)]
    for order in orders:
        assert sorted(order) == list(range(20)) != order
        assert all(sample <= place + 5 for place, sample in enumerate(order))
    assert orders[0] != orders[1]
    assert Samples(Lines(), 4).buffer_size == 4000


def test_endless_passes_and_what_cannot_be_passed_twice():
    stream = Samples(range(3), 2).forfit(random=False)
    assert numbers(next(stream) for _ in range(4)) == [[0, 1], [2], [0, 1], [2]]
    test = Samples(range(3), 2).fortest()
    assert [next(test).tolist() for _ in range(3)] == [[0, 1], [2], [0, 1]]
    assert list(Samples([], 2)) == []
    for data in ([], iter(range(2))):
        stream = Samples(data, 2).forfit()
        with pytest.raises(KerasSuError, match="gave no batch"):
            [next(stream) for _ in range(2)]
    with pytest.raises(NotImplementedError, match="__iter__"):
        next(DataGenerator([1]).forfit())


class Padded(Samples):
    """Inputs and labels in one of the forms of scripts."""

    form = "two"

    def __iter__(self, random=False):
        for lengths, _ in super().__iter__(random):
            x, y = sequence_padding([[1] * int(length) for length in lengths]), lengths[:, None].astype("float32")
            yield {
                "two": ([x, 2 * x], y),
                "one": (x, y),
                "list of one": ([x], y),
                "no labels": ([x, 2 * x], None),
                "two labels": ([x, 2 * x], [y, 2 * y]),
            }[self.form]


class Regularized(keras.layers.Layer):
    def call(self, x):
        self.add_loss(ops.mean(x**2))
        return x


def model_for(form):
    inputs = [keras.Input((None,), dtype="int32") for _ in range(1 if "one" in form else 2)]
    total = keras.layers.Add()(
        [keras.layers.Lambda(lambda x: ops.cast(ops.sum(x, axis=1, keepdims=True), "float32"))(x) for x in inputs * 2]
    )
    outputs = [
        keras.layers.Dense(1, kernel_initializer="ones", name=f"out{i}")(total) for i in range(2 if form == "two labels" else 1)
    ]
    if form == "no labels":
        outputs = [Regularized()(outputs[0])]
    model = keras.Model(inputs if len(inputs) > 1 else inputs[0], outputs if len(outputs) > 1 else outputs[0])
    loss = {"no labels": None, "two labels": ["mse", "mse"]}.get(form, "mse")
    model.compile(keras.optimizers.SGD(0.0), loss=loss, jit_compile=False)
    return model


# The first two batches are equally long: plain generators fail at the third on TensorFlow.
LENGTHS = [4, 4, 4, 4, 6, 6, 3]


@pytest.mark.filterwarnings("error:.*structure of `inputs`:UserWarning", "error:.*shuffle:UserWarning")
@pytest.mark.parametrize("form", ["two", "one", "list of one", "no labels", "two labels"])
def test_keras_takes_batches_of_any_length(form):
    generator = Padded(LENGTHS, 2)
    generator.form = form
    model = model_for(form)
    seen = []
    model.fit(
        generator.forfit(random=False),
        steps_per_epoch=len(generator),
        epochs=1,
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(logs["loss"]))],
    )
    factor = 2 if "one" in form else 6
    if form == "two":  # running means of squared errors: every batch once, in order
        errors = [np.square([factor * n - n for n in LENGTHS[i : i + 2]]) for i in range(0, 7, 2)]
        np.testing.assert_allclose(seen[0], errors[0].mean(), rtol=1e-5)
        np.testing.assert_allclose(seen[-1], np.concatenate(errors).mean(), rtol=1e-5)
    if form in ("two", "list of one"):
        found = model.predict(generator.fortest(), steps=len(generator), verbose=0)
        np.testing.assert_allclose(found.ravel(), factor * np.array(LENGTHS), rtol=1e-5)


def test_which_sizes_stay_open():
    """Those of texts, and not those that layers and losses must know."""
    ids, labels = np.ones((2, 7), "int64"), np.ones((2, 1), "int64")
    for arrays, wanted in (
        ([ids, ids], [None, None]),
        ([labels, labels], [None, 1]),
        ([np.ones((2, 1), "int32"), np.ones((1, 3), "int32")], [None, None]),
        ([np.ones((2, 1, 2), "int32")] * 2, [None, None, None]),  # sparse labels of spans
        ([np.ones((2, 9, 7, 7))] * 2, [None, 9, None, None]),  # dense ones
        ([np.ones((2, 7, 768))] * 2, [None, None, 768]),
        ([np.ones((2, 7, 7, 3)), np.ones((2, 8, 7, 3))], [None, None, None, 3]),
        ([np.ones((2, 224, 224, 3), "uint8")] * 2, [None, 224, 224, 3]),
        ([np.ones((2, 5)), np.ones((2, 5))], [None, 5]),
        ([np.ones(2), np.ones(2)], [None]),
        ([np.ones((2, 3))], [None, 3]),
    ):
        assert open_shape(arrays, lengths={(7,) * len(arrays)}) == wanted


def test_loops_of_evaluation():
    """What scripts write around ``predict``: inputs by name, by index and as a whole."""
    generator, model = Padded(LENGTHS[3:5], 2), model_for("two")
    for x_true, y_true in generator:
        assert isinstance(x_true, tuple) and model.predict(x_true, verbose=0).shape == y_true.shape
    for batch in generator:
        (first, second), labels = batch
        assert batch[0][1] is second and first.shape == second.shape == (2, 6) and labels.shape == (2, 1)


def test_a_built_model_loses_no_batch():
    """Keras looks at one batch to build a model, and asks for the stream again."""
    generator, model = Padded([1, 2, 3, 4], 1), model_for("one")
    generator.form = "one"
    stream = generator.forfit(random=False)
    loss = model.fit(stream, steps_per_epoch=2, verbose=0).history["loss"][0]
    np.testing.assert_allclose(loss, (1 + 4) / 2, rtol=1e-5)


class Pairs(DataGenerator):
    """Single samples, which `to_dataset` batches."""

    def __iter__(self, random=False):
        for _, length in self.sample(random):
            yield [[length] * length, [0] * length], length


class Flat(Pairs):
    """Samples that are one level flatter."""

    def __iter__(self, random=False):
        return (inputs for inputs, _ in super().__iter__(random))


@pytest.mark.skipif(backend() != "tensorflow", reason="makes a tf.data.Dataset")
def test_to_dataset():
    types, shapes = (["float32", "int32"], "int64"), ([[None], [None]], [])
    (ids, segments), labels = next(iter(Pairs([2, 2], 2).to_dataset(types, shapes)))
    assert ids.numpy().tolist() == [[2, 2], [2, 2]] and labels.numpy().tolist() == [2, 2]
    assert (ids.dtype, segments.dtype) == ("float32", "int32")

    names = (["ids", "segments"], ["label"])
    nested = (types[0], ["int64"]), (shapes[0], [[]])
    dataset = Pairs([1, 3], 2).to_dataset(types, shapes, padded_batch=True)
    (ids, segments), _ = next(iter(dataset))
    assert sorted(ids.numpy().tolist()) == [[1, 0, 0], [3, 3, 3]] and segments.shape == (2, 3)
    batch = next(iter(Flat([1, 3], 2).to_dataset(types[0], shapes[0], names=names[0], padded_batch=True)))
    assert {name: value.shape for name, value in batch.items()} == {"ids": (2, 3), "segments": (2, 3)}

    class Labelled(Pairs):
        def __iter__(self, random=False):
            return ((inputs, [label]) for inputs, label in super().__iter__(random))

    inputs, labels = next(iter(Labelled([1, 3], 2).to_dataset(*nested, names=names, padded_batch=True)))
    assert inputs["ids"].shape == (2, 3) and sorted(labels["label"].numpy().tolist()) == [1, 3]


@pytest.mark.skipif(backend() != "tensorflow", reason="tf.distribute is TensorFlow's")
def test_a_dataset_under_a_strategy():
    """A model whose loss is a layer, with an extended optimizer, as scripts for several GPUs have it."""
    import tensorflow as tf

    with tf.distribute.MirroredStrategy().scope():
        sizes = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
        bert = build_transformer_model(sizes)

        class Length(Loss):
            def compute_loss(self, inputs, mask=None):
                return ops.mean(ops.square(inputs))

        model = Model(bert.inputs, Length()(bert.output))
        model.compile(extend_with_weight_decay(keras.optimizers.SGD)(0.1, weight_decay_rate=0.01))
    names = ["Input-Token", "Input-Segment"]
    dataset = Flat([1, 3], 2).to_dataset(("int32", "int32"), ([None], [None]), names=names, padded_batch=True)
    before = bert.get_weights()[0]
    history = model.fit(dataset, steps_per_epoch=2, verbose=0).history
    assert np.isfinite(history["loss"]).all() and np.abs(bert.get_weights()[0] - before).max() > 0


def test_to_dataset_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(
        MissingDependencyError, match=r"to_dataset, which makes a tf.data.Dataset, needs .*keras_su\[tensorflow\]"
    ):
        Pairs([1]).to_dataset("int32", [])
