"""The three backends compute the same. Each run writes outputs for equal weights and inputs; a last run compares them.

``KERAS_SU_CROSS_BACKEND`` names the folder; ``KERAS_SU_COMPARE=1`` marks the comparing run.
"""

import os
from pathlib import Path

import keras
import numpy as np
import pytest
from families import FAMILIES, built, run

FOLDER = os.environ.get("KERAS_SU_CROSS_BACKEND")
COMPARING = os.environ.get("KERAS_SU_COMPARE") == "1"
BACKENDS = ("tensorflow", "jax", "torch")


def outputs(row):
    """Outputs of every application with weights that depend on a seed only, not on the backend."""
    result = {}
    for application in row.applications:
        inputs = row.inputs()
        text = int(row.kind in ("seq2seq", "half"))
        inputs[text][1, 5:] = row.pad or 0
        if row.kind == "seq2seq":
            inputs[0][2, 6:] = row.pad
        result[application] = run(built(row, application), inputs)
    return result


@pytest.mark.parametrize("row", FAMILIES, ids=lambda row: row.name)
def test_outputs_of_this_backend(row):
    computed = outputs(row)
    assert all(np.isfinite(value).all() for value in computed.values())
    if FOLDER and not COMPARING:
        folder = Path(FOLDER) / keras.backend.backend()
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / f"{row.name}.npz", **computed)


if COMPARING:

    @pytest.mark.parametrize("row", FAMILIES, ids=lambda row: row.name)
    def test_backends_agree(row):
        stored = {backend: np.load(Path(FOLDER) / backend / f"{row.name}.npz") for backend in BACKENDS}
        for name in stored["jax"].files:
            atol = 1e-5 * max(1.0, np.abs(stored["jax"][name]).max())
            for backend in BACKENDS:
                found = stored[backend][name]
                np.testing.assert_allclose(found, stored["jax"][name], atol=atol, rtol=1e-5, err_msg=f"{backend} {name}")
