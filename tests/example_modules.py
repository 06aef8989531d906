"""The examples as modules: they import each other, and what they share, from their own folder."""

import importlib
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name):
    """A module of the folder ``examples``, such as ``"task_ner"`` or ``"readers.entities"``."""
    if str(EXAMPLES) not in sys.path:
        sys.path.insert(0, str(EXAMPLES))
    return importlib.import_module(name)
