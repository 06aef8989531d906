"""From a :class:`~keras_su.models.spec.Spec` to a plain functional ``keras.Model``.

Start reading at :meth:`Graph.build`. Layer names are bert4keras' and part of the public interface.
"""

import keras

from keras_su import layers, masks
from keras_su.errors import KerasSuError
from keras_su.models.heads import MaskedLM


class Stream:
    """What flows through the blocks: the hidden states, and the attention scores where a family hands them on."""

    def __init__(self, x):
        self.x = x
        self.scores = None


class Graph:
    """Builds one model. Each layer is made once and found again under its name: that is how tables and blocks are shared.

    Args:
        spec: what to build.
        prefix: put before every layer name, so that several models fit into one graph.
        layers: dictionary of existing layers to use, by prefixed name.
        condition: Keras tensor ``(batch, c)`` or ``(batch, length, c)`` that modulates every layer norm.
        extra_inputs: further inputs of the model, a Keras tensor or a list.
        name: of the Keras model.
        dtype: dtype or dtype policy of the layers; default is the global policy.
    """

    def __init__(self, spec, *, prefix="", layers=None, condition=None, extra_inputs=None, name=None, dtype=None):
        self.spec = spec
        self.prefix = prefix
        self.layers = {} if layers is None else layers
        self.condition = condition
        extra_inputs = [] if extra_inputs is None else extra_inputs
        self.extra_inputs = list(extra_inputs) if isinstance(extra_inputs, (list, tuple)) else [extra_inputs]
        self.name = name
        self.dtype = dtype
        self._masks = {}

    # ---- the whole model

    def build(self):
        """Run the graph: inputs, embeddings, blocks, heads. Sets ``inputs``, ``outputs`` and ``model``."""
        self.inputs = self.get_inputs()
        x = self.apply_embeddings(self.inputs)
        self.stream = Stream(x)
        for index in range(self.spec.num_layers):
            x = self.apply_main_layers(x, index)
        outputs = self.apply_final_layers(x)
        self.outputs = outputs if isinstance(outputs, list) else [outputs]
        # A list of one output would make ``model.output`` a list in Keras 3; users expect a tensor.
        output = self.outputs[0] if len(self.outputs) == 1 else self.outputs
        self.model = keras.Model([*self.inputs, *self.extra_inputs], output, name=self.name)
        return self.model

    def get_inputs(self):
        """Token ids, segment ids where the model has segments, position ids where they are an input."""
        spec = self.spec
        shape = (spec.sequence_length,)
        inputs = [self._input("Input-Token", shape)]
        if spec.embeddings.segments:
            inputs.append(self._input("Input-Segment", shape))
        if spec.embeddings.position_ids == "input":
            inputs.append(self._input("Input-Position", shape))
        return inputs

    def apply_embeddings(self, inputs):
        """Sum of the embeddings, norm, dropout, and the mapping of factorised models."""
        spec, embeddings = self.spec, self.spec.embeddings
        inputs = list(inputs)
        tokens = inputs.pop(0)
        segments = inputs.pop(0) if embeddings.segments else None
        positions = inputs.pop(0) if embeddings.position_ids == "input" else None
        self.tokens, self.segments = tokens, segments
        table = {"output_dim": embeddings.size, "embeddings_initializer": spec.initializer.config()}

        x = self.apply(tokens, layers.Embedding, name="Embedding-Token", input_dim=spec.vocab_size, mask_zero=True, **table)
        if segments is not None:
            if embeddings.segments_share_tokens:
                y = self.apply(segments, layers.Embedding, name="Embedding-Token")
            else:
                y = self.apply(segments, keras.layers.Embedding, name="Embedding-Segment", input_dim=embeddings.segments, **table)
            x = self.apply([x, y], layers.Residual, name="Embedding-Token-Segment")
        if embeddings.position is not None:
            if embeddings.position_ids == "left_padded":
                positions = self.apply(tokens, layers.PositionIds, name="Position-Ids")
            x = self.apply(
                x if positions is None else [x, positions],
                layers.PositionEmbedding,
                name="Embedding-Position",
                input_dim=embeddings.position.length,
                hierarchical=embeddings.position.hierarchical,
                merge_mode="add",
                custom_position_ids=positions is not None,
                **table,
            )
        x = self.norm(x, embeddings.norm, "Embedding-Norm")
        x = self.dropout(x, embeddings.dropout, "Embedding-Dropout")
        if embeddings.size != spec.hidden_size:
            kernel = spec.initializer.config()
            x = self.apply(x, keras.layers.Dense, name="Embedding-Mapping", units=spec.hidden_size, kernel_initializer=kernel)
        return x

    def apply_main_layers(self, inputs, index):
        """Block ``index``: every residual is ``x <- post(x + out(part(pre(x))))``."""
        stream = self.stream
        x = inputs
        for residual in self.spec.block_at(index).residuals:
            name = f"Transformer-{index}-{residual.part.suffix}"
            several = sum(norm is not None for norm in (residual.pre, residual.out, residual.post)) > 1
            names = iter([f"{name}-Norm-0", f"{name}-Norm-1", f"{name}-Norm-2"] if several else [f"{name}-Norm"])
            stream.x = x if residual.pre is None else self.norm(x, residual.pre, next(names))
            y = residual.part.apply(self, stream, name)
            y = y if residual.out is None else self.norm(y, residual.out, next(names))
            y = self.dropout(y, residual.dropout, f"{name}-Dropout")
            x = self.apply([x, y], layers.Residual, name=f"{name}-Add")
            x = x if residual.post is None else self.norm(x, residual.post, next(names))
        return x

    def apply_final_layers(self, inputs):
        """The heads in order, or the hidden states when there are none."""
        hidden = self.norm(inputs, self.spec.output_norm, "Output-Norm")
        outputs = [head.apply(self, hidden) for head in self.spec.heads]
        return hidden if not outputs else outputs[0] if len(outputs) == 1 else outputs

    # ---- pieces that parts and heads use

    def mask(self, mask=None):
        """The attention mask node; one per distinct :class:`~keras_su.models.spec.Mask`."""
        mask = mask or self.spec.mask
        if mask not in self._masks:
            name = "Attention-Mask" if not self._masks else f"Attention-Mask-{len(self._masks)}"
            self._masks[mask] = self.apply(
                self.tokens,
                layers.AttentionMask,
                {"segments": self._segments_for(mask.rules)},
                name=name,
                rules=mask.rules,
                window=mask.window,
                keep_first=self.spec.embeddings.position_ids != "left_padded",
            )
        return self._masks[mask]

    def _segments_for(self, rules):
        if not masks.reads_segments(rules):
            return None
        if self.segments is None:
            raise KerasSuError(
                f"The mask {' and '.join(rules)} reads segment ids, but the model has no segment input. Set segment_vocab_size=2."
            )
        return self.segments

    def norm(self, x, norm, name):
        """Apply a :class:`~keras_su.models.spec.Norm`, conditional when the model has a condition; ``None`` does nothing."""
        if norm is None:
            return x
        conditional = self.condition is not None
        arguments = {}
        if conditional:
            arguments["hidden_units"] = self.spec.condition.hidden_size
            arguments["hidden_activation"] = self.spec.condition.hidden_act
            arguments["hidden_initializer"] = self.spec.initializer.config()
        return self.apply(
            [x, self.condition] if conditional else x,
            layers.LayerNormalization,
            name=name,
            zero_mean=norm.kind == "layer",
            epsilon=norm.epsilon,
            scale=norm.scale,
            offset=norm.center,
            conditional=conditional,
            **arguments,
        )

    def dropout(self, x, rate, name):
        """Dropout, or nothing at rate 0: a node costs time on torch even when it does nothing."""
        return self.apply(x, keras.layers.Dropout, name=name, rate=rate) if rate else x

    def apply(self, inputs, layer=None, arguments=None, **kwargs):
        """Call the layer ``kwargs["name"]`` on ``inputs``, making it from ``layer(**kwargs)`` the first time.

        Args:
            inputs: tensor or list of tensors; ``None`` returns the layer itself.
            layer: layer class.
            arguments: further call arguments.
            **kwargs: constructor arguments.
        """
        name = self.prefixed(kwargs["name"])
        if name not in self.layers:
            if layer is None:
                raise KerasSuError(f"There is no layer {name!r} yet, and no class was given to make it from.")
            kwargs.setdefault("dtype", self.dtype)
            self.layers[name] = layer(**{**kwargs, "name": name})
        if inputs is None:
            return self.layers[name]
        return self.layers[name](inputs, **(arguments or {}))

    def prefixed(self, name):
        """The full name of a layer."""
        return f"{self.prefix}{name}"

    def _input(self, name, shape):
        return keras.Input(shape=shape, dtype="int32", name=self.prefixed(name))


def has_language_model(spec):
    """Whether the heads of ``spec`` include a language model."""
    return any(isinstance(head, MaskedLM) for head in spec.heads)
