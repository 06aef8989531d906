"""Buckets: every sample once, similar lengths together, the same batches for the same seed and epoch, and Keras takes them."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_su.data import BucketedDataset, sequence_padding
from keras_su.errors import KerasSuError

LENGTHS = np.random.default_rng(0).integers(1, 40, 203).tolist()


def bucketed(lengths=LENGTHS, batch_size=8, **arguments):
    return BucketedDataset([[1.0] * n for n in lengths], collate, batch_size, **arguments)


def collate(samples):
    x = sequence_padding(samples)
    return [x, x], np.array([[len(sample)] for sample in samples], "float32")


@settings(max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=6, max_size=25),
    batch_size=st.integers(1, 6),
    window=st.integers(1, 4),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    epoch=st.integers(0, 3),
)
def test_plans(lengths, batch_size, window, shuffle, drop_last, epoch):
    dataset = bucketed(lengths, batch_size, window=window, shuffle=shuffle, drop_last=drop_last, seed=5)
    dataset.epoch = epoch
    plan, whole = dataset.plan, len(lengths) // batch_size
    used = np.concatenate(plan).tolist()
    assert len(set(used)) == len(used) == (whole * batch_size if drop_last else len(lengths))
    sizes = sorted(map(len, plan), reverse=True)
    assert sizes[:whole] == [batch_size] * whole and len(sizes) == len(dataset) and len(dataset) - whole <= (not drop_last)
    longest = [max(lengths[i] for i in batch) for batch in plan]
    assert longest[0] == max(longest)
    assert len(longest) == 1 or longest[1] == min(longest[1:])
    again = bucketed(lengths, batch_size, window=window, shuffle=shuffle, drop_last=drop_last, seed=5)
    again.epoch = epoch
    assert [batch.tolist() for batch in again.plan] == [batch.tolist() for batch in plan]
    if not shuffle and not drop_last:
        spans = sorted((min(lengths[i] for i in batch), max(lengths[i] for i in batch)) for batch in plan)
        assert all(stop <= start for (_, stop), (start, _) in zip(spans, spans[1:]))


def test_buckets_save_padding_and_windows_shuffle():
    def share_of_padding(dataset):
        return 1 - sum(LENGTHS) / sum(batch[0][0].size for batch in dataset)

    assert share_of_padding(bucketed()) < share_of_padding(bucketed(window=5)) < share_of_padding(bucketed(window=1))
    assert share_of_padding(bucketed(window=5)) < 0.15 < 0.4 < share_of_padding(bucketed(window=1))
    dataset, plans = bucketed(window=5), []
    for _ in range(3):
        plans.append({frozenset(batch.tolist()) for batch in dataset.plan})
        dataset.on_epoch_begin()
        dataset.on_epoch_end()
        dataset.on_epoch_end()
    assert dataset.epoch == 3
    assert len(plans[0] & plans[1]) < 3 and len(plans[0] & plans[2]) < 3
    other = bucketed(window=5, seed=1)
    assert len(plans[0] & {frozenset(batch.tolist()) for batch in other.plan}) < 3


def test_samples_left_out_are_not_always_the_same():
    dataset, left_out = bucketed(batch_size=100, drop_last=True), []
    for dataset.epoch in range(4):
        left_out += set(range(len(LENGTHS))) - set(np.concatenate(dataset.plan).tolist())
    assert len(left_out) == 12 and len(set(left_out)) > 8


class Total(keras.layers.Layer):
    """The sum of both inputs."""

    def call(self, inputs):
        return ops.sum(inputs[0] + inputs[1], axis=1, keepdims=True)


@pytest.fixture(scope="module")
def model():
    inputs = [keras.Input((None,)), keras.Input((None,))]
    model = keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="ones")(Total()(inputs)))
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=False)
    return model


@pytest.mark.filterwarnings("ignore:.*fork:")
@pytest.mark.parametrize(
    "workers", [{}, {"workers": 2}, {"workers": 2, "use_multiprocessing": True}], ids=["one", "threads", "processes"]
)
def test_keras_trains_on_buckets(model, workers):
    lengths = [3, 3, 5, 5, 5, 5, 5]
    dataset = bucketed(lengths, 2, **workers)
    history = model.fit(dataset, epochs=2, verbose=0, shuffle=False)
    np.testing.assert_allclose(history.history["loss"], [np.mean(np.square(lengths))] * 2, rtol=1e-5)
    assert dataset.epoch >= 2


def test_predictions_go_back_to_their_samples(model):
    lengths = [3, 5, 4, 4, 3, 5, 3]
    dataset = bucketed(lengths, 2, shuffle=False)
    found = np.empty(len(lengths))
    found[np.concatenate(dataset.plan)] = model.predict(dataset, verbose=0)[:, 0]
    np.testing.assert_allclose(found, 2 * np.array(lengths), rtol=1e-5)


def test_forms_of_batches_and_what_is_refused():
    assert bucketed([1], 1)[0][1].shape == (1, 1)
    ids = BucketedDataset(["一二", "三"], lambda texts: ([np.array([[len(t)] for t in texts])], None), 2)[0]
    assert isinstance(ids, tuple) and len(ids) == 1 and ids[0].tolist() == [[1], [2]]
    assert BucketedDataset([(1, 2), (3,)], np.concatenate, 2, length=lambda sample: -len(sample))[0][0].tolist() == [1, 2, 3]
    for arguments, message in (
        ({"lengths": []}, "number of samples: got 0, expected at least 1"),
        ({"drop_last": True, "batch_size": 300}, "at least 300"),
        ({"batch_size": 0}, "batch_size"),
        ({"window": 0}, "window"),
        ({"seed": -1}, "seed"),
    ):
        with pytest.raises(KerasSuError, match=message):
            bucketed(**arguments)
