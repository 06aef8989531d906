"""From a :class:`~keras_su.models.spec.Spec` to a plain functional ``keras.Model``.

Start reading at :meth:`Graph.build`. Layer names are bert4keras' and part of the public interface.
"""

import keras

from keras_su import layers, masks
from keras_su.errors import KerasSuError
from keras_su.models.keras2 import Model
from keras_su.models.spec import Mask, Seq2Seq


class Stream:
    """What flows through the blocks.

    Attributes:
        x: the hidden states, normalised where the block says so.
        embeddings: the output of the embeddings.
        scores: attention scores, where a family hands them on.
        memory, memory_mask: states of the encoder, and which of them are tokens.
    """

    def __init__(self, x, memory=None, memory_mask=None):
        self.x = x
        self.embeddings = x
        self.scores = None
        self.memory = memory
        self.memory_mask = memory_mask


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
        self.tokens = self.segments = self.positions = None
        self.extras = {}
        self.stream = None
        self.part_name = ""
        self._nodes = {}

    # ---- the whole model

    def build(self, memory=None, memory_mask=None, inputs=None):
        """Run the graph: inputs, embeddings, blocks, heads. Sets ``inputs``, ``outputs`` and ``model``.

        Args:
            memory: for decoders: states of an encoder; default is a model input of its own, all of which counts.
            memory_mask: boolean ``(batch, 1, length)``, which states are tokens.
            inputs: Keras inputs to use in place of new ones.
        """
        self.inputs = inputs or self.get_inputs()
        own = list(self.inputs)
        if self.spec.memory:
            context = own.pop(0)
            memory = context if memory is None else memory
        outputs = self.call(own, memory, memory_mask)
        self.outputs = outputs if isinstance(outputs, list) else [outputs]
        if memory is None or memory is self.inputs[0]:
            self.model = make_model([*self.inputs, *self.extra_inputs], self.outputs, self.name)
        return self

    def call(self, inputs, memory=None, memory_mask=None):
        """From the inputs to the outputs of the model: embeddings, blocks, heads."""
        x = self.apply_embeddings(inputs)
        self.stream = Stream(x, memory, memory_mask)
        for index in range(self.spec.num_layers):
            x = self.apply_main_layers(x, index)
        return self.apply_final_layers(x)

    def read_inputs(self, inputs):
        """Note which input is what; masks and positions ask for it later."""
        embeddings, inputs = self.spec.embeddings, iter(inputs)
        self.tokens = next(inputs)
        self.segments = next(inputs, None) if embeddings.segments else None
        self.extras = {extra.name: next(inputs, None) for extra in embeddings.extras if extra.input}
        self.positions = next(inputs, None) if embeddings.position_ids == "input" else None

    def get_inputs(self):
        """Token ids, segment ids where the model has segments, further ids where they are an input; encoder states first."""
        spec = self.spec
        shape = (spec.sequence_length,)
        inputs = [self._input("Input-Token", shape)]
        if spec.memory:
            inputs.insert(0, keras.Input((spec.sequence_length, spec.memory), name=self.prefixed("Input-Context")))
        if spec.embeddings.segments:
            inputs.append(self._input("Input-Segment", shape))
        inputs += [self._input(f"Input-{extra.name}", shape) for extra in spec.embeddings.extras if extra.input]
        if spec.embeddings.position_ids == "input":
            inputs.append(self._input("Input-Position", shape))
        return inputs

    def apply_embeddings(self, inputs):
        """Sum of the embeddings, norm, dropout, and the mapping of factorised models."""
        spec, embeddings = self.spec, self.spec.embeddings
        self.read_inputs(inputs)
        kernel = self.kernel_initializer
        size = spec.hidden_size if embeddings.mapping == "tokens" else embeddings.size
        table = {"output_dim": size, "embeddings_initializer": kernel}

        x = self.apply(
            self.tokens,
            layers.Embedding,
            name="Embedding-Token",
            input_dim=spec.vocab_size,
            output_dim=embeddings.size,
            embeddings_initializer=kernel,
            mask_zero=embeddings.pad_id is not None,
            pad_id=embeddings.pad_id or 0,
        )
        x = self.scale(x, embeddings.scale, "Embedding-Scale")
        if embeddings.mapping == "tokens":
            units = {"units": spec.hidden_size, "kernel_initializer": kernel}
            x = self.apply(x, layers.Mapping, name="Embedding-Mapping", **units)
        if self.segments is not None:
            if embeddings.segments_share_tokens:
                y = self.apply(self.segments, layers.Embedding, name="Embedding-Token")
            else:
                name = "Embedding-Segment"
                y = self.apply(self.segments, keras.layers.Embedding, name=name, input_dim=embeddings.segments, **table)
            x = self.apply([x, y], layers.Residual, name="Embedding-Token-Segment")
        for extra in embeddings.extras:
            name, ids = f"Embedding-{extra.name}", self.extras.get(extra.name)
            if ids is None:
                y = self.apply(x, layers.EmbeddingRows, name=name, input_dim=extra.rows, count=1, **table)
            else:
                y = self.apply(ids, keras.layers.Embedding, name=name, input_dim=extra.rows, **table)
            x = self.apply([x, y], layers.Residual, name=f"{name}-Add")
        if embeddings.position is not None:
            positions = self.position_ids()
            x = self.apply(
                x if positions is None else [x, positions],
                layers.PositionEmbedding,
                name="Embedding-Position",
                input_dim=embeddings.position.length,
                hierarchical=embeddings.position.hierarchical,
                offset=embeddings.position.offset,
                merge_mode="add",
                custom_position_ids=positions is not None,
                **table,
            )
        if embeddings.dropout_first:
            x = self.dropout(x, embeddings.dropout, "Embedding-Dropout")
        x = self.norm(x, embeddings.norm, "Embedding-Norm")
        if not embeddings.dropout_first:
            x = self.dropout(x, embeddings.dropout, "Embedding-Dropout")
        if embeddings.mapping is True or (embeddings.mapping is None and embeddings.size != spec.hidden_size):
            units = {"units": spec.hidden_size, "use_bias": embeddings.mapping_bias, "kernel_initializer": kernel}
            x = self.apply(x, keras.layers.Dense, name="Embedding-Mapping", **units)
        return x

    def apply_main_layers(self, inputs, index):
        """Block ``index``: every residual is ``x <- post(x + scale * out(part(pre(x))))``."""
        stream = self.stream = self.stream or Stream(inputs)  # a subclass may call blocks without :meth:`call`
        x = inputs
        for residual in self.spec.block_at(index).residuals:
            self.part_name = name = f"{self.spec.block_name(index)}-{residual.part.suffix}"
            several = sum(norm is not None for norm in (residual.pre, residual.out, residual.post)) > 1
            names = iter([f"{name}-Norm-0", f"{name}-Norm-1", f"{name}-Norm-2"] if several else [f"{name}-Norm"])
            stream.x = x if residual.pre is None else self.norm(x, residual.pre, next(names))
            y = residual.part.apply(self, stream, name)
            y = y if residual.out is None else self.norm(y, residual.out, next(names))
            y = self.scale(y, residual.scale, f"{name}-Scale")
            y = self.dropout(y, residual.dropout, f"{name}-Dropout")
            x = self.apply([x, y], layers.Residual, name=f"{name}-Add")
            x = x if residual.post is None else self.norm(x, residual.post, next(names))
        return x

    def apply_final_layers(self, inputs):
        """The heads in order, or the hidden states when there are none."""
        output = self.spec.output
        hidden = self.norm(inputs, output.norm, "Output-Norm")
        hidden = self.dropout(hidden, output.dropout, "Output-Dropout")
        hidden = self.scale(hidden, output.scale, "Output-Scale")
        outputs = [head.apply(self, hidden) for head in self.spec.heads]
        return hidden if not outputs else outputs[0] if len(outputs) == 1 else outputs

    # ---- pieces that parts and heads use

    @property
    def kernel_initializer(self):
        """What all weight matrices start from, in a form that each layer makes its own object of."""
        return self.spec.initializer.config()

    def position_bias(self, part, query, key):
        """The position term of an attention part, see :mod:`keras_su.models.positions`."""
        return part.position.apply(self, part, query, key)

    def mask(self, mask=None):
        """The attention mask node; one per distinct :class:`~keras_su.models.spec.Mask`. ``None`` when everything is visible."""
        mask = mask or self.spec.mask
        pad_id = self.spec.embeddings.pad_id
        if pad_id is None and mask.window is None and mask.rules == ("full",):
            return None
        name = self.numbered("Attention-Mask", mask)
        return self.once(
            name,
            lambda: self.apply(
                self.tokens,
                layers.AttentionMask,
                {"segments": self._segments_for(mask.rules)},
                name=name,
                rules=mask.rules,
                window=mask.window,
                pad_id=pad_id,
                keep_first=self.spec.embeddings.keeps_first,
            ),
        )

    def position_ids(self):
        """Ids of the positions, or ``None`` where they are simply counted."""
        if self.spec.embeddings.position_ids == "skip_padding" and self.positions is None:
            pad_id = self.spec.embeddings.pad_id
            if pad_id is None:
                raise KerasSuError("Positions that skip the padding need to know what padding is. Pass pad_token_id=.")
            self.positions = self.apply(self.tokens, layers.PositionIds, name="Position-Ids", pad_id=pad_id)
        return self.positions

    def once(self, key, make):
        """What ``make()`` returned when it was first called for ``key``: nodes that all layers share."""
        if key not in self._nodes:
            self._nodes[key] = make()
        return self._nodes[key]

    def numbered(self, name, value):
        """``name`` for the first value that asks for it, ``name-1``, ``name-2``, ... for further ones."""
        known = self._nodes.setdefault(("names", name), [])
        if value not in known:
            known.append(value)
        number = known.index(value)
        return f"{name}-{number}" if number else name

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
        arguments = norm.arguments()
        if conditional:
            arguments["hidden_units"] = self.spec.condition.hidden_size
            arguments["hidden_activation"] = self.spec.condition.hidden_act
            arguments["hidden_initializer"] = self.kernel_initializer
        inputs = [x, self.condition] if conditional else x
        return self.apply(inputs, layers.LayerNormalization, name=name, conditional=conditional, **arguments)

    def scale(self, x, factor, name):
        """Multiply by a constant; ``None`` and 1 do nothing."""
        return x if factor in (None, 1) else self.apply(x, layers.ScaleOffset, name=name, scale=float(factor), offset=False)

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
        """The full name of a layer. What an encoder and its decoder share has no side."""
        side = "" if name in ("Embedding-Token", "Input-Context") else self.spec.side
        return f"{self.prefix}{side}{name}"

    def _input(self, name, shape):
        return keras.Input(shape=shape, dtype="int32", name=self.prefixed(name))


