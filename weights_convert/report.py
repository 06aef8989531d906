"""What a conversion did, in full as JSON and folded for the screen."""

from collections import Counter
from dataclasses import asdict, dataclass, field

from keras_su.weights.report import fold, fold_pairs

_MOST = 40


@dataclass
class Report:
    """The outcome of a conversion.

    Attributes:
        source, target: where from and where to.
        format: of the target, ``"hf"``, ``"tf"`` or ``"keras"``.
        family: name of the model family.
        settings: settings beyond the configuration, those of the heads included.
        renamed: ``(tensor of the source, tensor of the target)`` pairs, equal ones included.
        dropped: tensor of the source -> why the target lacks it.
        casts: tensor of the target -> ``(dtype before, dtype after)``.
        vocabulary: sizes before and after, when tokens were dropped.
        files, left_out: tokenizer files copied, and those that were not with the reason.
        notes: what else should be known.
        source_tensors, source_bytes, target_tensors, target_bytes: counts and sizes of all tensors.
        dtypes: dtype -> number of tensors in the target.
        verified: ``None``, or the result of the comparison: ``{"outputs": {name: difference}, "tolerance": ..., "tensors": ..}``.
    """

    source: str
    target: str
    format: str
    family: str = ""
    settings: dict = field(default_factory=dict)
    renamed: list = field(default_factory=list)
    dropped: dict = field(default_factory=dict)
    casts: dict = field(default_factory=dict)
    vocabulary: tuple | None = None
    files: list = field(default_factory=list)
    left_out: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)
    source_tensors: int = 0
    source_bytes: int = 0
    target_tensors: int = 0
    target_bytes: int = 0
    dtypes: dict = field(default_factory=dict)
    verified: dict | None = None

    def as_json(self):
        """Everything, for ``--report``."""
        return asdict(self)

    def __str__(self):
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        lines = [
            f"{self.source} -> {self.target} ({self.format})",
            f"family    {self.family}{f' with {settings}' if settings else ''}",
            f"tensors   {self.source_tensors} ({size(self.source_bytes)}) -> {self.target_tensors} ({size(self.target_bytes)}), "
            + ", ".join(f"{count} {dtype}" for dtype, count in self.dtypes.items()),
        ]
        if self.vocabulary:
            lines.append(f"tokens    {self.vocabulary[0]} -> {self.vocabulary[1]}")
        same = sum(ours == theirs for ours, theirs in self.renamed)
        if same:
            lines.append(f"kept      {same} names")
        lines += _some("renamed", [f"{a} -> {b}" for a, b in fold_pairs([pair for pair in self.renamed if pair[0] != pair[1]])])
        lines += _some("dropped", [f"{name}: {reason}" for reason, names in _by_reason(self.dropped) for name in fold(names)])
        for (before, after), count in Counter(self.casts.values()).items():
            lines.append(f"cast      {count} tensors {before} -> {after}")
        if self.files:
            lines.append(f"files     {', '.join(self.files)}")
        lines += [f"left out  {', '.join(sorted(names))}: {reason}" for reason, names in _by_reason(self.left_out)]
        lines += [f"note      {note}" for note in self.notes]
        if self.verified:
            worst = max(self.verified["outputs"].values(), default=0.0)
            lines.append(
                f"verified  {len(self.verified['outputs'])} outputs, largest difference {worst:.3g} "
                f"(tolerance {self.verified['tolerance']:g}); {self.verified['tensors']} tensors read back"
            )
        return "\n".join(lines)


def size(count):
    """A number of bytes for people.

    >>> size(409_000_000), size(12)
    ('409.0 MB', '12 B')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000


def _by_reason(dropped):
    """``(reason, names)`` pairs."""
    reasons = {}
    for name, reason in dropped.items():
        reasons.setdefault(reason, []).append(name)
    return reasons.items()


def _some(title, lines):
    more = [f"{'':10}... and {len(lines) - _MOST} more; --report FILE.json has all"] if len(lines) > _MOST else []
    return [f"{title:10}{line}" for line in lines[:_MOST]] + more
