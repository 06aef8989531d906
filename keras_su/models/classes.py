"""Model classes under the names of bert4keras, for scripts that derive their own from one and override a step.

Nothing in the package is built through them: ``model="bert"`` needs no class. A class is a thin frame around the graph of its
family. Each step of the graph is a method here, which a subclass may override and whose ``super()`` is the family's own step.

=============================  =================================================================
step                           returns
=============================  =================================================================
``get_inputs()``               list of Keras inputs
``apply_embeddings(inputs)``   hidden states, from the list of inputs
``apply_main_layers(x, i)``    hidden states after block ``i``
``apply_final_layers(x)``      output, or list of outputs
``compute_attention_bias(i)``  mask of block ``i`` (boolean, or numbers added to the scores), or ``None``
``compute_position_bias(x)``   position term of attention, or ``None``
``initializer``                of all weight matrices: an object, or a method ``(shape, dtype=None)``
``variable_mapping()``         names in a checkpoint of the weights of each layer
``apply(inputs, layer, ...)``  calls the layer of a name, which it makes the first time
=============================  =================================================================
"""

from keras_su import initializers
from keras_su.models.graph import Graph
from keras_su.models.model_class import ModelClass
from keras_su.models.spec import Mask


class LM_Mask:
    """Mixin: each token sees those before it."""

    def compute_attention_bias(self, inputs=None):
        return Graph.mask(self.graph, Mask(rules=("causal",)))


class UniLM_Mask:
    """Mixin: segment 0 is read at once, the rest token by token (UniLM, arXiv 1905.03197)."""

    def compute_attention_bias(self, inputs=None):
        return Graph.mask(self.graph, Mask(rules=("unilm",)))


class BERT(ModelClass):
    """See :mod:`keras_su.models.families.bert`."""

    family_name = "bert"


class ALBERT(BERT):
    """See :mod:`keras_su.models.families.albert`."""

    family_name = "albert"


class ALBERT_Unshared(BERT):
    """See :mod:`keras_su.models.families.albert`."""

    family_name = "albert_unshared"


class NEZHA(BERT):
    """See :mod:`keras_su.models.families.nezha`."""

    family_name = "nezha"


class RoFormer(NEZHA):
    """See :mod:`keras_su.models.families.roformer`."""

    family_name = "roformer"


class RoFormerV2(RoFormer):
    """See :mod:`keras_su.models.families.roformer`."""

    family_name = "roformer_v2"

    def initializer(self, shape, dtype=None, order=2, gain=1.0):
        """Truncated normal whose deviation shrinks with the depth: ``1.1368 / sqrt(fan) * gain / depth ** (1 / order)``."""
        gain *= self.num_hidden_layers ** (-1.0 / order)
        return initializers.FanNormal(gain)(tuple(shape), dtype)

    family_initializer = initializer


class ELECTRA(BERT):
    """See :mod:`keras_su.models.families.electra`."""

    family_name = "electra"


class GPT(LM_Mask, BERT):
    """See :mod:`keras_su.models.families.gpt`."""

    family_name = "gpt"


class GPT2(GPT):
    """See :mod:`keras_su.models.families.gpt`."""

    family_name = "gpt2"


class GPT2_ML(GPT):
    """See :mod:`keras_su.models.families.gpt`."""

    family_name = "gpt2_ml"


class T5_Base(ModelClass):
    """What the T5 classes share; ``version`` is ``"t5.1.0"``, ``"t5.1.1"`` or ``"mt5.1.1"``.

    See :mod:`keras_su.models.families.t5`.
    """

    half = ""

    def find_family_name(self, settings):
        self.version = settings.pop("version", "t5.1.0")
        return f"{self.version}{self.half}"


class T5_Encoder(T5_Base):
    """The encoder alone."""

    half = "_encoder"


class T5_Decoder(T5_Base):
    """The decoder alone; its first input are the states of an encoder."""

    half = "_decoder"


class T5(T5_Base):
    """Encoder, decoder and both together: ``encoder``, ``decoder``, ``model``."""


def extend_with_language_model(BaseModel):
    """A class with a causal mask and a language model head."""

    class LanguageModel(LM_Mask, BaseModel):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.with_mlm = self.with_mlm or True

    return LanguageModel


def extend_with_unified_language_model(BaseModel):
    """A class with the mask of UniLM and a language model head."""

    class UnifiedLanguageModel(UniLM_Mask, BaseModel):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.with_mlm = self.with_mlm or True

    return UnifiedLanguageModel


EXTENSIONS = {"lm": extend_with_language_model, "unilm": extend_with_unified_language_model}
"""What ``application=`` makes of a class."""
