"""Which heads a file has: those whose variables all have a tensor in it."""

from dataclasses import dataclass

from keras_su.backend.calls import without_values
from keras_su.errors import KerasSuError
from keras_su.models.config import Config
from keras_su.models.graph import make_graph
from keras_su.models.handle import Transformer
from keras_su.weights.report import fold

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
    with without_values():
        graph = make_graph(family.spec(config), dtype="float32")
        graph.build()
    config.done()
    config.reader = None
    handle = Transformer(graph, family, config)
    options = sorted(config.head_options, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
    return Sketch(handle, frozenset(handle.variables()), options)


@dataclass
class Skipped:
    """A head that is not carried over, though the file has something of it.

    Attributes:
        option: the setting that would switch it on.
        reason: why.
        variables: paths of its variables.
    """

    option: str
    reason: str
    variables: frozenset


def find_heads(family, values, settings, present, placed=None, reader=None):
    """Settings that build the model with every head that a file has.

    Each ``with_...`` that the family knows is tried in turn, and kept when it adds variables and all of them are in the file. One
    that is on by default is switched off when its variables are not. What the caller has set is left alone.

    Args:
        family: the family.
        values: settings of the configuration file.
        settings: settings of the caller.
        present: function from a variable path to whether the file has it.
        placed: function from a variable path to whether the target has a place for it; default is that it has.
        reader: the opened checkpoint.

    Returns:
        ``(settings, skipped)``: the settings with those of the heads, and a list of :class:`Skipped`.
    """
    settings, skipped = dict(settings), []
    plain = sketch(family, values, settings, reader)
    for option in plain.options:
        if option in settings:
            continue
        value = "linear"
        attempt = _try(family, values, {**settings, option: value}, reader)
        if attempt is None:
            value = True
            attempt = _try(family, values, {**settings, option: value}, reader)
        if attempt is None:
            continue
        added = attempt.variables - plain.variables
        is_default = not added
        if is_default:
            without = _try(family, values, {**settings, option: False}, reader)
            added = attempt.variables - without.variables if without else frozenset()
        missing = sorted(path for path in added if not present(path))
        homeless = sorted(path for path in added if placed is not None and not placed(path))
        if added and not missing and not homeless:
            settings[option] = value if option not in ("with_pool", "with_nsp") else True
            continue
        if 0 < len(missing) < len(added):
            skipped.append(Skipped(option, f"a head of which the source lacks {', '.join(fold(missing))}", added))
        elif homeless and not missing:
            skipped.append(Skipped(option, "a head that the target has no names for", added))
        if added and is_default:
            settings[option] = False
    return settings, skipped


def _try(family, values, settings, reader):
    try:
        return sketch(family, values, settings, reader)
    except (KerasSuError, ValueError, TypeError):
        return None
