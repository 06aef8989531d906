"""What must not change a result: padding, the other rows of a batch, the length of a batch."""

import keras
import numpy as np
import pytest
from families import FAMILIES

from keras_su.models import build_transformer_model, list_models

CASES = [(row, application) for row in FAMILIES for application in row.applications]
IDS = [f"{row.name}-{application}" for row, application in CASES]


def test_every_family_has_a_row():
    names = {row.name for row in FAMILIES}
    from keras_su.models.registry import families

    assert {family.name for family in families()} == names
    assert names <= set(list_models())


def build(row, application, **options):
    keras.utils.set_random_seed(7)
    head = {} if application == "encoder" else {"with_mlm": "linear"}
    return build_transformer_model(row.config, model=row.name, application=application, **{**head, **options})


def run(model, arrays):
    return keras.ops.convert_to_numpy(model([keras.ops.convert_to_tensor(a) for a in arrays], training=False))


def pad(arrays, before=0, after=0):
    return [np.pad(a, ((0, 0), (before, after))) for a in arrays]


@pytest.mark.parametrize(("row", "application"), CASES, ids=IDS)
def test_right_padding_batch_order_and_single_rows(row, application):
    model = build(row, application)
    arrays = row.inputs()
    expected = run(model, arrays)
    length = expected.shape[1]
    np.testing.assert_allclose(run(model, pad(arrays, after=5))[:, :length], expected, atol=1e-5)
    order = [2, 0, 1]
    np.testing.assert_allclose(run(model, [a[order] for a in arrays]), expected[order], atol=1e-5)
    for i in range(len(expected)):
        np.testing.assert_allclose(run(model, [a[i : i + 1] for a in arrays]), expected[i : i + 1], atol=1e-5)


@pytest.mark.parametrize(("row", "application"), CASES, ids=IDS)
def test_left_padding(row, application):
    model = build(row, application, custom_position_ids="padding_on_left")
    arrays = row.inputs()
    expected = run(model, arrays)
    padded = run(model, pad(arrays, before=4))
    np.testing.assert_allclose(padded[:, 4:], expected, atol=1e-5)
    assert np.isfinite(padded).all()


@pytest.mark.parametrize(("row", "application"), CASES, ids=IDS)
def test_a_row_of_padding_only_is_finite(row, application):
    model = build(row, application)
    arrays = row.inputs()
    for array in arrays:
        array[1] = 0
    result = run(model, arrays)
    assert np.isfinite(result).all()
    np.testing.assert_allclose(result[[0, 2]], run(model, [a[[0, 2]] for a in row.inputs()]), atol=1e-5)


@pytest.mark.parametrize("row", FAMILIES, ids=lambda row: row.name)
def test_three_lengths_through_one_compiled_model(row):
    model = build(row, "unilm")
    for length in (9, 5, 12):
        arrays = row.inputs(length=length)
        np.testing.assert_allclose(model.predict(arrays, verbose=0), run(model, arrays), atol=1e-5)


@pytest.mark.parametrize(("row", "application"), CASES, ids=IDS)
def test_influence_follows_the_mask(row, application):
    """A token changes exactly the outputs that may see it."""
    model = build(row, application)
    arrays = row.inputs(batch=1, length=6)
    before = run(model, arrays)[0]
    for changed in range(6):
        other = [a.copy() for a in arrays]
        other[0][0, changed] = 3
        moved = np.abs(run(model, other)[0] - before).max(-1) > 1e-6
        for seen_by in range(6):
            visible = {
                "encoder": True,
                "lm": changed <= seen_by,
                "unilm": changed <= seen_by or arrays[1][0, changed] == 0,
            }[application]
            assert moved[seen_by] == visible, (changed, seen_by)


@pytest.mark.parametrize("row", FAMILIES, ids=lambda row: row.name)
def test_every_named_layer_keeps_the_padding_mask(row):
    model = build(row, "encoder")
    arrays = row.inputs()
    arrays[0][1, 5:] = 0
    names = [
        layer.name for layer in model.layers if layer.name.startswith(("Transformer-", "Embedding-Norm", "Embedding-Position"))
    ]
    probe = keras.Model(model.inputs, [model.get_layer(name).output for name in names])
    pooled = keras.layers.GlobalAveragePooling1D()
    for name, output in zip(names, probe([keras.ops.convert_to_tensor(a) for a in arrays], training=False)):
        values = keras.ops.convert_to_numpy(output)
        expected = values[1, :5].mean(0)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(pooled(output))[1], expected, atol=1e-5, err_msg=name)
