"""What ``build_transformer_model(..., return_keras_model=False)`` returns: the model together with what it was made from."""

import keras

from keras_su import initializers
from keras_su.errors import CheckpointError, KerasSuError, bad_value, unknown_name
from keras_su.weights.load import VocabularyRows, dump, load
from keras_su.weights.readers import open_checkpoint
from keras_su.weights.report import LoadReport
from keras_su.weights.writers import write_hf_folder, write_tf_bundle


class Transformer:
    """A built model with its description.

    Attributes:
        model: the ``keras.Model``.
        inputs, outputs: lists of its Keras tensors; ``input`` and ``output`` are bare when there is one.
        layers: dictionary of its layers by (prefixed) name.
        spec: the :class:`~keras_su.models.spec.Spec`.
        family: the :class:`~keras_su.models.registry.Family`.
        config: the :class:`~keras_su.models.config.Config` it was built from.
        report: :class:`~keras_su.weights.report.LoadReport` of the last checkpoint, or ``None``.
        encoder, decoder: the two halves of an encoder-decoder, as models.
        num_attention_heads, intermediate_size, dropout_rate, ...: every setting that the family has read.
    """

    def __init__(self, graph, family, config=None, rows=None):
        self.graph = graph
        self.family = family
        self.config = config
        self.rows = rows or VocabularyRows()
        self.report = None

    model = property(lambda self: self.graph.model)
    spec = property(lambda self: self.graph.spec)
    inputs = property(lambda self: self.graph.inputs)
    outputs = property(lambda self: self.graph.outputs)
    layers = property(lambda self: self.graph.layers)
    input = property(lambda self: _bare(self.graph.inputs))
    output = property(lambda self: _bare(self.graph.outputs))
    num_hidden_layers = property(lambda self: self.spec.num_layers)
    hidden_size = property(lambda self: self.spec.hidden_size)
    attention_head_size = property(lambda self: self._attention.head_size)
    attention_key_size = property(lambda self: self._attention.key_size or self._attention.head_size)

    def __getattr__(self, name):
        if name in ("encoder", "decoder") and "graph" in self.__dict__:
            if hasattr(self.graph, name):
                return getattr(self.graph, name)
            raise AttributeError(f"Model {self.family.name!r} has no {name} of its own; it is a single stack: use model.")
        config = self.__dict__.get("config")
        if config is None or name not in config.answers:
            raise AttributeError(f"{type(self).__name__} has no attribute or setting {name!r}.")
        return config.answers[name]

    @property
    def _attention(self):
        """The attention part of the first block."""
        parts = [residual.part for residual in self.spec.sides[0].block_at(0).residuals]
        return next(part for part in parts if hasattr(part, "head_size"))

    def get_layer(self, name):
        """The layer of this name."""
        return self.model.get_layer(name)

    @property
    def initializer(self):
        """A fresh initializer as the model's own kernels had, for layers put on top."""
        return initializers.get(self.spec.initializer.config())

    def outputs_of(self, name):
        """All outputs of a layer in call order; a layer that is shared by several blocks has several.

        >>> from keras_su import build_transformer_model
        >>> config = dict(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
        >>> bert = build_transformer_model(config, return_keras_model=False)
        >>> bert.outputs_of("Transformer-0-FeedForward-Norm")[-1].shape
        (None, None, 8)
        """
        known = {key.removeprefix(self.graph.prefix): layer for key, layer in self.layers.items()}
        if name not in known:
            raise unknown_name("layer", name, known)
        layer = known[name]
        return [node.outputs[0] if len(node.outputs) == 1 else list(node.outputs) for node in layer._inbound_nodes]

    def variables(self):
        """Our variables by path without the prefix: what name tables speak about."""
        found = {}
        for layer in self.layers.values():
            for variable in layer.variables:
                path = variable.path.removeprefix(self.graph.prefix)
                if not isinstance(layer, keras.layers.Dropout) and "seed_generator" not in path:
                    found[path] = variable
        return found

    def load_weights_from_checkpoint(self, checkpoint, *, strict=True, waive=(), alternatives=None):
        """Fill the model from a checkpoint of any format that :func:`keras_su.weights.open_checkpoint` reads.

        ``keep_tokens`` and ``compound_tokens`` of the build apply when the file holds the full vocabulary; a file with the
        reduced vocabulary (weights saved from this model) is taken as it is.

        Returns:
            the :class:`~keras_su.weights.report.LoadReport`, also kept as ``report``.
        """
        with open_checkpoint(checkpoint) as reader:
            if reader.format == "keras":
                self.report = load_layer_wise(self, reader)
            elif reader.format == "keras3":
                self.model.load_weights(reader.path)
            else:
                if not self.family.maps:
                    raise KerasSuError(
                        f"Model {self.family.name!r} has no name tables, so only Keras weight files can be loaded into it."
                    )
                self.report = load(
                    self.variables(),
                    reader,
                    self.family.maps,
                    family=self.family.name,
                    rows=self._rows_for(reader),
                    waive=waive,
                    strict=strict,
                    alternatives=alternatives,
                    groups=self._groups(),
                )
        return self.report

    def _groups(self):
        """Numbers of heads, for files that join query, key and value head by head."""
        part = self.spec.sides[0].block_at(0).residuals[0].part if self.spec.num_layers else None
        heads = getattr(part, "heads", 1)
        return {"heads": heads, "kv_heads": getattr(part, "kv_heads", None) or heads}

    def _rows_for(self, reader):
        """The selection of rows, unless the file has the model's vocabulary already."""
        if not self.rows:
            return None
        for name_map in self.family.maps:
            token = name_map.canonical(reader.names()).get(name_map.rows["Embedding-Token/embeddings"].name)
            if token is not None and reader.shape(token)[0] == self.spec.vocab_size:
                return None
        return self.rows

    def tensors(self, format="tf"):
        """Iterate over the ``(name, array)`` pairs of a checkpoint; ``format`` is ``"tf"`` or ``"torch"``."""
        for name_map in self.family.maps:
            if name_map.format == format:
                return dump(self.variables(), name_map, self._groups())
        known = [name_map.format for name_map in self.family.maps]
        raise bad_value(
            f"checkpoint format of {self.family.name}", format, " or ".join(map(repr, known)) or "none, the family has no tables"
        )

    def save_weights_as_checkpoint(self, path):
        """Write a TF checkpoint with the family's public tensor names, without TensorFlow."""
        write_tf_bundle(path, self.tensors("tf"))

    def save_pretrained(self, folder, vocab=None):
        """Write a Hugging Face folder: ``config.json``, ``model.safetensors`` and, if given, ``vocab.txt``.

        Args:
            folder: where to.
            vocab: path of a vocabulary file, or the tokens in order.
        """
        config = self.family.hugging_face_config(self.config, self.spec)
        write_hf_folder(folder, config, self.tensors("torch"), vocab=vocab)


def load_layer_wise(handle, reader):
    """Weights that Keras 2 saved layer by layer: our layers have the names and the weight order of bert4keras."""
    report = LoadReport(source=str(reader.path), family=handle.family.name, table="keras layers")
    stored = {name: tensors for name, tensors in reader.layers().items() if tensors}
    values = {}
    for name, layer in handle.layers.items():
        weights = [w for w in layer.weights if "seed_generator" not in w.path]
        if not weights:
            continue
        tensors = stored.pop(name, None)
        if tensors is None:
            report.missing.append((name, name))
            continue
        shapes = [tuple(reader.shape(t)) for t in tensors]
        if shapes != [tuple(w.shape) for w in weights]:
            report.mismatched.append((name, [tuple(w.shape) for w in weights], shapes))
            continue
        values.update({w.path: (w, t) for w, t in zip(weights, tensors)})
    report.unused = list(stored)
    report.loaded = len(values)
    if not report.complete:
        raise CheckpointError(str(report))
    for weight, tensor in values.values():
        weight.assign(reader.read(tensor))
    return report


def _bare(items):
    return items[0] if len(items) == 1 else items
