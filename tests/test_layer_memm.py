"""Maximum entropy Markov models against their definition, text by text and tag by tag."""

import keras
import numpy as np
import pytest
from helpers import assert_close, gradient, to_numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_su.layers import MaximumEntropyMarkovModel

TAGS = 3


def markov(seed=0, **arguments):
    layer = MaximumEntropyMarkovModel(**arguments)
    layer.build((None, None, TAGS))
    dice = np.random.default_rng(seed)
    layer.set_weights([dice.normal(size=w.shape) for w in layer.get_weights()])
    return layer


def example(seed, batch=3, length=4):
    dice = np.random.default_rng(seed)
    mask = dice.random((batch, length)) < 0.7
    scores = dice.normal(size=(batch, length, TAGS)).astype("float32")
    return scores, dice.integers(0, TAGS, (batch, length)), mask


def oracle(scores, labels, counts, trans):
    """Cross entropy and accuracy: each step given the one before, then given the one after."""
    results = []
    for step in (1, -1):
        losses, hits = [], []
        for x, y, c in zip(scores, labels, counts):
            x, y = x[c][::step], y[c][::step]
            table = trans if step == 1 else trans.T
            for place in range(len(y)):
                logits = x[place] if place == 0 else (x[place] + table[y[place - 1]]) / 2
                losses.append(np.log(np.exp(logits).sum()) - logits[y[place]])
                hits.append(logits.argmax() == y[place])
        results.append((np.mean(losses), np.mean(hits)) if losses else (0.0, 0.0))
    return np.mean(results, axis=0)


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.sampled_from([{}, {"hidden_dim": 2}, {"lr_multiplier": 3, "hidden_dim": 2}]))
def test_loss_and_accuracy_by_definition(seed, arguments):
    layer = markov(seed, **arguments)
    scores, labels, mask = example(seed)
    y_pred = layer(scores, mask=ops.convert_to_tensor(mask))
    loss, accuracy = oracle(scores, labels, mask, to_numpy(layer.trans))
    for y_true in (labels.astype("float32"), labels[..., None]):
        assert_close(layer.sparse_loss(ops.convert_to_tensor(y_true), y_pred), np.float32(loss))
        assert_close(layer.sparse_accuracy(ops.convert_to_tensor(y_true), y_pred), np.float32(accuracy))
    unknown = np.where(np.random.default_rng(seed).random(labels.shape) < 0.3, -1, labels)
    expected, _ = oracle(scores, labels, mask & (unknown >= 0), to_numpy(layer.trans))
    assert_close(layer.sparse_loss(ops.convert_to_tensor(unknown), y_pred), np.float32(expected))
    one_hot = ops.convert_to_tensor(np.eye(TAGS)[labels] * (unknown >= 0)[..., None])
    assert_close(layer.dense_loss(one_hot, y_pred), np.float32(expected))


def test_multiplied_weights_are_the_transitions():
    layer = markov(lr_multiplier=10)
    assert_close(layer.trans, 10 * layer.get_weights()[0])
    fresh = MaximumEntropyMarkovModel(lr_multiplier=100, hidden_dim=4)
    fresh.build((None, None, 50))
    assert [w.name for w in fresh.weights] == ["l_trans", "r_trans"]
    assert np.abs(fresh.get_weights()[0]).max() <= np.sqrt(6 / 54) / 100


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_gradients_are_finite_and_stay_out_of_the_padding(dtype):
    layer = markov(dtype=f"mixed_{dtype}" if dtype == "float16" else dtype)
    scores, labels, mask = example(1)
    y_true, valid = ops.convert_to_tensor(labels), ops.convert_to_tensor(mask)
    found = gradient(lambda x: layer.sparse_loss(y_true, layer(x, mask=valid)), scores, dtype)
    assert np.all(np.isfinite(found)) and not found[~mask].any() and np.all(np.abs(found[mask]).sum(-1) > 0)
    nothing = ops.zeros_like(valid)
    assert not gradient(lambda x: layer.sparse_loss(y_true, layer(x, mask=nothing)), scores, dtype).any()
    assert float(to_numpy(layer.sparse_accuracy(y_true, layer(scores, mask=nothing)))) == 0


def test_training_reports_the_accuracy_of_the_trained_weights():
    """Keras' trainer for JAX shows no weights to metrics: they must be those of the step all the same."""
    ids = keras.Input((None,), dtype="int32")
    layer = MaximumEntropyMarkovModel()
    model = keras.Model(ids, layer(keras.layers.Embedding(9, TAGS, mask_zero=True)(ids)))
    layer.set_weights([np.random.default_rng(1).normal(size=(TAGS, TAGS), scale=5)])
    model.compile(keras.optimizers.SGD(1e-9), loss=layer.sparse_loss, metrics=[layer.sparse_accuracy])
    x = np.random.default_rng(2).integers(1, 9, size=(6, 5))
    x[:3, 3:] = 0
    labels = x % TAGS
    expected = oracle(model.predict_on_batch(x), labels, x > 0, to_numpy(layer.trans))
    history = model.fit(x, labels, batch_size=6, verbose=0).history
    assert [history["loss"][0], history["sparse_accuracy"][0]] == pytest.approx(list(expected), rel=1e-4)
    assert model.evaluate(x, labels, batch_size=6, verbose=0) == pytest.approx(list(expected), rel=1e-4)
