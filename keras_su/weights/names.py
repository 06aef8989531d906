"""Name tables: which variable of ours is which tensor of a checkpoint. One table serves loading and saving.

Tables are written with two small helpers, because a dialect follows rules: in a TF file ``x/kernel`` is stored as it is; in a
torch file it is ``x.weight`` and transposed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from keras_su.weights.transforms import Transpose


@dataclass(frozen=True)
class Piece:
    """One of several variables that a file keeps in one tensor.

    Args:
        index: its place among them.
        axis: along which they are joined in the file.
        groups: they are joined head by head, not as wholes: ``"heads"`` or ``"kv_heads"``, which says how many times.
    """

    index: int
    axis: int = 0
    groups: str | None = None


@dataclass(frozen=True)
class Source:
    """A tensor of a file.

    Args:
        name: its name; ``{i}`` stands for the layer number, ``{i:03d}`` for one with leading zeros.
        operations: reversible operations between file and model, in loading order.
        vocabulary: the axis (in the file) that counts tokens, to which ``keep_tokens`` and ``compound_tokens`` apply: ``"rows"``,
            ``"columns"`` or ``None``.
        piece: set when the variable is only a part of the tensor; ``operations`` then act on the part.
    """

    name: str
    operations: tuple = ()
    vocabulary: str | None = None
    piece: Piece | None = None

    def at(self, index):
        """The source of layer ``index``."""
        return self if index is None else replace(self, name=self.name.format(i=int(index)))

    def forward(self, array):
        """File to model."""
        for operation in self.operations:
            array = operation.forward(array)
        return array

    def backward(self, array):
        """Model to file."""
        for operation in reversed(self.operations):
            array = operation.backward(array)
        return array

    def shape(self, shape):
        """Shape in the model of the tensor whose shape in the file is ``shape``."""
        for operation in self.operations:
            shape = operation.shape(shape)
        return tuple(shape)

    def stored_shape(self, shape):
        """Shape in the file of a variable of this ``shape``; the inverse of :meth:`shape`."""
        for operation in reversed(self.operations):
            shape = operation.stored_shape(shape)
        return tuple(shape)


_INDEX = re.compile(r"\\\{i(:0\d+d)?\\\}")
_LAYER = re.compile(r"(?<=Transformer-)\d+(?=-)")
_NUMBER = re.compile(r"\d+")
_WRAPPERS = re.compile(r"((module|_orig_mod|model|base_model|backbone|network)\.)*")


class Fit(NamedTuple):
    """How well a table fits a file."""

    score: float
    "harmonic mean of the share of rows found and of the share of tensors explained"
    found: int
    rows: int
    explained: float
    "share of the tensors that the table explains"


@dataclass(frozen=True)
class NameMap:
    """The table of one dialect.

    Args:
        format: ``"tf"`` or ``"torch"``.
        rows: our variable path -> :class:`Source`; ``{i}`` stands for the layer number on both sides.
        root: torch prefix of the base model (``"bert."``), which files saved from the base class lack.
        other_roots: prefixes that some files have in its place.
        ignore: regular expressions of tensors that carry no parameters of the family: optimizer slots, buffers, tied duplicates.
        optional: regular expressions of our variables that files may lack; they then keep their initial values.
        aliases: further name of a tensor in torch files -> its name here; of tied tensors a file may keep any one.
    """

    format: str
    rows: Mapping[str, Source]
    root: str = ""
    other_roots: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _patterns(self):
        """Tensor name with an open layer number -> regular expression; made when a file is looked at, not at import."""
        return {source.name: re.compile(_INDEX.sub(r"(\\d+)", re.escape(source.name)) + "$") for source in self.rows.values()}

    def find(self, path):
        """The source of our variable ``path``, or ``None``.

        >>> table = NameMap("tf", {"Transformer-{i}-FeedForward/output/bias": Source("layer_{i}/output/dense/bias")})
        >>> table.find("Transformer-3-FeedForward/output/bias").name
        'layer_3/output/dense/bias'
        """
        layer, row = _LAYER.search(path), self.row(path)
        return None if row is None else row.at(layer and layer[0])

    def row(self, path):
        """The row for our variable ``path``, with the layer number open, or ``None``."""
        return self.rows.get(_LAYER.sub("{i}", path))

    def keeps_initial_value(self, path):
        """Whether a file may lack our variable ``path``."""
        return any(re.fullmatch(pattern, path) for pattern in self.optional)

    def path_of(self, name):
        """Our path, with the layer number open, for the (canonical) tensor ``name``, or ``None``."""
        return next((path for path, source in self.rows.items() if self._patterns[source.name].match(name)), None)

    def knows(self, name):
        """Whether the (canonical) tensor ``name`` has a place in this family, used by a particular model or not."""
        return name in self.aliases or any(p.match(name) for p in self._patterns.values()) or self.ignores(name)

    def ignores(self, name):
        """Whether the tensor ``name`` carries no parameters of the family."""
        return any(re.search(pattern, name) for pattern in self.ignore)

    def canonical(self, names):
        """The names of a file as this table spells them.

        Undoes what is known to happen to names in the wild: wrappers (``module.``, ``model.``), a missing root (``bert.``),
        TF-Hub's ``module/``, ``:0``, and ``gamma``/``beta`` for the weight and bias of torch layer norms.

        Returns:
            dictionary canonical name -> name in the file.
        """
        plain = {name: name for name in names}
        if self.format == "tf":
            return {re.sub(r":0$", "", name).removeprefix("module/"): name for name in plain}
        result = {}
        for other in self.other_roots:
            if any(name.startswith(other) for name in names) and not any(name.startswith(self.root) for name in names):
                plain = {re.sub(f"^{re.escape(other)}", self.root, name): name for name in names}
                names = list(plain)
        outer = self._outer_prefix(names)
        bare = not any(name.startswith(outer + self.root) for name in names)
        for name in plain:
            short = name.removeprefix(outer)
            if bare and any(pattern.match(self.root + _modern(short)) for pattern in self._patterns.values()):
                short = self.root + short
            result[_modern(short)] = plain[name]
        for other, own in self.aliases.items():
            if own not in result and other in result:
                result[own] = result.pop(other)
        return result

    def _outer_prefix(self, names):
        """The wrapper before the root in every name of the body: ``"module."`` (parallel training), ``"model."`` (a trainer)."""
        first = next(iter(self._patterns)).removeprefix(self.root)  # by convention the token table, which every file has
        for name in names:
            if name.endswith(first):
                outer = name[: -len(first)].removesuffix(self.root)
                return outer if _WRAPPERS.fullmatch(outer) else ""
        return ""

    def score(self, names):
        """How well the table fits a file, layer numbers folded; see :class:`Fit`."""
        folded = {
            _NUMBER.sub("{i}", name) for name in self.canonical(names) if name not in self.aliases and not self.ignores(name)
        }
        rows = {_NUMBER.sub("{i}", re.sub(r"\{i(:0\d+d)?\}", "{i}", name)) for name in self._patterns}
        found = len(rows & folded)
        if not found:
            return Fit(0.0, 0, len(rows), 0.0)
        recall, explained = found / len(rows), found / len(folded)
        return Fit(2 * recall * explained / (recall + explained), found, len(rows), explained)


def _modern(name):
    """``LayerNorm.gamma`` is what transformers once called ``LayerNorm.weight``."""
    return re.sub(
        r"(norm\w*|ln_\w+)\.gamma$", r"\1.weight", re.sub(r"(norm\w*|ln_\w+)\.beta$", r"\1.bias", name, flags=re.I), flags=re.I
    )


@dataclass(frozen=True)
class Dialect:
    """How a kind of file spells the tensors of common layers. Each method returns rows of a table."""

    format: str

    @property
    def _is_torch(self):
        return self.format == "torch"

    def dense(self, ours, theirs, bias=True, transposed=True):
        """A dense layer; ``transposed=False`` for the ``Conv1D`` of GPT, whose kernels torch keeps as Keras does."""
        if self._is_torch:
            operations = (Transpose(),) if transposed else ()
            rows = {f"{ours}/kernel": Source(f"{theirs}.weight", operations), f"{ours}/bias": Source(f"{theirs}.bias")}
        else:
            rows = {f"{ours}/kernel": Source(f"{theirs}/kernel"), f"{ours}/bias": Source(f"{theirs}/bias")}
        return rows if bias else {f"{ours}/kernel": rows[f"{ours}/kernel"]}

    def norm(self, ours, theirs):
        """A layer norm with scale and offset."""
        beta, gamma = (f"{theirs}.bias", f"{theirs}.weight") if self._is_torch else (f"{theirs}/beta", f"{theirs}/gamma")
        return {f"{ours}/beta": Source(beta), f"{ours}/gamma": Source(gamma)}

    def scale(self, ours, theirs):
        """A norm with a scale alone."""
        return {f"{ours}/gamma": Source(f"{theirs}.weight" if self._is_torch else f"{theirs}/gamma")}

    def table(self, ours, theirs, vocabulary=None):
        """An embedding table; ``vocabulary="rows"`` for that of the tokens."""
        return {f"{ours}/embeddings": Source(f"{theirs}.weight" if self._is_torch else theirs, vocabulary=vocabulary)}

    def fused(self, ours, theirs, bias=True, axis=0, groups=None):
        """Several dense layers in one tensor: ``ours`` are their paths in order.

        ``axis`` is that of the outputs in a torch kernel: 0 for ``Linear``, 1 for the ``Conv1D`` of GPT, which is not transposed.
        """
        rows = {}
        operations = () if axis == 1 else (Transpose(),)
        for index, path in enumerate(ours):
            rows[f"{path}/kernel"] = Source(f"{theirs}.weight", operations, piece=Piece(index, axis, groups))
            if bias:
                rows[f"{path}/bias"] = Source(f"{theirs}.bias", piece=Piece(index, 0, groups))
        return rows


TF = Dialect("tf")
TORCH = Dialect("torch")
