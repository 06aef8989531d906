"""What the model classes of bert4keras have in common: a frame around a graph, whose steps can be overridden."""

import functools

import keras

from keras_su import initializers, layers
from keras_su.errors import KerasSuError
from keras_su.models.config import Config
from keras_su.models.describe import make_spec, with_rows
from keras_su.models.graph import Graph, make_graph
from keras_su.models.handle import Transformer
from keras_su.models.mapped import load_mapped, mapping_of
from keras_su.models.registry import find_family
from keras_su.models.spec import Seq2Seq
from keras_su.weights.load import VocabularyRows


class ModelClass(Transformer):
    """The common base; arguments are settings of the family, as ``build_transformer_model`` takes them.

    Attributes:
        vocab_size, hidden_size, num_hidden_layers, num_attention_heads, attention_head_size, attention_key_size,
        intermediate_size, hidden_act, dropout_rate, ...: the settings. What is changed before :meth:`build` counts.
        model, inputs, outputs, input, output: after :meth:`build`.
        layers: all layers by name.

    >>> settings = dict(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    >>> from keras_su.models import BERT
    >>> class Wide(BERT):
    ...     def apply_final_layers(self, inputs):
    ...         x = super().apply_final_layers(inputs)
    ...         return self.apply(x, keras.layers.Dense, name="Wide", units=3 * self.hidden_size)
    >>> bert = Wide(**settings)
    >>> bert.build()
    >>> bert.model.output.shape
    (None, None, 24)
    """

    family_name = None
    # Attributes of an instance here; computed ones in the class above.
    model = inputs = outputs = input = output = layers = None
    num_hidden_layers = hidden_size = attention_head_size = attention_key_size = None

    def __init__(
        self,
        *,
        layers=None,
        prefix=None,
        name=None,
        keep_tokens=None,
        compound_tokens=None,
        ignore_invalid_weights=False,
        dtype=None,
        **settings,
    ):
        self.name, self.prefix, self.dtype = name, prefix or "", dtype
        self.keep_tokens, self.compound_tokens = keep_tokens, compound_tokens
        self.ignore_invalid_weights = ignore_invalid_weights
        self.built = False
        self.attention_bias = self.position_bias = None
        self.layer_norm_conds = [None, None, "linear"]
        self._settings = settings
        self.layers = {} if layers is None else layers
        self._tensors = {}
        family = find_family(self.find_family_name(settings))
        super().__init__(None, family, rows=VocabularyRows(keep_tokens, compound_tokens))
        self._describe({})
        spec = self._spec
        self._known = {**self.config.answers, "vocab_size": spec.vocab_size}
        self._known["embedding_size"] = spec.embeddings.size
        self._known["attention_head_size"] = self._attention.head_size
        self._known["attention_key_size"] = self._attention.key_size or self._attention.head_size
        sizes = {"hidden_size": spec.hidden_size, "num_hidden_layers": spec.num_layers}
        rates = {"dropout_rate": spec.embeddings.dropout, "attention_dropout_rate": self._attention.dropout}
        self.__dict__ |= {**sizes, **rates, **self._known}
        if not isinstance(spec, Seq2Seq):
            self.graph = HookedGraph(spec, owner=self, **self._options())

    spec = property(lambda self: self._spec)

    def _options(self):
        return {"prefix": self.prefix, "layers": self.layers, "name": self.name, "dtype": self.dtype}

    def find_family_name(self, settings):
        """The family whose graph this is."""
        if self.family_name is None:
            raise KerasSuError(
                f"{type(self).__name__} has no family. Derive it from BERT, RoFormer or another class of a family."
            )
        return self.family_name

    def _describe(self, changed):
        """Read the settings, those that were changed since first."""
        self.config = Config(self._settings, changed, self.family.name)
        spec, self.unknown_settings = make_spec(None, self.family, self.config)
        self._spec = with_rows(spec, self.rows, self.config.is_setting("pad_token_id")) if self.rows else spec

    def build(
        self,
        attention_caches=None,
        layer_norm_cond=None,
        layer_norm_cond_hidden_size=None,
        layer_norm_cond_hidden_act=None,
        additional_input_layers=None,
        **_,
    ):
        """Make the model. A second call does nothing.

        Args:
            attention_caches: must be ``None``: decoding has its own cache, see :func:`keras_su.decoding.generate`.
            layer_norm_cond, layer_norm_cond_hidden_size, layer_norm_cond_hidden_act: condition of all layer norms.
            additional_input_layers: further inputs of the model.
        """
        if self.built:
            return
        if attention_caches:
            raise KerasSuError("attention_caches is not supported: keras_su.decoding.generate keeps the cache by itself.")
        changed = {name: getattr(self, name) for name, value in self._known.items() if getattr(self, name) is not value}
        conditions = {
            "layer_norm_cond_hidden_size": layer_norm_cond_hidden_size,
            "layer_norm_cond_hidden_act": layer_norm_cond_hidden_act,
        }
        changed |= {name: value for name, value in conditions.items() if value is not None}
        if self.rows:
            changed.pop("vocab_size", None)
        if changed:
            self._describe(changed)
        self.layer_norm_conds = [layer_norm_cond, layer_norm_cond_hidden_size, layer_norm_cond_hidden_act or "linear"]
        if isinstance(self._spec, Seq2Seq):
            further = {"condition": layer_norm_cond, "extra_inputs": additional_input_layers}
            self.graph = make_graph(self._spec, **further, **self._options())
        else:
            self.graph.spec = self._spec
            self.graph.condition = layer_norm_cond
            self.graph.extra_inputs = _listed(additional_input_layers)
        graph = self.graph.build()
        self.set_inputs(graph.inputs, additional_input_layers)
        self.set_outputs(graph.outputs)
        self.model = graph.model
        self.built = True

    # ---- the steps

    def get_inputs(self):
        """The inputs of the model."""
        return Graph.get_inputs(self.graph)

    def call(self, inputs):
        """From the inputs to the outputs, through all steps."""
        return Graph.call(self.graph, _listed(inputs))

    def apply_embeddings(self, inputs):
        """From the inputs to the hidden states before the first block."""
        return Graph.apply_embeddings(self.graph, _listed(inputs))

    def apply_main_layers(self, inputs, index):
        """Block ``index``."""
        return Graph.apply_main_layers(self.graph, inputs, index)

    def apply_final_layers(self, inputs):
        """From the hidden states after the last block to the outputs."""
        return Graph.apply_final_layers(self.graph, inputs)

    def compute_attention_bias(self, inputs=None):
        """The mask of block ``inputs``: boolean, ``True`` = may attend, padding included; ``None`` if everything is visible."""
        return Graph.mask(self.graph, getattr(self._attention, "mask", None))

    def compute_position_bias(self, inputs=None):
        """The position term for the hidden states ``inputs``, ``None`` where attention has none."""
        part = self._attention
        return None if part.position is None else Graph.position_bias(self.graph, part, inputs, inputs)

    @property
    def initializer(self):
        """What all weight matrices start from."""
        return initializers.get(Graph.kernel_initializer.fget(self.graph))

    family_initializer = initializer
    """What a class of the package has as ``initializer``; the graph makes its own objects of that."""

    def variable_mapping(self):
        """Names in a TF checkpoint of the weights of each layer, in the order of the weights."""
        return mapping_of(self)

    def prefixed(self, name):
        """The full name of a layer."""
        return None if name is None else Graph.prefixed(self.graph, name)

    def apply(self, inputs=None, layer=None, arguments=None, **kwargs):
        """Call the layer ``kwargs["name"]``, making it the first time.

        Args:
            inputs: tensor or list of tensors; ``None`` returns the layer, or the tensor that ``keras.Input`` makes.
            layer: layer class, or ``keras.Input``.
            arguments: further arguments of the call; for ``Lambda`` those of its function.
            **kwargs: arguments of the constructor.
        """
        if layer is not None and not isinstance(layer, type):  # keras.Input is a function
            name = self.prefixed(kwargs.get("name"))
            if name not in self._tensors:
                self._tensors[name] = layer(**{**kwargs, "name": name})
            return self._tensors[name]
        if layer is not None:
            kwargs.setdefault("name", f"{layer.__name__}-{len(self.layers)}")
            if issubclass(layer, keras.layers.Dropout) and not kwargs.get("rate"):
                return inputs
            if layer is keras.layers.Add:
                layer = layers.Residual  # Keras' Add loses the padding mask when one of its inputs has none
            elif issubclass(layer, keras.layers.Lambda):
                layer, arguments = functools.partial(layer, arguments=arguments or {}), None
        return Graph.apply(self.graph, inputs, layer, arguments, **kwargs)

    # ---- small helpers of bert4keras

    def simplify(self, inputs):
        """``inputs`` without ``None``; the entry itself when one is left."""
        inputs = [entry for entry in inputs if entry is not None]
        return inputs[0] if len(inputs) == 1 else inputs

    def set_inputs(self, inputs, additional_input_layers=None):
        """Set ``inputs``, a list, and ``input``, which is bare when there is one."""
        self.inputs = [*_listed(inputs), *_listed(additional_input_layers)]
        self.input = self.simplify(self.inputs)

    def set_outputs(self, outputs):
        """Set ``outputs``, a list, and ``output``, which is bare when there is one."""
        self.outputs = _listed(outputs)
        self.output = self.simplify(self.outputs)

    def load_weights_from_checkpoint(self, checkpoint, mapping=None, **options):
        """Fill the model from a checkpoint; by ``mapping``, or by :meth:`variable_mapping` where a subclass has its own."""
        if mapping is None and type(self).variable_mapping is ModelClass.variable_mapping:
            options.setdefault("strict", not self.ignore_invalid_weights)
            return super().load_weights_from_checkpoint(checkpoint, **options)
        return load_mapped(self, checkpoint, mapping or self.variable_mapping(), self.ignore_invalid_weights)


