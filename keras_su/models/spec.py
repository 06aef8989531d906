"""What a model family *is*, as data. No Keras calls here: :mod:`keras_su.models.graph` turns a :class:`Spec` into a model.

A block is a list of residuals ``x <- post(x + scale * out(part(pre(x))))``; which norms are present tells post-norm, pre-norm
and sandwich apart. Parts are in :mod:`keras_su.models.parts`, positions inside attention in :mod:`keras_su.models.positions`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from keras_su.errors import bad_value


@dataclass(frozen=True, kw_only=True)
class Norm:
    """A normalisation: ``"layer"`` or ``"rms"``, its epsilon, and which weights it learns.

    ``unit_offset``: the scale is ``1 + weight``.
    """

    kind: str = "layer"
    epsilon: float = 1e-12
    scale: bool = True
    center: bool = True
    unit_offset: bool = False

    def arguments(self):
        """Constructor arguments of the layer."""
        return {
            "zero_mean": self.kind == "layer",
            "epsilon": self.epsilon,
            "scale": self.scale,
            "offset": self.center,
            "unit_offset": self.unit_offset,
        }


def rms(epsilon, **changes):
    """A root-mean-square norm without offset."""
    return Norm(kind="rms", epsilon=epsilon, center=False, **changes)


@dataclass(frozen=True, kw_only=True)
class Initializer:
    """Initial distribution of the weight matrices: a normal distribution cut at two standard deviations.

    With ``gain`` the deviation follows the matrix instead, ``1.1368 / sqrt(fan) * gain`` (see
    :class:`keras_su.initializers.FanNormal`).
    """

    stddev: float = 0.02
    gain: float | None = None

    def config(self):
        """Serialised Keras form; each layer makes its own object from it."""
        if self.gain is not None:
            return {"class_name": "keras_su>FanNormal", "config": {"gain": self.gain}, "registered_name": "keras_su>FanNormal"}
        return {"class_name": "TruncatedNormal", "config": {"mean": 0.0, "stddev": self.stddev}}


@dataclass(frozen=True, kw_only=True)
class Learned:
    """Trainable absolute positions, added to the embeddings; position p is row ``p + offset``."""

    length: int
    hierarchical: bool | float | None = None
    offset: int = 0


@dataclass(frozen=True, kw_only=True)
class Extra:
    """A further table that is added to the embeddings, looked up with a model input of its own or always at row 0."""

    name: str
    rows: int
    input: bool = False


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """The input side: ``mapping(dropout(norm(scale * token + segment + extras + position)))``.

    ``size`` differs from the hidden size in factorised models, which then have a mapping; ``mapping="tokens"`` maps the token
    vectors alone, before the sum, and ``mapping=True`` maps in any case. ``position_ids`` is ``None`` (counted), ``"input"`` (a
    further model input) or ``"skip_padding"`` (counted without padding). ``pad_id`` is the token id of padding, ``None`` where
    there is none.
    """

    size: int
    segments: int = 0
    segments_share_tokens: bool = False
    extras: tuple[Extra, ...] = ()
    position: Learned | None = None
    position_ids: str | None = None
    norm: Norm | None = None
    dropout: float = 0.0
    dropout_first: bool = False
    scale: float | None = None
    mapping: bool | str | None = None
    mapping_bias: bool = True
    pad_id: int | None = 0

    @property
    def keeps_first(self):
        """Whether the first token counts even when its id is that of padding (T5 decoders start with it)."""
        return self.position_ids != "skip_padding"


@dataclass(frozen=True, kw_only=True)
class Residual:
    """One residual branch around a part."""

    part: Any
    pre: Norm | None = None
    out: Norm | None = None
    post: Norm | None = None
    dropout: float = 0.0
    scale: float | None = None


@dataclass(frozen=True, kw_only=True)
class Block:
    """The residuals of one layer, in order."""

    residuals: tuple[Residual, ...]


@dataclass(frozen=True, kw_only=True)
class Mask:
    """Who attends to whom: names of rules of :mod:`keras_su.masks`, and a window in tokens."""

    rules: tuple[str, ...] = ("full",)
    window: int | None = None


CAUSAL = Mask(rules=("causal",))


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Conditional layer norms: width and activation of the hidden layer between the condition and the norms."""

    hidden_size: int | None = None
    hidden_act: str = "linear"


