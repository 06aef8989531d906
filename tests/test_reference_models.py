"""Models of transformers with random weights: read, recognised, computed alike, and written back so that it reads them."""

import warnings

import keras
import numpy as np
import pytest
from reference_models import REFERENCES

from keras_su.models import build_transformer_model
from keras_su.models.registry import find_family

transformers = pytest.importorskip("transformers", reason="the reference implementation is not installed")


def outputs_of(handle, reference):
    tokens, second, _ = reference.inputs()
    arrays = [tokens, second][: len(handle.model.inputs)]
    outputs = handle.model([keras.ops.convert_to_tensor(a) for a in arrays], training=False)
    return [keras.ops.convert_to_numpy(o) for o in (outputs if isinstance(outputs, list) else [outputs])]


def compare(found, expected, reference):
    tokens, _, mask = reference.inputs()
    for ours, theirs in zip(found, expected, strict=True):
        ours = ours[..., 0] if ours.shape == (*theirs.shape, 1) else ours  # a discriminator
        assert ours.shape == theirs.shape
        if reference.kind != "seq2seq" and theirs.shape[:2] == mask.shape:
            ours, theirs = ours[mask == 1], theirs[mask == 1]
        np.testing.assert_allclose(ours, theirs, atol=2e-4 * max(1, np.abs(theirs).max()), rtol=0)
        assert np.abs(theirs).max() > 0.05  # nothing is compared with zeros


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: reference.name)
def test_reads_computes_and_writes(reference, tmp_path):
    model = reference.make()
    expected = reference.run(model)
    model.save_pretrained(tmp_path / "theirs")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # everything in the file and in its configuration is understood
        handle = build_transformer_model(tmp_path / "theirs", model=None, return_keras_model=False, **reference.heads)
    assert handle.family is find_family(reference.family)
    compare(outputs_of(handle, reference), expected, reference)

    handle.save_pretrained(tmp_path / "ours")
    again = getattr(transformers, reference.model).from_pretrained(tmp_path / "ours", attn_implementation="eager").eval()
    for one, two in zip(expected, reference.run(again)):
        np.testing.assert_allclose(one, two, atol=1e-5)