class Seq2SeqGraph:
    """Builds an encoder, a decoder and the model that joins them from a :class:`~keras_su.models.spec.Seq2Seq`.

    Arguments are those of :class:`Graph`. ``encoder`` and ``decoder`` are models of their own after :meth:`build`; the inputs of
    the decoder are the states of the encoder, all of which it attends to, and token ids.
    """

    def __init__(self, spec, *, layers=None, extra_inputs=None, name=None, **options):
        self.spec = spec
        self.prefix = options.get("prefix", "")
        self.layers = {} if layers is None else layers
        make = lambda side, **more: Graph(side, layers=self.layers, **options, **more)  # noqa: E731
        self._encoder = make(spec.encoder, extra_inputs=extra_inputs, name=name and f"{name}_Encoder")
        self._decoder = make(spec.decoder, extra_inputs=extra_inputs, name=name and f"{name}_Decoder")
        self._joined = make(spec.decoder)
        self.extra_inputs = self._encoder.extra_inputs
        self.name = name

    def build(self):
        """Run the graphs. Sets ``inputs``, ``outputs``, ``model``, ``encoder`` and ``decoder``."""
        encoder, decoder = self._encoder.build(), self._decoder.build()
        memory = encoder.outputs[0]
        self._joined.build(memory, encoder.mask(Mask()), decoder.inputs)
        self.encoder, self.decoder = encoder.model, decoder.model
        self.inputs, self.outputs = [*encoder.inputs, *decoder.inputs[1:]], self._joined.outputs
        self.model = make_model([*self.inputs, *self.extra_inputs], self.outputs, self.name)
        return self


def make_model(inputs, outputs, name=None):
    """A functional model. A list of one output would make ``model.output`` a list in Keras 3; users expect a tensor."""
    return Model(inputs, outputs[0] if len(outputs) == 1 else outputs, name=name)


def make_graph(spec, **options):
    """The graph for a :class:`~keras_su.models.spec.Spec` or a :class:`~keras_su.models.spec.Seq2Seq`."""
    return (Seq2SeqGraph if isinstance(spec, Seq2Seq) else Graph)(spec, **options)