def _listed(value):
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


class HookedGraph(Graph):
    """A graph that asks its owner, a :class:`ModelClass`, at every step."""

    index = 0

    def __init__(self, spec, *, owner, **options):
        super().__init__(spec, **options)
        self.owner = owner

    def _overrides(self, name):
        return getattr(type(self.owner), name) is not getattr(ModelClass, name)

    def get_inputs(self):
        inputs = _listed(self.owner.get_inputs())
        self.owner.set_inputs(inputs, self.extra_inputs)
        self.read_inputs(inputs)
        return inputs

    def call(self, inputs, memory=None, memory_mask=None):
        if self.spec.memory:
            return super().call(inputs, memory, memory_mask)
        return self.owner.call(inputs)

    def apply_embeddings(self, inputs):
        return self.owner.apply_embeddings(inputs)

    def apply_main_layers(self, inputs, index):
        self.index = index
        return self.owner.apply_main_layers(inputs, index)

    def apply_final_layers(self, inputs):
        return self.owner.apply_final_layers(inputs)

    def apply(self, inputs, layer=None, arguments=None, **kwargs):
        return self.owner.apply(inputs, layer, arguments, **kwargs)

    def mask(self, mask=None):
        return self.owner.compute_attention_bias(self.index) if self._overrides("compute_attention_bias") else super().mask(mask)

    def position_bias(self, part, query, key):
        if self._overrides("compute_position_bias"):
            return self.owner.compute_position_bias(query)
        return super().position_bias(part, query, key)

    @property
    def kernel_initializer(self):
        owner = type(self.owner)
        return super().kernel_initializer if owner.initializer is owner.family_initializer else self.owner.initializer
