"""What a model family *is*, as data. No Keras calls here: :mod:`keras_su.models.graph` turns a :class:`Spec` into a model.

A block is a list of residuals ``x <- post(x + out(part(pre(x))))``; which norms are present tells post-norm, pre-norm and
sandwich apart.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from keras_su.errors import bad_value


@dataclass(frozen=True, kw_only=True)
class Norm:
    """A normalisation: ``"layer"`` or ``"rms"``, its epsilon, and which weights it learns."""

    kind: str = "layer"
    epsilon: float = 1e-12
    scale: bool = True
    center: bool = True


@dataclass(frozen=True, kw_only=True)
class Initializer:
    """Initial distribution of the weight matrices: a normal distribution cut at two standard deviations."""

    stddev: float = 0.02

    def config(self):
        """Serialised Keras form; each layer makes its own object from it."""
        return {"class_name": "TruncatedNormal", "config": {"mean": 0.0, "stddev": self.stddev}}


@dataclass(frozen=True, kw_only=True)
class Learned:
    """Trainable absolute positions, added to the embeddings."""

    length: int
    hierarchical: bool | float | None = None


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """The input side: ``mapping(dropout(norm(token + segment + position)))``.

    ``size`` differs from the hidden size in factorised models, which then have a mapping. ``position_ids`` is ``None`` (counted),
    ``"input"`` (a further model input) or ``"left_padded"`` (padding in front does not count).
    """

    size: int
    segments: int = 0
    position: Learned | None = None
    norm: Norm | None = None
    dropout: float = 0.0
    position_ids: str | None = None
    segments_share_tokens: bool = False


@dataclass(frozen=True, kw_only=True)
class Residual:
    """One residual branch around a part."""

    part: Any
    pre: Norm | None = None
    out: Norm | None = None
    post: Norm | None = None
    dropout: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Block:
    """The residuals of one layer, in order."""

    residuals: tuple[Residual, ...]


@dataclass(frozen=True, kw_only=True)
class Mask:
    """Who attends to whom: names of rules of :mod:`keras_su.masks`, and a window in tokens."""

    rules: tuple[str, ...] = ("full",)
    window: int | None = None


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Conditional layer norms: width and activation of the hidden layer between the condition and the norms."""

    hidden_size: int | None = None
    hidden_act: str = "linear"


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A whole model: sizes, embeddings, blocks, mask, heads.

    ``block`` is one :class:`Block` for all layers, or a function of the layer index.
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    embeddings: Embeddings
    block: Block | Callable[[int], Block]
    mask: Mask = Mask()
    heads: tuple[Any, ...] = ()
    output_norm: Norm | None = None
    initializer: Initializer = Initializer()
    condition: Condition = Condition()
    sequence_length: int | None = None

    def __post_init__(self):
        for name in ("vocab_size", "hidden_size", "num_layers"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < (0 if name == "num_layers" else 1):
                raise bad_value(name, value, "a positive integer")

    def block_at(self, index):
        """The block of layer ``index``."""
        return self.block if isinstance(self.block, Block) else self.block(index)


def post_norm(norm, *parts, dropout=0.0):
    """``x <- norm(x + part(x))`` for each part: the original Transformer and BERT."""
    return Block(residuals=tuple(Residual(part=part, post=norm, dropout=dropout) for part in parts))


def pre_norm(norm, *parts, dropout=0.0):
    """``x <- x + part(norm(x))`` for each part: GPT-2, T5, Llama."""
    return Block(residuals=tuple(Residual(part=part, pre=norm, dropout=dropout) for part in parts))


def map_parts(spec, part_class, **changes):
    """A copy of ``spec`` in which every part of a class has some fields changed; for the ``edit=`` argument of the factory."""

    def edit(block):
        residuals = [
            replace(r, part=replace(r.part, **changes)) if isinstance(r.part, part_class) else r for r in block.residuals
        ]
        return replace(block, residuals=tuple(residuals))

    if isinstance(spec.block, Block):
        return replace(spec, block=edit(spec.block))
    original = spec.block
    return replace(spec, block=lambda index: edit(original(index)))
