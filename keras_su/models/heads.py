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

    def apply(self, graph, hidden):
        kernel = {"kernel_initializer": graph.spec.initializer.config()}
        x = graph.apply(hidden, layers.FirstToken, name="Pooler")
        x = graph.apply(
            x, keras.layers.Dense, name="Pooler-Dense", units=graph.spec.hidden_size, activation=self.activation, **kernel
        )
        if self.next_sentence:
            x = graph.apply(x, keras.layers.Dense, name="NSP-Proba", units=2, activation="softmax", **kernel)
        return x


@dataclass(frozen=True, kw_only=True)
class MaskedLM:
    """Masked language model head, tied to the token table; also the head of the causal and UniLM applications.

    ``activation`` is ``"softmax"`` for probabilities or ``"linear"`` for logits; both come out in float32.
    """

    activation: str = "softmax"
    hidden_act: str = "gelu"
    norm: Norm = Norm()

    def apply(self, graph, hidden):
        x = graph.apply(
            hidden,
            keras.layers.Dense,
            name="MLM-Dense",
            units=graph.spec.embeddings.size,
            activation=activations.get(self.hidden_act),
            kernel_initializer=graph.spec.initializer.config(),
        )
        x = graph.norm(x, self.norm, "MLM-Norm")
        x = graph.apply(x, layers.Embedding, {"mode": "dense"}, name="Embedding-Token")
        x = graph.apply(x, layers.ScaleOffset, name="MLM-Bias", scale=False)
        return graph.apply(x, keras.layers.Activation, name="MLM-Activation", activation=self.activation, dtype="float32")
