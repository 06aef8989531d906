"""Names of layers, paths and shapes of variables are public: a change breaks scripts, checkpoints and saved files."""

import json
import re
from pathlib import Path

import pytest
from families import FAMILIES

from keras_su.models import build_transformer_model

TREES = Path(__file__).parent / "trees"


def tree(row):
    """Layers in order, and variables with their shapes, for each combination of heads and application."""
    result = {}
    for k, heads in enumerate(row.heads):
        handle = build_transformer_model(row.config, model=row.name, return_keras_model=False, **heads)
        result[f"heads-{k}"] = {
            "layers": [layer.name for layer in handle.model.layers],
            "variables": {path: list(variable.shape) for path, variable in handle.variables().items()},
        }
    return result


def text(row):
    """The tree as JSON with one line for each layer and each variable."""
    lines = json.dumps(tree(row), indent=1)
    return re.sub(r"\[\s+((?:\d+,?\s+)+)\]", lambda found: f"[{' '.join(found[1].split())}]", lines) + "\n"


@pytest.mark.parametrize("row", FAMILIES, ids=lambda row: row.name)
def test_names_and_shapes_are_frozen(row):
    """After an intended change: ``python tests/test_family_variables.py`` writes the files anew; read the difference."""
    stored = json.loads((TREES / f"{row.name}.json").read_text(encoding="utf-8"))
    assert tree(row) == stored


if __name__ == "__main__":
    TREES.mkdir(exist_ok=True)
    for row in FAMILIES:
        (TREES / f"{row.name}.json").write_text(text(row), encoding="utf-8")
