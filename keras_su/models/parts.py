"""The parts that a block is made of. A part is data that knows how to apply itself to the stream of a graph."""

from dataclasses import dataclass
from typing import Any, ClassVar

from keras_su import layers
from keras_su.errors import bad_value
from keras_su.models.spec import Mask, Norm


@dataclass(frozen=True, kw_only=True)
class SelfAttention:
    """Multi-head self-attention.

    ``position`` is one of :mod:`keras_su.models.positions`; ``mask`` replaces that of the model (layers that look through a
    window); ``scale`` is as ``attention_scale`` of :class:`keras_su.layers.MultiHeadAttention`, which explains the rest.
    """

    suffix: ClassVar[str] = "MultiHeadSelfAttention"
    heads: int
    head_size: int
    key_size: int | None = None
    kv_heads: int | None = None
    bias: bool = True
    output_bias: bool | None = None
    dropout: float = 0.0
    normalization: str = "softmax"
    residual_scores: bool = False
    position: Any = None
    qk_norm: Norm | None = None
    scale: bool | float = True
    soft_cap: float | None = None
    mask: Mask | None = None

    def __post_init__(self):
        _check_heads(self)

    def apply(self, graph, stream, name):
        """Attend; with ``residual_scores`` add the sum of the scores of all layers below (RealFormer, arXiv 2012.11747)."""
        further = {} if stream.scores is None or not self.residual_scores else {"scores": stream.scores}
        result = _attend(
            self,
            graph,
            name,
            stream.x,
            stream.x,
            graph.mask(self.mask),
            further,
            normalization=self.normalization,
            return_attention_scores=self.residual_scores,
            kv_heads=self.kv_heads,
            output_bias=self.output_bias,
            qk_norm=None if self.qk_norm is None else self.qk_norm.arguments(),
            soft_cap=self.soft_cap,
        )
        if not self.residual_scores:
            return result
        output, stream.scores = result
        return output


@dataclass(frozen=True, kw_only=True)
class CrossAttention:
    """Attention of a decoder to the states of the encoder."""

    suffix: ClassVar[str] = "MultiHeadCrossAttention"
    heads: int
    head_size: int
    key_size: int | None = None
    bias: bool = True
    dropout: float = 0.0
    position: Any = None
    scale: bool | float = True

    def __post_init__(self):
        _check_heads(self)

    def apply(self, graph, stream, name):
        return _attend(self, graph, name, stream.x, stream.memory, stream.memory_mask)


def _check_heads(part):
    for name in ("heads", "head_size"):
        value = getattr(part, name)
        if not isinstance(value, int) or value < 1:
            raise bad_value(f"attention {name}", value, "a positive integer")


def _attend(part, graph, name, query, key, mask, further=None, **arguments):
    """Call the attention layer of a part with what it attends to, the mask and the position term."""
    inputs, call = _with_mask([query, key, key], mask)
    call |= further or {}
    if part.position is not None:
        inputs.append(graph.position_bias(part, query, key))
        call["p_bias"] = part.position.kind
    return graph.apply(
        inputs,
        layers.MultiHeadAttention,
        call,
        name=name,
        heads=part.heads,
        head_size=part.head_size,
        out_dim=graph.spec.hidden_size,
        key_size=part.key_size,
        use_bias=part.bias,
        attention_scale=part.scale,
        attention_dropout=part.dropout or None,
        rotary_layout=getattr(part.position, "layout", "interleaved"),
        kernel_initializer=graph.kernel_initializer,
        **arguments,
    )


def _with_mask(inputs, mask):
    """The inputs of an attention layer with the mask behind them, and the call argument that says so."""
    return (inputs, {}) if mask is None else ([*inputs, mask], {"a_bias": True})


@dataclass(frozen=True, kw_only=True)
class FeedForward:
    """Position-wise feed-forward network; two activations make it gated."""

    suffix: ClassVar[str] = "FeedForward"
    units: int
    activation: str | tuple[str, ...] = "gelu"
    bias: bool = True

    def apply(self, graph, stream, name):
        return graph.apply(
            stream.x,
            layers.FeedForward,
            name=name,
            units=self.units,
            activation=self.activation,
            use_bias=self.bias,
            kernel_initializer=graph.kernel_initializer,
        )


@dataclass(frozen=True, kw_only=True)
class GatedAttention:
    """Gated attention unit: attention and feed-forward in one (FLASH, GAU-alpha)."""

    suffix: ClassVar[str] = "GatedAttentionUnit"
    units: int
    head_size: int
    key_size: int | None = None
    activation: str = "swish"
    bias: bool = True
    dropout: float = 0.0
    normalization: str = "softmax_plus"
    position: Any = None

    def apply(self, graph, stream, name):
        inputs, call = _with_mask([stream.x], graph.mask())
        if self.position is not None:
            inputs.append(graph.position_bias(self, stream.x, stream.x))
            call["p_bias"] = self.position.kind
        return graph.apply(
            inputs,
            layers.GatedAttentionUnit,
            call,
            name=name,
            units=self.units,
            key_size=self.key_size or self.head_size,
            activation=self.activation,
            use_bias=self.bias,
            normalization=self.normalization,
            attention_dropout=self.dropout or None,
            kernel_initializer=graph.kernel_initializer,
        )


@dataclass(frozen=True, kw_only=True)
class Disentangled:
    """Attention to content and distance apart (DeBERTa); all layers share one table of ``2 * span`` distances."""

    suffix: ClassVar[str] = "MultiHeadSelfAttention"
    heads: int
    head_size: int
    span: int
    max_distance: int | None = None
    terms: tuple[str, ...] = ("c2p", "p2c")
    share_key: bool = True
    table_norm: Norm | None = None
    dropout: float = 0.0

    def apply(self, graph, stream, name):
        kernel = graph.kernel_initializer
        table = graph.once("distances", lambda: self._table(graph, stream, kernel))
        inputs, call = _with_mask([stream.x, table], graph.mask())
        return graph.apply(
            inputs,
            layers.DisentangledAttention,
            call,
            name=name,
            heads=self.heads,
            head_size=self.head_size,
            span=self.span,
            max_distance=self.max_distance,
            terms=self.terms,
            share_key=self.share_key,
            attention_dropout=self.dropout or None,
            kernel_initializer=kernel,
        )

    def _table(self, graph, stream, kernel):
        name, size = "Embedding-Relative-Position", graph.spec.hidden_size
        table = graph.apply(
            stream.x, layers.EmbeddingRows, name=name, input_dim=2 * self.span, output_dim=size, embeddings_initializer=kernel
        )
        return graph.norm(table, self.table_norm, f"{name}-Norm")


@dataclass(frozen=True, kw_only=True)
class EmbeddingConvolution:
    """Convolution over the embeddings, added to the stream (DeBERTa v2, after the first layer)."""

    suffix: ClassVar[str] = "Convolution"
    kernel_size: int
    activation: str = "gelu"

    def apply(self, graph, stream, name):
        return graph.apply(
            [stream.embeddings, graph.tokens],
            layers.MaskedConvolution,
            name=name,
            filters=graph.spec.hidden_size,
            kernel_size=self.kernel_size,
            activation=self.activation,
            pad_id=graph.spec.embeddings.pad_id,
            kernel_initializer=graph.kernel_initializer,
        )
