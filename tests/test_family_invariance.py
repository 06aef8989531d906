"""What must not change a result: padding, the other rows of a batch, the length of a batch. And what must: visible tokens."""

import keras
import numpy as np
import pytest
from families import FAMILIES, built, family, run

from keras_su.models import list_models
from keras_su.models.registry import families

CASES = [(row, application) for row in FAMILIES for application in row.applications]
IDS = [f"{row.name}-{application}" for row, application in CASES]
LENGTHS = (9, 6, 12)


def test_every_family_has_a_row():
    assert {row.name for row in FAMILIES} == {family.name for family in families()} <= set(list_models())
    assert len(FAMILIES) == len(families())


@pytest.mark.parametrize(("row", "application"), CASES, ids=IDS)
def test_length_padding_and_order_of_a_batch(row, application):
    """Rows of three lengths give in one padded batch, in any order, what each gives alone."""
    model = built(row, application)
    alone = [row.inputs(batch=1, length=length, seed=length) for length in LENGTHS]
    if row.kind == "half":  # all states count, so they must be equally many
        alone = [[alone[2][0], arrays[1]] for arrays in alone]
    rows = [row.padded(arrays, after=12 - length) for arrays, length in zip(alone, LENGTHS)]
    if row.kind == "seq2seq":
        rows = [[row.pad_text(source, after=12 - length), text] for (source, text), length in zip(rows, LENGTHS)]
    batch = [np.concatenate(arrays) for arrays in zip(*rows)]
    together = run(model, batch)
    for found, arrays, length in zip(together, alone, LENGTHS):
        expected = run(model, arrays if length == 9 else [np.repeat(a, 3, axis=0) for a in arrays])
        np.testing.assert_allclose(found[:length], expected[0], atol=2e-5, rtol=1e-5)
    order = [2, 0, 1]
    np.testing.assert_allclose(run(model, [a[order] for a in batch]), together[order], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["bert", "llama", "t5.1.1"])
def test_three_lengths_through_one_compiled_model(name):
    row = family(name)
    model = row.build(row.applications[0])
    for length in (9, 6):
        arrays = row.inputs(length=length)
        np.testing.assert_allclose(model.predict(arrays, verbose=0), run(model, arrays), atol=2e-5, rtol=1e-5)


LEFT = [(row, application) for row, application in CASES if row.kind in ("encoder", "decoder")]


@pytest.mark.parametrize(("row", "application"), LEFT, ids=[f"{row.name}-{application}" for row, application in LEFT])
def test_left_padding(row, application):
    model = built(row, application, custom_position_ids="padding_on_left")
    arrays = row.inputs()
    padded = run(model, row.padded(arrays, before=3))
    np.testing.assert_allclose(padded[:, 3:], run(model, arrays), atol=2e-5, rtol=1e-5)
    assert np.isfinite(padded).all()
    if row.pad != 1:  # XLM-RoBERTa's positions begin behind its padding id in any case, and count without padding
        np.testing.assert_allclose(padded[:, 3:], run(built(row, application), arrays), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(("row", "application"), CASES, ids=IDS)
def test_a_row_of_padding_only_is_finite(row, application):
    model = built(row, application)
    arrays = row.inputs()
    for array in arrays:
        if array.dtype == "int32":
            array[1] = row.pad or 0
    result = run(model, arrays)
    assert np.isfinite(result).all()
    np.testing.assert_allclose(result[[0, 2]], run(model, row.inputs())[[0, 2]], atol=1e-5, rtol=1e-5)


def visible(row, application, segments):
    """``[i, j]``: whether the output at i may depend on token j, through all layers."""
    index = np.arange(len(segments))
    distance = index[:, None] - index[None]
    allowed = np.ones_like(distance, bool)
    if row.causal or application == "lm":
        allowed = distance >= 0
    elif application == "unilm":
        allowed = (distance >= 0) | (segments[None] == 0)
    reach = np.eye(len(index), dtype=bool)
    for window in row.windows or (None,):
        layer = allowed if window is None else allowed & (np.abs(distance) < window)
        reach = (layer.astype(int) @ reach.astype(int)) > 0
    return reach


@pytest.mark.parametrize(("row", "application"), CASES, ids=IDS)
def test_influence_follows_the_mask(row, application):
    """A token changes exactly the outputs that may see it. Each row of the batch changes another token."""
    model = built(row, application)
    arrays = row.inputs(batch=1)
    text = int(row.kind in ("seq2seq", "half"))  # the input that the outputs belong to
    length = arrays[text].shape[1]
    batch = [np.repeat(a, length + 3, axis=0) for a in arrays]
    for changed in range(length):
        batch[text][changed + 1, changed] = 3
    if text:
        batch[0][length + 1, 2] = 3  # a token of the source, or a state of the encoder
    result = np.concatenate([run(model, [a[k : k + 3] for a in batch]) for k in range(0, length + 3, 3)])
    moved = np.abs(result[1:] - result[0]).max(-1) > 1e-6 * max(1.0, np.abs(result).max())  # [changed, seen by]
    segments = arrays[1][0] if row.segments else np.zeros(length, int)
    np.testing.assert_array_equal(moved[:length].T, visible(row, application, segments))
    if text:
        assert moved[length].all()


MASKED = [row for row in FAMILIES if row.pad is not None and row.kind in ("encoder", "decoder")]


@pytest.mark.parametrize("row", MASKED, ids=lambda row: row.name)
def test_every_named_layer_keeps_the_padding_mask(row):
    model = built(row, row.applications[0])
    arrays = row.inputs()
    arrays[0][1, 5:] = row.pad
    starts = ("Transformer", "Encoder-Transformer", "Embedding-Norm", "Embedding-Position", "Output-Norm")
    names = [layer.name for layer in model.layers if layer.name.startswith(starts)]
    names = [name for name in names if not name.endswith("Relative-Position")]
    assert len(names) >= 4
    for name in names:
        expected = np.ones(arrays[0].shape, bool)
        expected[1, 5:] = False
        for node in model.get_layer(name)._inbound_nodes:
            assert getattr(node.outputs[0], "_keras_mask", None) is not None, name
    # Keras computes the mask that a layer on top would see.
    mask = keras.Model(model.inputs, model.get_layer(names[-1]).output._keras_mask)(
        [keras.ops.convert_to_tensor(a) for a in arrays]
    )
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(mask), expected)