@dataclass(frozen=True, kw_only=True)
class Output:
    """What happens to the hidden states after the last block, before the heads."""

    norm: Norm | None = None
    dropout: float = 0.0
    scale: float | None = None


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A whole model: sizes, embeddings, blocks, mask, heads.

    ``block`` is one :class:`Block` for all layers, or a function of the layer index. ``shared_blocks`` is the number of different
    blocks that the layers take turns in sharing (ALBERT), ``None`` when each has its own. ``side`` (``"Encoder-"``,
    ``"Decoder-"``) stands before the names of the layers; ``memory`` is the width of the states that a decoder attends to.
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    embeddings: Embeddings
    block: Block | Callable[[int], Block]
    mask: Mask = Mask()
    heads: tuple[Any, ...] = ()
    output: Output = Output()
    initializer: Initializer = Initializer()
    condition: Condition = Condition()
    sequence_length: int | None = None
    shared_blocks: int | None = None
    side: str = ""
    memory: int | None = None

    def __post_init__(self):
        for name in ("vocab_size", "hidden_size", "num_layers"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < (0 if name == "num_layers" else 1):
                raise bad_value(name, value, "a positive integer")

    sides = property(lambda self: (self,))

    def block_at(self, index):
        """The block of layer ``index``."""
        return self.block if isinstance(self.block, Block) else self.block(index)

    def block_name(self, index):
        """What layer ``index`` calls its block; layers that share one use one name."""
        if self.shared_blocks is None:
            return f"Transformer-{index}"
        return "Transformer" if self.shared_blocks == 1 else f"Transformer-{index * self.shared_blocks // self.num_layers}"

    def map_sides(self, change):
        """A copy in which ``change`` was applied to this Spec, or to both Specs of a :class:`Seq2Seq`."""
        return change(self)


@dataclass(frozen=True, kw_only=True)
class Seq2Seq:
    """An encoder, and a decoder that attends to its outputs; they share the token table."""

    encoder: Spec
    decoder: Spec

    sides = property(lambda self: (self.encoder, self.decoder))
    vocab_size = property(lambda self: self.decoder.vocab_size)
    hidden_size = property(lambda self: self.decoder.hidden_size)
    num_layers = property(lambda self: self.decoder.num_layers)
    embeddings = property(lambda self: self.decoder.embeddings)
    heads = property(lambda self: self.decoder.heads)
    initializer = property(lambda self: self.decoder.initializer)

    def map_sides(self, change):
        """A copy in which ``change`` was applied to the encoder and to the decoder."""
        return Seq2Seq(encoder=change(self.encoder), decoder=change(self.decoder))


def post_norm(norm, *parts, dropout=0.0):
    """``x <- norm(x + part(x))`` for each part: the original Transformer and BERT."""
    return Block(residuals=tuple(Residual(part=part, post=norm, dropout=dropout) for part in parts))


def pre_norm(norm, *parts, dropout=0.0, **changes):
    """``x <- x + part(norm(x))`` for each part: GPT-2, T5, Llama."""
    return Block(residuals=tuple(Residual(part=part, pre=norm, dropout=dropout, **changes) for part in parts))


def map_parts(spec, part_class, **changes):
    """A copy of ``spec`` in which every part of a class has some fields changed; for the ``edit=`` argument of the factory."""
    return _each_part(spec, lambda part: replace(part, **changes) if isinstance(part, part_class) else part)


def with_rule(spec, rule):
    """A copy of ``spec`` whose mask is that rule alone, also in layers with a mask of their own, which keep their windows."""

    def edit(part):
        mask = getattr(part, "mask", None)
        return part if mask is None else replace(part, mask=replace(mask, rules=(rule,)))

    return replace(_each_part(spec, edit), mask=Mask(rules=(rule,)))


def _each_part(spec, change):
    def edit(block):
        return replace(block, residuals=tuple(replace(r, part=change(r.part)) for r in block.residuals))

    def edit_side(side):
        original = side.block
        if isinstance(original, Block):
            return replace(side, block=edit(original))
        return replace(side, block=lambda index: edit(original(index)))

    return spec.map_sides(edit_side)
