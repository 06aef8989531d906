"""What happened while weights were loaded, in a form that fits on a screen."""

import re
from dataclasses import dataclass, field

from keras_su.errors import nearest

_MOST = 10


@dataclass
class LoadReport:
    """The outcome of loading one checkpoint into one model.

    Attributes:
        source: the file.
        family: the model family asked for.
        table: dialect of the name table used.
        loaded: number of variables filled.
        missing: ``(our variable, tensor expected in the file)`` pairs.
        mismatched: ``(our variable, its shape, shape in the file)`` triples.
        unused: tensors of the file that nothing asked for and the family does not know.
        initial: our variables that no file holds; they keep their initial values.
        casts: dtype in the file -> number of tensors converted.
        settings: settings of the configuration file that are unknown.
        names: all tensor names of the file, for suggestions.
        fits_better: text about a family that fits the file, when this one does not.
    """

    source: str
    family: str
    table: str
    loaded: int = 0
    missing: list = field(default_factory=list)
    mismatched: list = field(default_factory=list)
    unused: list = field(default_factory=list)
    initial: list = field(default_factory=list)
    casts: dict = field(default_factory=dict)
    settings: list = field(default_factory=list)
    names: list = field(default_factory=list, repr=False)
    fits_better: str = ""

    @property
    def complete(self):
        """Whether every variable found its tensor."""
        return not (self.missing or self.mismatched)

    def __str__(self):
        if self.complete:
            head = f"{self.source}: {self.loaded} variables of model {self.family!r} loaded (names: {self.table})."
        else:
            found = f"{self.loaded} of {self.loaded + len(self.missing) + len(self.mismatched)} variables found"
            head = f"{self.source} does not fit model {self.family!r} (names: {self.table}; {found})."
        return "\n".join([head, *self._lines()])

    def _lines(self):
        lines = [self.fits_better] if self.fits_better else []
        present = {_NUMBERS.sub("#", name): name for name in self.names}
        for ours, theirs in fold_pairs(self.missing)[:_MOST]:
            lines.append(f"  missing   {ours}  <- {theirs}")
            near = nearest(_NUMBERS.sub("#", theirs), present)
            if near:
                lines.append(f"            nearest in the file: {present[near[0]]}")
        lines += _more(len(fold_pairs(self.missing)))
        for ours, wanted, given in self.mismatched[:_MOST]:
            lines.append(f"  shape     {ours}  model {tuple(wanted)}  file {tuple(given)}{_vocabulary_hint(ours, wanted, given)}")
        lines += _more(len(self.mismatched))
        for name in fold(self.unused)[:_MOST]:
            lines.append(f"  unused    {name}")
        lines += _more(len(fold(self.unused)))
        if self.casts:
            lines.append("  cast      " + ", ".join(f"{count} tensors from {dtype}" for dtype, count in self.casts.items()))
        if self.settings:
            lines.append(f"  unknown settings in the configuration: {', '.join(self.settings)}")
        return lines


_NUMBERS = re.compile(r"\d+")


def fold(names):
    """Merge names that differ only in one running number.

    >>> fold(["layer_0/bias", "layer_1/bias", "layer_2/bias", "pooler"])
    ['layer_{0..2}/bias', 'pooler']
    """
    return [ours for ours, _ in fold_pairs([(name, "") for name in names])]


def fold_pairs(pairs):
    """:func:`fold` for pairs of names that run together, however each side writes the number.

    >>> fold_pairs([("h0/w", "layer.00.w"), ("h1/w", "layer.01.w"), ("h2/w", "layer.02.w")])
    [('h{0..2}/w', 'layer.{0..2}.w')]
    """
    groups = {}
    for ours, theirs in pairs:
        groups.setdefault((_NUMBERS.sub("#", ours), _NUMBERS.sub("#", theirs)), []).append((ours, theirs))
    return [pair for members in groups.values() for pair in _fold_group(members)]


def _fold_group(members):
    """Pairs that differ in their numbers only, as one pair if it is one number that differs."""
    columns = list(zip(*([int(n) for side in member for n in _NUMBERS.findall(side)] for member in members)))
    running = {values for values in columns if len(set(values)) > 1}
    if len(running) != 1:
        return members
    values = sorted(running.pop())
    consecutive = values == list(range(values[0], values[-1] + 1))
    span = f"{values[0]}..{values[-1]}" if consecutive else ",".join(map(str, values))
    varies = iter(len(set(column)) > 1 for column in columns)
    return [tuple(_NUMBERS.sub(lambda match: f"{{{span}}}" if next(varies) else match[0], side) for side in members[0])]


def _more(count):
    return [f"            ... and {count - _MOST} more"] if count > _MOST else []


def _vocabulary_hint(ours, wanted, given):
    if ours.startswith(("Embedding-Token/", "MLM-Bias/")) and wanted[1:] == given[1:]:
        return f".  Pass keep_tokens=, or vocab_size={given[0]}."
    return ""
