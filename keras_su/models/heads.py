"""What a model puts on top of its hidden states. Like parts, heads are data that apply themselves to a graph."""

from dataclasses import dataclass

import keras

from keras_su import activations, layers
from keras_su.models.spec import Norm


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Dense layer on the first token; with ``next_sentence`` a two-way softmax on top (index 0 = "is the next sentence")."""

    activation: str = "tanh"
    next_sentence: bool = False

    has_class = property(lambda self: self.next_sentence)

    def apply(self, graph, hidden):
        kernel = {"kernel_initializer": graph.kernel_initializer}
        x = graph.apply(hidden, layers.FirstToken, name="Pooler")
        x = graph.apply(
            x, keras.layers.Dense, name="Pooler-Dense", units=graph.spec.hidden_size, activation=self.activation, **kernel
        )
        if self.next_sentence:
            x = graph.apply(x, keras.layers.Dense, name="NSP-Proba", units=2, activation="softmax", **kernel)
        return x


class Head:
    """A head for which transformers has a class of its own."""

    has_class = True


@dataclass(frozen=True, kw_only=True)
class MaskedLM(Head):
    """Masked language model head, tied to the token table; also the head of the causal and UniLM applications of encoders.

    ``activation`` is ``"softmax"`` for probabilities or ``"linear"`` for logits; both come out in float32. ``bias`` is that of
    the dense layer, ``output_bias`` that of the vocabulary.
    """

    activation: str = "softmax"
    hidden_act: str = "gelu"
    norm: Norm = Norm()
    bias: bool = True
    output_bias: bool = True

    def apply(self, graph, hidden):
        tokens_mapped = graph.spec.embeddings.mapping == "tokens"
        x = graph.apply(
            hidden,
            keras.layers.Dense,
            name="MLM-Dense",
            units=graph.spec.hidden_size if tokens_mapped else graph.spec.embeddings.size,
            activation=activations.get(self.hidden_act),
            use_bias=self.bias,
            kernel_initializer=graph.kernel_initializer,
        )
        x = graph.norm(x, self.norm, "MLM-Norm")
        if tokens_mapped:
            x = graph.apply(x, layers.Mapping, {"mode": "transposed"}, name="Embedding-Mapping")
        x = graph.apply(x, layers.Embedding, {"mode": "dense"}, name="Embedding-Token")
        if self.output_bias:
            x = graph.apply(x, layers.ScaleOffset, name="MLM-Bias", scale=False)
        return graph.apply(x, keras.layers.Activation, name="MLM-Activation", activation=self.activation, dtype="float32")


@dataclass(frozen=True, kw_only=True)
class LanguageModel(Head):
    """Language model head without a transformation: of decoders, and of encoders that dispense with one.

    ``tied`` to the token table, or a matrix of its own; ``scale`` multiplies the hidden states, ``soft_cap`` bounds the logits.
    ``activation`` as in :class:`MaskedLM`. ``name`` begins the names of the layers.
    """

    activation: str = "softmax"
    tied: bool = True
    bias: bool = False
    scale: float | None = None
    soft_cap: float | None = None
    dropout: float = 0.0
    name: str = "Output-LM"

    def apply(self, graph, hidden):
        spec = graph.spec
        kernel, dense = graph.kernel_initializer, keras.layers.Dense
        x = graph.scale(hidden, self.scale, f"{self.name}-Scale")
        if spec.embeddings.size != spec.hidden_size:
            units, bias = spec.embeddings.size, spec.embeddings.mapping_bias
            x = graph.apply(x, dense, name="Output-Mapping", units=units, use_bias=bias, kernel_initializer=kernel)
        x = graph.dropout(x, self.dropout, f"{self.name}-Dropout")
        if self.tied:
            x = graph.apply(x, layers.Embedding, {"mode": "dense"}, name="Embedding-Token")
        else:
            x = graph.apply(x, dense, name=self.name, units=spec.vocab_size, use_bias=False, kernel_initializer=kernel)
        if self.bias:
            x = graph.apply(x, layers.ScaleOffset, name=f"{self.name}-Bias", scale=False)
        if self.soft_cap:
            x = graph.apply(x, layers.SoftCap, name=f"{self.name}-SoftCap", cap=self.soft_cap, dtype="float32")
        activation = f"{self.name}-Activation"
        return graph.apply(x, keras.layers.Activation, name=activation, activation=self.activation, dtype="float32")


@dataclass(frozen=True, kw_only=True)
class Discriminator(Head):
    """Which tokens were replaced (ELECTRA): a probability for each token, ``(batch, length, 1)``; ``"linear"`` gives logits."""

    activation: str = "sigmoid"
    hidden_act: str = "gelu"

    def apply(self, graph, hidden):
        kernel = {"kernel_initializer": graph.kernel_initializer}
        activation, units = activations.get(self.hidden_act), graph.spec.hidden_size
        x = graph.apply(hidden, keras.layers.Dense, name="Discriminator-Dense", units=units, activation=activation, **kernel)
        name = "Discriminator-Prediction"
        return graph.apply(x, keras.layers.Dense, name=name, units=1, activation=self.activation, dtype="float32", **kernel)


def has_language_model(spec):
    """Whether the heads of ``spec`` include a language model."""
    return any(isinstance(head, (MaskedLM, LanguageModel)) for head in spec.heads)
