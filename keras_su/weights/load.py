"""From a file into a model, and back."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_su.errors import CheckpointError, KerasSuError, bad_value
from keras_su.weights.names import Source
from keras_su.weights.report import LoadReport


class VocabularyRows:
    """Which rows of a vocabulary a model keeps, and which it makes from several.

    Args:
        keep_tokens: row numbers to keep, in their new order; ``None`` keeps all.
        compound_tokens: for each further token, a list of (new) row numbers whose mean it becomes, or a pair ``(numbers,
            weights)``.

    >>> rows = VocabularyRows([2, 0], [[0, 1]])
    >>> rows.select(np.array([[1.0], [2.0], [3.0]])).tolist()
    [[3.0], [1.0], [2.0]]
    """

    def __init__(self, keep_tokens=None, compound_tokens=None):
        self.keep_tokens = None if keep_tokens is None else [int(i) for i in keep_tokens]
        self.compound_tokens = [item if isinstance(item, tuple) else (item, [1] * len(item)) for item in compound_tokens or []]

    def __bool__(self):
        return self.keep_tokens is not None or bool(self.compound_tokens)

    def resize(self, vocab_size):
        """The vocabulary size that is left of ``vocab_size``, after checking every number."""
        _check_rows("keep_tokens", self.keep_tokens or [], vocab_size)
        kept = vocab_size if self.keep_tokens is None else len(self.keep_tokens)
        for numbers, weights in self.compound_tokens:
            _check_rows("compound_tokens", numbers, kept)
            if len(numbers) != len(weights) or not numbers:
                raise bad_value("compound_tokens", (numbers, weights), "as many weights as tokens, at least one")
        return kept + len(self.compound_tokens)

    def select(self, array):
        """The rows of ``array`` (axis 0) as the model wants them."""
        return self.compose(array if self.keep_tokens is None else array[self.keep_tokens])

    def compose(self, array):
        """Append the compound rows to kept ones."""
        if not self.compound_tokens:
            return array
        wide = array.astype(np.promote_types(array.dtype, "float32"))
        extra = [np.average(wide[list(numbers)], axis=0, weights=weights) for numbers, weights in self.compound_tokens]
        return np.concatenate([wide, np.stack(extra).astype(wide.dtype)], axis=0)


def _check_rows(what, numbers, size):
    wrong = [n for n in numbers if not 0 <= int(n) < size]
    if wrong:
        raise bad_value(what, wrong[0], f"token ids from 0 to {size - 1}")


def choose_map(reader, maps):
    """The name table that fits the file best, among those of its dialect."""
    fitting = [name_map for name_map in maps if name_map.format == reader.format] or list(maps)
    names = reader.names()
    return max(fitting, key=lambda name_map: name_map.score(names)[0])


@dataclass
class Step:
    """One assignment: a variable, where its values are, and which part of the tensor they are.

    ``cut`` is a tuple ``(axis, start, stop, total, groups)``, or ``None`` for the whole tensor.
    """

    variable: Any
    source: Source
    name: str
    cut: tuple | None = None


def plan(variables, reader, name_map, rows, report, waive=(), groups=None):
    """Match variables with tensors; fills the failures into ``report``.

    Args:
        variables: dictionary our path -> Keras variable.
        reader: the opened file.
        name_map: its name table.
        rows: :class:`VocabularyRows`.
        report: receives what is missing, mismatched, unused.
        waive: regular expressions of variables or tensors that may stay unfilled.
        groups: numbers of heads by name, for tensors that are joined head by head.

    Returns:
        list of :class:`Step`.
    """
    canonical = name_map.canonical(reader.names())
    pieces = pieces_of(variables, name_map)
    steps, used = [], set()
    for path, variable in variables.items():
        source = name_map.find(path)
        if source is None or source.name not in canonical:
            theirs = "(this family has no name for it in this kind of file)" if source is None else source.name
            if name_map.keeps_initial_value(path) or _waived(path, waive) or _waived(theirs, waive):
                report.initial.append(path)
            else:
                report.missing.append((path, theirs))
            continue
        name = canonical[source.name]
        used.add(source.name)
        given, cut = tuple(reader.shape(name)), None
        if source.piece is not None:
            given, cut = _cut(source, given, pieces[source.name], groups or {})
        given = _without_rows(source, given, rows)
        given = source.shape(given)
        if given != tuple(variable.shape):
            if _waived(path, waive):
                report.initial.append(path)
            else:
                report.mismatched.append((path, tuple(variable.shape), given))
            continue
        steps.append(Step(variable, source, name, cut))
    report.unused = [name for name in canonical if name not in used and not name_map.knows(name)]
    report.names = list(canonical)
    return steps


def pieces_of(variables, name_map):
    """For each tensor that holds several variables: their sizes along the joined axis, in order."""
    sizes = {}
    for path, variable in variables.items():
        source = name_map.find(path)
        if source is not None and source.piece is not None:
            stored = source.stored_shape(tuple(variable.shape))
            sizes.setdefault(source.name, {})[source.piece.index] = stored[source.piece.axis]
    return {name: [parts[index] for index in sorted(parts)] for name, parts in sizes.items()}


def _cut(source, given, sizes, groups):
    """Shape of a piece, and where it lies; a tensor of another size keeps its shape, which then does not match."""
    piece = source.piece
    if piece.axis >= len(given) or given[piece.axis] != sum(sizes):
        return given, None
    count = groups.get(piece.groups, 1)
    start = sum(sizes[: piece.index]) // count
    stop = start + sizes[piece.index] // count
    given = tuple(sizes[piece.index] if axis == piece.axis else size for axis, size in enumerate(given))
    return given, (piece.axis, start, stop, count)


def take(array, cut):
    """The piece of a tensor that ``cut`` describes."""
    axis, start, stop, count = cut
    shape = array.shape
    split = array.reshape(*shape[:axis], count, shape[axis] // count, *shape[axis + 1 :])
    part = split[(slice(None),) * (axis + 1) + (slice(start, stop),)]
    return part.reshape(*shape[:axis], -1, *shape[axis + 1 :])


def join(arrays, piece, groups):
    """The tensor of several pieces; the inverse of :func:`take`."""
    count, axis = groups.get(piece.groups, 1), piece.axis
    split = [a.reshape(*a.shape[:axis], count, a.shape[axis] // count, *a.shape[axis + 1 :]) for a in arrays]
    joined = np.concatenate(split, axis=axis + 1)
    return joined.reshape(*arrays[0].shape[:axis], -1, *arrays[0].shape[axis + 1 :])


def _without_rows(source, shape, rows):
    """The shape that is left of a stored one when ``rows`` has been applied to its vocabulary axis."""
    if not rows or source.vocabulary is None:
        return shape
    if source.vocabulary == "rows":
        return (_resized(rows, shape[0]), *shape[1:])
    return (*shape[:-1], _resized(rows, shape[-1]))


def _resized(rows, size):
    try:
        return rows.resize(size)
    except KerasSuError as error:
        raise CheckpointError(f"The vocabulary of the file has {size} tokens. {error}") from error


def _waived(name, patterns: Sequence[str]):
    return any(re.search(pattern, name) for pattern in patterns)


def execute(steps, reader, rows, report):
    """Read and assign, one tensor at a time. Trainable or not makes no difference."""
    shared = {}  # the tensor that the neighbouring steps take their pieces from
    for step in steps:
        array = _read(step, reader, rows, shared)
        if array.dtype.name != step.variable.dtype and array.dtype.name != "float64":
            report.casts[array.dtype.name] = report.casts.get(array.dtype.name, 0) + 1
        if array.dtype.name == "bfloat16":  # not every backend takes ml_dtypes arrays
            array = array.astype("float32")
        step.variable.assign(step.source.forward(array))
    report.loaded = len(steps)


def _read(step, reader, rows, shared):
    if step.cut is not None:
        if step.name not in shared:
            shared.clear()
            shared[step.name] = reader.read(step.name)
        return take(shared[step.name], step.cut)
    if step.source.vocabulary == "rows":
        return rows.compose(reader.read(step.name, rows=rows.keep_tokens))
    array = reader.read(step.name)
    if step.source.vocabulary == "columns" and rows:
        return np.ascontiguousarray(rows.select(np.moveaxis(array, -1, 0)).swapaxes(0, -1))
    return array


def load(variables, reader, maps, *, family="?", rows=None, waive=(), strict=True, alternatives=None, groups=None):
    """Fill variables from a file.

    Args:
        variables: dictionary our path -> Keras variable.
        reader: an open :class:`~keras_su.weights.readers.Reader`.
        maps: name tables of the family.
        family: its name, for messages.
        rows: :class:`VocabularyRows`, or ``None``.
        waive: regular expressions of variables that may keep their initial values.
        strict: raise when something is missing; otherwise the caller looks at the report.
        alternatives: function without arguments that names a family which fits the file, for the error.
        groups: numbers of heads by name, for tensors that are joined head by head.

    Returns:
        :class:`~keras_su.weights.report.LoadReport`.

    Raises:
        CheckpointError: ``strict``, and a variable is missing or has another shape. Nothing has been assigned then.
    """
    rows = rows or VocabularyRows()
    name_map = choose_map(reader, maps)
    report = LoadReport(source=str(reader.path), family=family, table=name_map.format)
    steps = plan(variables, reader, name_map, rows, report, waive, groups)
    if not report.complete:
        report.loaded = len(steps)
        report.fits_better = alternatives() if alternatives else ""
        if strict:
            raise CheckpointError(str(report))
    execute(steps, reader, rows, report)
    return report


def dump(variables, name_map, groups=None):
    """Iterate over ``(tensor name, array)`` pairs of a checkpoint in the dialect of ``name_map``.

    Raises:
        CheckpointError: a variable has no name in that dialect, or two that share a tensor of the file have become different.
    """
    sizes, parts, written = pieces_of(variables, name_map), {}, {}
    sources = [name_map.find(path) for path in variables]
    uses = Counter(source.name for source in sources if source is not None and source.piece is None)
    for path, variable in variables.items():
        source = name_map.find(path)
        if source is None:
            raise CheckpointError(
                f"{path} has no name in {name_map.format} checkpoints of this family, so the model cannot be written as one."
            )
        array = source.backward(keras.ops.convert_to_numpy(variable.value if hasattr(variable, "value") else variable))
        if source.piece is not None:
            found = parts.setdefault(source.name, {})
            found[source.piece.index] = array
            if len(found) < len(sizes[source.name]):
                continue
            array = join([found[index] for index in sorted(found)], source.piece, groups or {})
            del parts[source.name]
        if source.name in written:
            if not np.array_equal(written[source.name], array):
                raise CheckpointError(f"The file keeps {source.name} once, but {path} differs from the other layers that use it.")
            continue
        if uses[source.name] > 1:  # layers that a file keeps once
            written[source.name] = array
        yield source.name, array
