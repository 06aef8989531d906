"""Which heads a file has: those whose variables all have a tensor in it."""

from dataclasses import dataclass

import keras

from keras_su.errors import KerasSuError
from keras_su.models.config import Config
from keras_su.models.graph import make_graph
from keras_su.models.handle import Transformer

_FIRST = ("with_pool", "with_nsp", "with_mlm", "with_lm", "with_discriminator")


@dataclass
class Sketch:
    """A model without weights.

    Attributes:
        handle: its handle; the variables have shapes and no values.
        variables: paths of its variables.
        options: names of the settings that switch heads on.
    """

    handle: Transformer
    variables: frozenset
    options: list


def sketch(family, values, settings, reader=None):
    """The model that a configuration describes, without memory for its weights.

    Args:
        family: the family.
        values: settings of the configuration file.
        settings: settings that win over it.
        reader: the opened checkpoint, from which some settings follow.
    """
    settings = dict(settings)
    application = settings.pop("application", "encoder")
    config = Config(values, settings, family.name, application, reader)
    with keras.StatelessScope(initialize_variables=False):
        graph = make_graph(family.spec(config), dtype="float32")
        graph.build()
    config.done()
    config.reader = None
    handle = Transformer(graph, family, config)
    names = [name for name in config._names if name.startswith("with_")]
    options = sorted(names, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
    return Sketch(handle, frozenset(handle.variables()), options)


def find_heads(family, values, settings, present, reader=None):
    """Settings that build the model with every head that a file has.

    Each ``with_...`` that the family knows is tried in turn, and kept when it adds variables and all of them are in the file. One
    that is on by default is switched off when its variables are not. What the caller has set is left alone.

    Args:
        family: the family.
        values: settings of the configuration file.
        settings: settings of the caller.
        present: function from a variable path to whether the file has it.
        reader: the opened checkpoint.

    Returns:
        ``(settings, incomplete)``: the settings with those of the heads, and for each head that is only partly in the file the
        paths that are not.
    """
    settings, incomplete = dict(settings), {}
    plain = sketch(family, values, settings, reader)
    for option in plain.options:
        if option in settings:
            continue
        without = _try(family, values, {**settings, option: False}, reader) or plain
        for value in ("linear", True):
            attempt = _try(family, values, {**settings, option: value}, reader)
            if attempt is not None:
                break
        else:
            continue
        added = attempt.variables - without.variables
        missing = sorted(path for path in added if not present(path))
        if added and not missing:
            settings[option] = value if option not in ("with_pool", "with_nsp") else True
        elif missing:
            if len(missing) < len(added):
                incomplete[option] = missing
            if added <= plain.variables:  # on by default
                settings[option] = False
    return settings, incomplete


def _try(family, values, settings, reader):
    try:
        return sketch(family, values, settings, reader)
    except (KerasSuError, ValueError, TypeError):
        return None
