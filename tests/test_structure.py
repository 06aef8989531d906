"""Properties of the code base that keep it readable, checked instead of hoped for."""

import dataclasses
import inspect

import pytest

from keras_su.models import heads, parts, spec

CLASSES = [
    item
    for module in (spec, parts, heads)
    for _, item in inspect.getmembers(module, inspect.isclass)
    if dataclasses.is_dataclass(item) and item.__module__ == module.__name__
]


@pytest.mark.parametrize("description", CLASSES, ids=lambda item: item.__name__)
def test_descriptions_stay_small_and_hashable(description):
    """A class with many switches wants to be two classes; the graph shares nodes by equal value, so values must hash."""
    assert len(dataclasses.fields(description)) <= 14
    assert description.__dataclass_params__.frozen
    assert description.__hash__ is not None
