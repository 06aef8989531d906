"""One voice for every error message: what was given, what was expected, and the nearest valid choice."""

import difflib
import importlib


class KerasSuError(ValueError):
    """Base of the errors that keras_su raises for wrong input; also a ``ValueError``."""


class CheckpointError(KerasSuError):
    """A weight file cannot be read, or does not fit the model it is loaded into."""


class MissingDependencyError(ImportError):
    """An optional package is needed; the message names the ``pip install`` that brings it."""


def nearest(name, known, count=1):
    """The at most ``count`` entries of ``known`` that look most like ``name``, best first (perhaps none)."""
    return difflib.get_close_matches(str(name), [str(k) for k in known], n=count, cutoff=0.6)


def did_you_mean(name, known):
    """``" Did you mean 'bert'?"`` or an empty string when nothing is near."""
    found = nearest(name, known)
    return f" Did you mean {found[0]!r}?" if found else ""


def listing(names, most=12):
    """``"a, b, c, ... (27)"``: the first names in order, and how many there are when some are left out."""
    names = [str(n) for n in names]
    if len(names) <= most:
        return ", ".join(names)
    return ", ".join(names[:most]) + f", ... ({len(names)})"


def unknown_name(kind, name, known, hint=""):
    """The error for a name that is not in a list of choices.

    >>> str(unknown_name("model", "roformer-v2", ["bert", "roformer_v2"]))
    "Unknown model 'roformer-v2'. Did you mean 'roformer_v2'? Known: bert, roformer_v2."
    """
    known = sorted({str(k) for k in known})
    message = f"Unknown {kind} {name!r}.{did_you_mean(name, known)} Known: {listing(known, 40)}."
    return KerasSuError(message + (f" {hint}" if hint else ""))


def bad_value(what, given, expected):
    """The error for a value of a wrong type or range: ``"heads: got 0, expected a positive integer."``"""
    return KerasSuError(f"{what}: got {given!r}, expected {expected}.")


def require(module, extra=None, purpose="this"):
    """Import an optional ``module`` or say how to install it.

    Args:
        module: import name, e.g. ``"sentencepiece"``.
        extra: the extra of this package that brings it (``pip install "keras_su[extra]"``), or ``None``.
        purpose: what needs it, for the message.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        install = f'"keras_su[{extra}]"' if extra else module.split(".")[0]
        raise MissingDependencyError(
            f"{purpose} needs the package {module.split('.')[0]!r}, which is not installed. "
            f"Install it with: pip install {install}"
        ) from error
