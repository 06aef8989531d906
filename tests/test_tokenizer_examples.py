"""The examples in the docstrings of the tokenizers run as written."""

import doctest
import importlib
import pkgutil

import pytest

from keras_su import tokenizers

MODULES = [module.name for module in pkgutil.iter_modules(tokenizers.__path__, "keras_su.tokenizers.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    assert sum(len(test.examples) for name in MODULES for test in finder.find(importlib.import_module(name))) > 20
