"""Positions that act inside attention. Like parts, they are data that apply themselves to a graph.

``apply`` returns what attention calls ``p_bias``: the kind of the term, and its tensor. Layers with equal positions share one.
"""

from dataclasses import dataclass
from typing import ClassVar

from keras_su import layers
from keras_su.errors import KerasSuError


@dataclass(frozen=True, kw_only=True)
class Rotary:
    """RoPE (arXiv 2104.09864): pairs of columns rotate by an angle that grows with the position.

    ``fraction`` of each head rotates; ``scaling`` is a tuple of ``(name, value)`` pairs, see
    :func:`keras_su.ops.rotary.rotary_frequencies`.
    """

    kind: ClassVar[str] = "rotary"
    base: float = 10000.0
    layout: str = "interleaved"
    fraction: float = 1.0
    scaling: tuple | None = None

    def apply(self, graph, attention, query, key):
        size = int((attention.key_size or attention.head_size) * self.fraction)
        value = (size, self.base, self.scaling)
        name = graph.numbered("Embedding-Rotary-Position", value)
        positions = graph.position_ids()
        return graph.once(
            name,
            lambda: graph.apply(
                query if positions is None else [query, positions],
                layers.RotaryPositionEmbedding,
                name=name,
                output_dim=size,
                base=self.base,
                scaling=None if self.scaling is None else dict(self.scaling),
                custom_position_ids=positions is not None,
            ),
        )


class _Relative:
    """Relative positions come from the numbers of the tokens, so ids of their own cannot be given."""

    def _check(self, graph):
        if graph.spec.embeddings.position_ids == "input":
            raise KerasSuError("Relative positions are counted, so custom_position_ids=True has no effect on this model.")


@dataclass(frozen=True, kw_only=True)
class Clipped(_Relative):
    """Distances up to ``reach``, as vectors inside scores and values (NEZHA); the table is fixed and sinusoidal."""

    kind: ClassVar[str] = "typical_relative"
    reach: int = 64

    def apply(self, graph, attention, query, key):
        self._check(graph)
        name = graph.numbered("Embedding-Relative-Position", self)
        return graph.once(
            name,
            lambda: graph.apply(
                [query, key],
                layers.RelativePositionEmbedding,
                name=name,
                input_dim=2 * self.reach + 1,
                output_dim=attention.key_size or attention.head_size,
                embeddings_initializer="Sinusoidal",
                trainable=False,
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Bucketed(_Relative):
    """Logarithmic buckets of distances, a trainable number for each bucket and head (T5).

    ``shared=False`` gives each attention layer a table of its own (UMT5).
    """

    kind: ClassVar[str] = "t5_relative"
    buckets: int = 32
    max_distance: int = 128
    bidirectional: bool = True
    shared: bool = True

    def apply(self, graph, attention, query, key):
        self._check(graph)
        if self.shared:
            name = graph.numbered("Embedding-Relative-Position", self)
        else:
            name = f"{graph.part_name}-Relative-Position"
        return graph.once(
            (name, query is key),
            lambda: graph.apply(
                [query, key],
                layers.RelativePositionEmbeddingT5,
                name=name,
                input_dim=self.buckets,
                output_dim=attention.heads,
                max_distance=self.max_distance,
                bidirectional=self.bidirectional,
                embeddings_initializer=graph.kernel_initializer,
            ),
        )
