"""A functional model as decoding sees it: what is computed once, what is computed for every token, and the head.

Nothing here depends on how the model was built. A model from a ``.keras`` file, or one that a user extended, is cut the same way.
"""

import keras
import numpy as np
from keras import ops

from keras_su import masks
from keras_su.cache import current_cache
from keras_su.decoding.nodes import inputs_of, is_token_wise, node_of
from keras_su.decoding.vocabulary_head import VocabularyHead
from keras_su.errors import KerasSuError, bad_value, unknown_name

STREAMS = ("tokens", "segments", "positions")


class TokenModel:
    """A language model, divided into three stages.

    - *context*: everything that does not depend on the tokens, such as an encoder. Computed once.
    - *trunk*: from the tokens to hidden states, up to the last layer that looks at several tokens. Computed for the prompt, then
      for each new token inside a :class:`~keras_su.cache.KVCache`.
    - *head*: from hidden states to logits, token by token; see :class:`VocabularyHead`.

    Args:
        model: functional ``keras.Model`` with a language model's output ``(batch, length, vocab_size)``.
        streams: ``{input name: "tokens" | "segments" | "positions"}``, where the names of the inputs do not tell.

    Attributes:
        streams: kind of each input that grows with the text, in the order of ``model.inputs``; ``None`` for the others.
        context_inputs: names of the others.
        context_padding: token id of padding in the context, ``None`` where it has none.
        vocab_size: width of the output.
        reads_segments: whether segments say which tokens see each other.
        capacity: longest text in tokens, or ``None``.
        matrices: kernels of the trunk.
    """

    def __init__(self, model, streams=None):
        if not hasattr(model, "inputs") or not model.inputs:
            raise KerasSuError(f"Decoding needs a functional model, whose layers it can run one by one; {model.name!r} is none.")
        self.model = model
        self._output = _language_model_output(model)
        self.streams = _find_streams(model.inputs, streams)
        self.context_inputs = [_name(x) for x, kind in zip(model.inputs, self.streams) if kind is None]
        nodes = _ancestors(self._output, model.inputs)
        moving = {id(x) for x, kind in zip(model.inputs, self.streams) if kind is not None}
        self._context_nodes, token_nodes = [], []
        for node in nodes:
            grows = any(id(x) in moving for x in inputs_of(node))
            (token_nodes if grows else self._context_nodes).append(node)
            moving |= {id(x) for x in node.outputs} if grows else set()
        if id(self._output) not in moving:
            raise KerasSuError(f"The output of {model.name!r} does not depend on the tokens, so it is no language model.")
        self._moving = moving
        self.head = VocabularyHead(self._output)
        head_nodes = set(map(id, self.head.nodes))
        self._trunk_nodes = [node for node in token_nodes if id(node) not in head_nodes]
        boundary = {id(x): x for node in token_nodes for x in inputs_of(node) if id(x) not in moving}
        self.context = list(boundary.values())
        paddings = [getattr(node.operation, "pad_id", None) for node in self._context_nodes]
        self.context_padding = next((pad_id for pad_id in paddings if pad_id is not None), None)
        self.vocab_size = self._output.shape[-1]
        rules = _mask_rules(self._trunk_nodes)
        self.reads_segments = any(masks.reads_segments(each) for each in rules)
        kernels = {id(v): v for node in self._trunk_nodes for v in getattr(node.operation, "variables", [])}
        self.matrices = [v for v in kernels.values() if v.name == "kernel" and len(v.shape) == 2]
        capacities = [getattr(node.operation, "capacity", None) for node in self._trunk_nodes]
        self.capacity = min((c for c in capacities if c is not None), default=None)

    def check_cacheable(self):
        """Raise unless every layer of the trunk can read a text piece by piece."""
        for node in self._trunk_nodes:
            self._check(node, self._moving)

    def _check(self, node, moving):
        """``moving``: ids of the tensors that grow with the text, ``None`` inside of a model in the model, where all do."""
        operation = node.operation
        if isinstance(operation, keras.Model):
            if moving is not None and any(id(x) not in moving for x in inputs_of(node)):
                raise _refusal(operation, "is a model inside the model that has inputs besides the tokens")
            for inner in (inner for layer in operation.layers for inner in layer._inbound_nodes):
                self._check(inner, None)
        elif getattr(operation, "attends", False):
            _check_causal(operation, node, moving)
        elif not getattr(operation, "cache_aware", False) and not is_token_wise(operation):
            raise _refusal(operation, "may mix tokens and does not know the cache")

    def read_context(self, inputs):
        """The context stage.

        Args:
            inputs: ``{name: tensor}`` for ``context_inputs``.

        Returns:
            list of tensors, as ``run`` wants them.
        """
        named = {_name(x): x for x in self.model.inputs}
        values = {id(named[name]): inputs[name] for name in self.context_inputs}
        _run(self._context_nodes, values)
        return [values[id(x)] for x in self.context]

    def context_has_batch(self):
        """For each tensor of the context whether its first axis is the batch."""
        return [x.shape[0] is None for x in self.context]

    def run(self, context, streams):
        """The trunk stage: hidden states ``(batch, length, width)`` of the tokens, for the head.

        Args:
            context: what ``read_context`` returned.
            streams: ``{kind: int32 (batch, length)}``; further inputs besides tokens, segments and positions get zeros.
        """
        values = {id(x): value for x, value in zip(self.context, context)}
        for x, kind in zip(self.model.inputs, self.streams):
            if kind is not None:
                values[id(x)] = streams[kind] if kind in streams else ops.zeros_like(streams["tokens"])
        _run(self._trunk_nodes, values, self._moving)
        return values[id(self.head.hidden)]


