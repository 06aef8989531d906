"""Checkpoints load where the libraries that wrote them cannot be imported: the JAX run has neither TensorFlow nor torch."""

import json

import keras
from golden_cases import HERE
from helpers import run_in_fresh_process

CODE = """
import sys
for module in ("tensorflow", "torch", "transformers"):
    if module != sys.argv[2]:
        sys.modules[module] = None  # importing it fails
sys.modules["sklearn"] = None  # Keras imports it where it is there, and SciPy below it stumbles over the gaps
import json, numpy as np, keras
from pathlib import Path
from keras_su import build_transformer_model
for name in json.loads(sys.argv[1]):
    folder = Path(name)
    case = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    run = case["runs"][0]
    model = build_transformer_model(folder / "config.json", folder / case["checkpoint"], **run["builder"])
    io = np.load(folder / "io.npz")
    output = keras.ops.convert_to_numpy(model([io["in_" + key] for key in run["inputs"]], training=False))
    mask = io["in_attention_mask"] == 1 if "in_attention_mask" in io.files else np.ones(output.shape[:2], bool)
    np.testing.assert_allclose(output[mask], io["out_" + run["outputs"][0]][mask], atol=5e-5, rtol=1e-4)
print("loaded")
"""


def test_checkpoints_load_without_the_libraries_that_wrote_them():
    folders = [str(HERE / name) for name in ("bert_encoder", "hf_bert_legacy_bin", "hf_roberta_wwm_bin", "hf_bert_pretraining")]
    assert "loaded" in run_in_fresh_process(CODE, json.dumps(folders), keras.backend.backend())
