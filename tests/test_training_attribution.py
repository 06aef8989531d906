"""Attributions: linear models in closed form, completeness for others, padding, and what is refused."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_su.errors import KerasSuError
from keras_su.layers import Embedding, Pooling
from keras_su.training import gradients_of_layer, integrated_gradients

IDS = np.array([[1, 2, 2, 0], [3, 1, 4, 0]])


def classifier(activation="tanh"):
    ids = keras.Input((None,), dtype="int32")
    hidden = Embedding(5, 6, mask_zero=True, embeddings_initializer="normal", name="Embedding-Token")(ids)
    hidden = keras.layers.Dense(5, activation=activation)(keras.layers.Dropout(0.5)(hidden))
    model = keras.Model(ids, keras.layers.Dense(3, activation="softmax" if activation else None)(Pooling("mean")(hidden)))
    model.set_weights([w * (30 if w.shape == (5, 6) and i == 0 else 1.5) for i, w in enumerate(model.get_weights())])
    return model


def test_scores_add_up_to_the_change_of_the_output():
    model = classifier()
    scores, there, start = integrated_gradients(model, IDS, steps=8, return_outputs=True)
    probabilities = model.predict(IDS, verbose=0)
    np.testing.assert_allclose(there, probabilities.max(axis=1), atol=1e-6)
    assert scores.shape == (2, 4) and np.abs(there - start).min() > 1e-3
    np.testing.assert_allclose(scores.sum(axis=1), there - start, atol=1e-4)
    assert not scores[:, 3].any()  # padding
    coarse = integrated_gradients(model, IDS, steps=1)
    assert np.abs(coarse.sum(axis=1) - (there - start)).max() > 1e-4


def test_linear_models_in_closed_form():
    model = classifier(None)
    table, first, _, second, _ = model.get_weights()
    slopes = (first @ second).T / 3  # of each class at each of three tokens
    expected = np.where(IDS > 0, (table[IDS] * slopes[[2, 0]][:, None]).sum(axis=-1), 0)
    np.testing.assert_allclose(integrated_gradients(model, IDS, output=[2, 0], steps=1), expected, atol=1e-5)
    shifted = integrated_gradients(model, IDS, output=[2, 0], steps=1, baseline=table[4])
    wanted = np.where(IDS > 0, ((table[IDS] - table[4]) * slopes[[2, 0]][:, None]).sum(axis=-1), 0)
    np.testing.assert_allclose(shifted, wanted, atol=1e-5)
    found = gradients_of_layer(model, "Embedding-Token", IDS, output=lambda y: y[:, 1])
    np.testing.assert_allclose(found, np.where(IDS[..., None] > 0, slopes[1], 0), atol=1e-6)


def test_what_is_refused():
    model = classifier()
    with pytest.raises(KerasSuError, match="Unknown layer of .* 'Embedding-Tokens'. Did you mean 'Embedding-Token'?"):
        integrated_gradients(model, IDS, layer="Embedding-Tokens")
    with pytest.raises(KerasSuError, match="output: got 3, expected an index from 0 to 2"):
        integrated_gradients(model, IDS, output=3)
    with pytest.raises(KerasSuError, match="steps: got 0, expected a positive integer"):
        integrated_gradients(model, IDS, steps=0)
    both = keras.Model(model.inputs, [model.output, model.get_layer("Embedding-Token").output])
    with pytest.raises(KerasSuError, match=r"shapes \[\(2, 3\), \(2, 4, 6\)\], not \(batch, classes\)"):
        integrated_gradients(both, IDS)
    assert integrated_gradients(both, IDS, output=lambda outputs: outputs[0][:, 0]).shape == IDS.shape
    ids = [keras.Input((None,), dtype="int32") for _ in range(2)]
    twins = keras.Model(ids, ops.concatenate([model(x) for x in ids]))
    with pytest.raises(KerasSuError, match="calls its layer 'Embedding-Token' 2 times"):
        integrated_gradients(twins, [IDS, IDS])