def _run(nodes, values, moving=None):
    """Call the operations of ``nodes`` on ``values`` ``{id(KerasTensor): tensor}``, which receives their outputs."""
    cache = current_cache()
    for node in nodes:
        if cache is not None and moving is not None:
            cache.running(node.operation, tuple(id(x) in moving for x in inputs_of(node)))
        args, kwargs = node.arguments.fill_in(values)
        outputs = node.operation(*args, **kwargs)
        for symbol, value in zip(node.outputs, keras.tree.flatten(outputs)):
            values[id(symbol)] = value


def _ancestors(output, inputs):
    """Nodes that ``output`` is computed by from ``inputs``, each after those that it depends on."""
    order, entered, given = [], set(), {id(x) for x in inputs}
    stack = [(node_of(output), False)]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            order.append(node)
        elif node is not None and id(node) not in entered:
            entered.add(id(node))
            stack.append((node, True))
            # In reverse, so that the first input is computed first: the order in which the model was written down.
            stack += [(node_of(x), False) for x in reversed(inputs_of(node)) if id(x) not in given]
    return order


def _name(tensor):
    return tensor._keras_history.operation.name


def _language_model_output(model):
    found = [x for x in model.outputs if len(x.shape) == 3 and isinstance(x.shape[-1], int)]
    if not found:
        shapes = ", ".join(str(x.shape) for x in model.outputs)
        raise bad_value(
            f"outputs of {model.name!r}", shapes, "one of shape (batch, length, vocab_size), from a language model head"
        )
    return max(found, key=lambda x: x.shape[-1])


def _find_streams(inputs, given):
    names = [_name(x) for x in inputs]
    if given:
        for name, kind in given.items():
            if name not in names:
                raise unknown_name("model input", name, names)
            if kind not in STREAMS:
                raise unknown_name("kind of input", kind, STREAMS)
        if "tokens" not in given.values():
            raise bad_value("streams", given, "one input that is 'tokens'")
        return [given.get(name) for name in names]
    if len(names) == 1:
        return ["tokens"]
    for x, name in zip(inputs, names):
        side = name.removesuffix("Input-Token")
        if side != name and not side.endswith("Encoder-"):
            return [_kind(name, side) if len(x.shape) == 2 else None for x, name in zip(inputs, names)]
    raise KerasSuError(
        f"Which of the inputs {', '.join(names)} are the tokens? Say it with streams={{name: 'tokens', ...}} "
        f"('segments', 'positions' for others that grow with the text)."
    )


def _kind(name, side):
    """What an input is called that has the name of the token input up to its last word."""
    if not name.startswith(f"{side}Input-"):
        return None
    word = name.removeprefix(f"{side}Input-")
    return {"Token": "tokens", "Segment": "segments", "Position": "positions"}.get(word, word)


def _mask_rules(nodes):
    """Rules of all masks among ``nodes``."""
    for node in nodes:
        if getattr(node.operation, "rules", None):
            yield node.operation.rules
        if getattr(node.operation, "mask_mode", None):
            yield [node.operation.mask_mode]


def _check_causal(layer, node, moving):
    """Raise when a layer that attends within the text may look ahead: its earlier states would change with every token."""
    inputs = inputs_of(node)
    sides = 1 if getattr(layer, "self_attention", False) else min(3, len(inputs))
    if sides > 1 and moving is not None and id(inputs[1]) not in moving:
        return  # attention to a context
    mode = getattr(layer, "mask_mode", None)
    rules = [] if mode is None else [mode]
    if node.arguments.kwargs.get("a_bias"):
        maker = node_of(inputs[sides])
        if not getattr(maker and maker.operation, "rules", None):
            return  # a mask of the user's own
        rules += maker.operation.rules
    ahead = np.triu(masks.matrix(rules or ["full"], 6, segments=[0, 0, 0, 1, 1, 1]), 1)[:, 3:]
    if ahead.any():
        raise KerasSuError(
            f"{layer.name} lets tokens look ahead (mask: {' and '.join(rules) or 'none'}), so a text cannot be written token by "
            "token. Build the model as a language model: application='lm' or 'unilm'."
        )


def _refusal(operation, reason):
    return KerasSuError(
        f"{operation.name} ({type(operation).__name__}) {reason}, so the model cannot be decoded step by step. "
        "Pass cached=False to read the whole text again for each token; or, if its output at a token depends on that token "
        "alone, set token_wise = True on its class."
    )
