"""The parts that a block is made of. A part is data that knows how to apply itself to the stream of a graph."""

from dataclasses import dataclass
from typing import ClassVar

from keras_su import layers
from keras_su.errors import bad_value


@dataclass(frozen=True, kw_only=True)
class SelfAttention:
    """Multi-head self-attention under the mask of the model."""

    suffix: ClassVar[str] = "MultiHeadSelfAttention"
    heads: int
    head_size: int
    key_size: int | None = None
    bias: bool = True
    dropout: float = 0.0
    normalization: str = "softmax"
    residual_scores: bool = False

    def __post_init__(self):
        for name in ("heads", "head_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise bad_value(f"attention {name}", value, "a positive integer")

    def apply(self, graph, stream, name):
        """Attend; with ``residual_scores`` add the sum of the scores of all layers below (RealFormer, arXiv 2012.11747)."""
        inputs, arguments = [stream.x, stream.x, stream.x], {}
        mask = graph.mask()
        if mask is not None:
            inputs.append(mask)
            arguments["a_bias"] = True
        if self.residual_scores and stream.scores is not None:
            arguments["scores"] = stream.scores
        result = graph.apply(
            inputs,
            layers.MultiHeadAttention,
            arguments,
            name=name,
            heads=self.heads,
            head_size=self.head_size,
            out_dim=graph.spec.hidden_size,
            key_size=self.key_size,
            use_bias=self.bias,
            normalization=self.normalization,
            attention_dropout=self.dropout or None,
            return_attention_scores=self.residual_scores,
            kernel_initializer=graph.spec.initializer.config(),
        )
        if not self.residual_scores:
            return result
        output, stream.scores = result
        return output


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
            kernel_initializer=graph.spec.initializer.config(),
        )
