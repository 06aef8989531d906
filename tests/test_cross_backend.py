"""The three backends compute the same. Each run writes outputs for equal weights and inputs; a last run compares them.

``KERAS_SU_CROSS_BACKEND`` names the folder; ``KERAS_SU_COMPARE=1`` marks the comparing run.
"""

import os
from pathlib import Path

import keras
import numpy as np
import pytest
from families import FAMILIES

from keras_su.models import build_transformer_model

FOLDER = os.environ.get("KERAS_SU_CROSS_BACKEND")
COMPARING = os.environ.get("KERAS_SU_COMPARE") == "1"
BACKENDS = ("tensorflow", "jax", "torch")


def outputs(row):
    """Outputs of every application with weights that depend on the seed only, not on the backend."""
    result = {}
    for application in row.applications:
        heads = {"with_nsp": True, "with_mlm": "linear"}
        model = build_transformer_model(row.config, model=row.name, application=application, **heads)
        rng = np.random.default_rng(11)
        for variable in model.weights:
            if "seed" not in variable.path:
                variable.assign(rng.normal(size=variable.shape).astype("float32") * 0.2)
        inputs = row.inputs(batch=4, length=11)
        inputs[0][2, 6:] = 0
        for name, output in zip(("nsp", "mlm"), model([keras.ops.convert_to_tensor(a) for a in inputs], training=False)):
            result[f"{application}-{name}"] = keras.ops.convert_to_numpy(output)
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
            for backend in BACKENDS:
                np.testing.assert_allclose(
                    stored[backend][name], stored["jax"][name], atol=1e-5, rtol=1e-5, err_msg=f"{backend} {name}"
                )
