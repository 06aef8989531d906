"""Pooling: every mode against plain numpy, with padding on either side, and what happens without tokens."""

import keras
import numpy as np
import pytest
from helpers import gradient, to_numpy

from keras_su.errors import KerasSuError
from keras_su.layers import Pooling
from keras_su.layers.pooling import MODES

HIDDEN = np.random.default_rng(3).normal(size=(4, 6, 5)).astype("float32")
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]], bool)


def oracle(hidden, mask, mode):
    """One text, one mode: the tokens that count, and what the name says."""
    tokens = hidden[mask].astype("float64")
    if not len(tokens):
        return np.zeros(hidden.shape[-1])
    weights = np.arange(1, len(tokens) + 1)[:, None]
    return {
        "cls": tokens[0],
        "max": tokens.max(axis=0),
        "mean": tokens.mean(axis=0),
        "mean_sqrt_len": tokens.sum(axis=0) / np.sqrt(len(tokens)),
        "weighted_mean": (tokens * weights).sum(axis=0) / weights.sum(),
        "last": tokens[-1],
    }[mode]


def expected(mode, hidden=HIDDEN, mask=MASK):
    return np.stack([oracle(rows, valid, mode) for rows, valid in zip(hidden, mask)])


@pytest.mark.parametrize("mode", MODES)
def test_modes_against_numpy_whatever_the_padding_holds(mode):
    hidden = np.where(MASK[..., None], HIDDEN, np.nan)
    for mask in (MASK, MASK.astype("int32"), 0.5 * MASK.astype("float32")):
        np.testing.assert_allclose(to_numpy(Pooling(mode)([hidden, mask])), expected(mode), atol=1e-6)


def test_several_modes_stand_in_a_fixed_order():
    for modes in (MODES, MODES[::-1], ["last", "cls"]):
        layer = Pooling(list(modes))
        wanted = np.concatenate([expected(mode) for mode in MODES if mode in modes], axis=-1)
        np.testing.assert_allclose(to_numpy(layer([HIDDEN, MASK])), wanted, atol=1e-6)
        assert Pooling.from_config(layer.get_config()).mode == layer.mode == [mode for mode in MODES if mode in modes]


@pytest.mark.parametrize("mode", MODES)
def test_the_mask_may_be_that_of_keras_or_missing(mode):
    hidden = np.where(MASK[..., None], HIDDEN, 0.0)
    masked = keras.layers.Masking()(hidden)
    np.testing.assert_allclose(to_numpy(Pooling(mode)(masked)), expected(mode), atol=1e-6)
    everything = np.ones_like(MASK)
    np.testing.assert_allclose(to_numpy(Pooling(mode)(HIDDEN)), expected(mode, mask=everything), atol=1e-6)
    np.testing.assert_allclose(to_numpy(Pooling(mode)([masked, everything])), expected(mode, hidden, everything), atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_gradients_reach_tokens_only(mode):
    found = gradient(lambda x: Pooling(mode)([x, MASK]), HIDDEN)
    assert np.all(np.isfinite(found)) and not np.any(found[~MASK])
    assert np.all(np.abs(found).sum(axis=(1, 2))[:3] > 0)


def test_sums_are_taken_in_float32():
    hidden = np.ones((1, 3000, 1), "float32")
    assert float(to_numpy(Pooling("mean", dtype="mixed_bfloat16")(hidden))[0, 0]) == 1.0
    assert float(to_numpy(Pooling("mean_sqrt_len", dtype="mixed_float16")(100 * hidden))[0, 0]) == pytest.approx(5477, abs=4)


def test_what_is_refused():
    with pytest.raises(KerasSuError, match="Unknown pooling mode 'men'. Did you mean 'mean'?"):
        Pooling("men")
    for mode in ([], None, 3):
        with pytest.raises(KerasSuError, match="Pooling: mode"):
            Pooling(mode)
    with pytest.raises(KerasSuError, match=r"hidden states, mask"):
        Pooling()([HIDDEN, MASK, MASK])
