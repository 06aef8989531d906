"""The head of a language model, cut off so that it is computed where it is needed: for one token, or for a few candidates."""

import keras
from keras import ops

from keras_su.decoding.nodes import is_token_wise, node_of

PROBABILITIES = ("softmax",)


class VocabularyHead:
    """The layers between hidden states and the vocabulary, which take tokens one by one.

    Args:
        output: Keras tensor ``(batch, length, vocab_size)``, probabilities or logits.

    Attributes:
        hidden: Keras tensor that the head starts from.
        nodes: its nodes, the final softmax left out.
        candidates_only: whether :meth:`candidate_logits` can leave out the rest of the vocabulary.
    """

    def __init__(self, output):
        nodes, tensor = [], output
        while (node := node_of(tensor)) is not None and len(node.input_tensors) == 1 and is_token_wise(node.operation):
            if len(node.input_tensors[0].shape) != 3:
                break  # the tokens themselves
            nodes.insert(0, node)
            tensor = node.input_tensors[0]
        self.hidden = tensor
        self.nodes = list(nodes)
        self._log = False
        if nodes and isinstance(nodes[-1].operation, keras.layers.Activation):
            nodes = nodes[:-1] if _activation(nodes[-1]) in (*PROBABILITIES, "linear") else nodes
        elif nodes and _activation(nodes[-1]) in PROBABILITIES:
            self._log = True  # a dense layer with its own softmax
        self._steps = nodes
        self._vocabulary, self._finish = _find_vocabulary(nodes)

    @property
    def table(self):
        """The matrix ``(vocab_size, width)`` of a tied head, ``None`` for others."""
        layer = None if self._vocabulary is None else self._steps[self._vocabulary].operation
        return getattr(layer, "embeddings", None)

    @property
    def candidates_only(self):
        return self._vocabulary is not None and not self._log

    def logits(self, hidden):
        """``(rows, width)`` to float32 ``(rows, vocab_size)``, up to a constant of each row."""
        x = _apply(self._steps, hidden)
        x = ops.cast(x, "float32")
        return ops.log(ops.maximum(x, 1e-30)) if self._log else x

    def candidate_logits(self, hidden, tokens):
        """Logits of some tokens only: the projection is computed for the rows of these tokens.

        Args:
            hidden: ``(rows, width)``.
            tokens: int32 ``(rows, candidates)``.

        Returns:
            float32 ``(rows, candidates)``, equal to those entries of ``logits``.
        """
        index = self._vocabulary
        x = _apply(self._steps[:index], hidden)
        layer = self._steps[index].operation
        if isinstance(layer, keras.layers.Dense):
            table = ops.take(ops.transpose(layer.kernel), tokens, axis=0)
        else:
            table = ops.take(ops.convert_to_tensor(layer.embeddings), tokens, axis=0)
        scores = ops.squeeze(ops.matmul(table, ops.expand_dims(ops.cast(x, table.dtype), -1)), -1)
        if getattr(layer, "use_bias", False):
            scores = scores + ops.take(ops.convert_to_tensor(layer.bias), tokens)
        scores = ops.cast(scores, "float32")
        for after in self._finish:
            scores = after(scores, tokens)
        return scores


def _activation(node):
    return getattr(getattr(node.operation, "activation", None), "__name__", None)


def _apply(nodes, x):
    """Run nodes with one input each on ``(rows, width)``."""
    x = ops.expand_dims(x, 1)  # a conditional norm and a tied table tell their modes by the rank
    for node in nodes:
        args, kwargs = node.arguments.fill_in({id(node.input_tensors[0]): x})
        x = node.operation(*args, **kwargs)
    return ops.squeeze(x, 1)


def _find_vocabulary(nodes):
    """Index of the projection onto the vocabulary, and functions ``(scores, tokens) -> scores`` for what follows it."""
    for index, node in enumerate(nodes):
        layer = node.operation
        plain = isinstance(layer, keras.layers.Dense) and _activation(node) == "linear"
        tied = hasattr(layer, "embeddings") and node.arguments.kwargs.get("mode") == "dense" and not _is_changed(layer)
        if (plain or tied) and not _is_changed(layer):
            finish = [_after(later.operation) for later in nodes[index + 1 :]]
            if None not in finish:
                return index, finish
    return None, []


def _is_changed(layer):
    """Whether LoRA or quantization stand between the layer and its matrix."""
    return bool(getattr(layer, "lora_enabled", False)) or getattr(layer, "quantization_mode", None) is not None


def _after(layer):
    """What a layer behind the projection does to some columns, or ``None`` where that is not known."""
    if getattr(layer, "scale", True) is False and getattr(layer, "offset", False) is True and not layer.conditional:
        return lambda scores, tokens: scores + ops.cast(ops.take(ops.convert_to_tensor(layer.beta), tokens), "float32")
    if hasattr(layer, "cap"):
        return lambda scores, tokens: layer(scores)
    if isinstance(layer, keras.layers.Dropout):
        return lambda scores, tokens: scores
    return None
