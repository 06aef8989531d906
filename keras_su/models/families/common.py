"""What several families read from a configuration, or find in a file, in the same way."""

from keras_su.errors import KerasSuError, unknown_name
from keras_su.models.heads import LanguageModel
from keras_su.models.positions import Rotary
from keras_su.models.spec import Condition, Initializer
from keras_su.ops.rotary import SCALINGS

POSITION_IDS = {False: None, True: "input", "padding_on_left": "skip_padding"}
"""Where position ids come from: counted, a model input, or counted without the padding in front."""

CONDITIONAL = (r".*/(hidden|beta|gamma)_dense/kernel",)
"""Conditional norms start as unconditional ones; no public checkpoint holds their dense layers."""

TF_SLOTS = (
    r"(^|/)global_step$",
    r"/(adam|lamb|lars)_[mv]$",
    r"AdamWeightDecayOptimizer",
    r"/Adam(_1)?$",
    r"_slot_\w+$",
    r"(^|/)beta[12]_power$",
    r"^signal_early_stopping",
    r"^_CHECKPOINTABLE_OBJECT_GRAPH$",
)
"""What optimizers leave in TF checkpoints."""

POSITION_BUFFERS = (r"(^|\.)(position_ids|token_type_ids)$", r"rotary_(pos_)?emb\.inv_freq$", r"\.(masked_bias|attn\.bias)$")
"""Numbers that transformers keeps next to the weights although they can be computed."""


def read_condition(config):
    """Settings of conditional layer norms."""
    return Condition(
        hidden_size=config.read_option("layer_norm_cond_hidden_size", default=None),
        hidden_act=config.read_option("layer_norm_cond_hidden_act", default="linear"),
    )


def read_frame(config):
    """What every Spec has: vocabulary, depth, initializer, condition, fixed length."""
    return {
        "vocab_size": config.read("vocab_size"),
        "initializer": Initializer(stddev=config.read("initializer_range", default=0.02)),
        "condition": read_condition(config),
        "sequence_length": config.read_option("sequence_length", default=None),
    }


def read_position_ids(config, default=None):
    """``position_ids`` of the embeddings, see :data:`POSITION_IDS`."""
    return config.read_choice("custom_position_ids", POSITION_IDS, default=False) or default


def read_pad_id(config, position_ids=None):
    """The token id of padding of a decoder: in the configuration, or 0 where padding stands on the left, or none.

    Without one, nothing is masked: id 0 is a word in many byte-level vocabularies, and padding behind a text changes nothing in a
    causal model.
    """
    pad_id = config.read("pad_token_id", default=None)
    return 0 if pad_id is None and position_ids == "skip_padding" else pad_id


def read_language_model(config, tied=True, **fields):
    """The head of a decoder: ``with_lm=False`` leaves it out; ``final_activation`` or ``with_lm="linear"`` gives logits."""
    wanted = config.read_option("with_lm", default=True)
    activation = config.read_option("final_activation", default="softmax")
    if not wanted:
        return ()
    return (LanguageModel(activation=activation if wanted is True else wanted, tied=tied, **fields),)


def read_rotary(config, layout="half", fraction=1.0, base=10000.0, kind=None):
    """Rotary positions as transformers describes them: ``rope_theta`` and ``rope_scaling``, since version 5 ``rope_parameters``.

    Args:
        config: the configuration.
        layout: of the family.
        fraction: of a head that rotates, where the file does not say.
        base: wavelength base, where the file does not say.
        kind: the layer type, for families whose layers differ.
    """
    parameters = config.read_option("rope_parameters", default=None) or {}
    if kind is not None and kind in parameters:
        parameters = parameters[kind]
    base = float(parameters.get("rope_theta") or config.read("rope_theta", default=base))
    fraction = parameters.get("partial_rotary_factor") or config.read("partial_rotary_factor", default=fraction)
    scaling = _scaling(config, config.read("rope_scaling", default=None) or parameters)
    exported = None if scaling is None else {("rope_type" if name == "type" else name): value for name, value in scaling}
    config.note(rope_theta=base, partial_rotary_factor=fraction, rope_scaling=exported)
    return Rotary(base=base, layout=layout, fraction=fraction, scaling=scaling)


def _scaling(config, values):
    """A scaling rule as sorted pairs, which can be compared, or ``None``."""
    kind = values.get("rope_type", values.get("type", "default"))
    if kind == "default":
        return None
    if kind not in SCALINGS:
        raise unknown_name("rotary scaling type (rope_scaling)", kind, [*SCALINGS, "default"])
    found = {"type": kind}
    numbers = ("factor", "low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow", "attention_factor", "truncate")
    found |= {name: values[name] for name in numbers if values.get(name) is not None}
    if kind != "linear":
        # The dynamic rule starts from the longest text of the model itself.
        trained = values.get("original_max_position_embeddings") if kind != "dynamic" else None
        found["original_max_position_embeddings"] = trained or config.read("max_position_embeddings", default=None)
    if values.get("mscale") and values.get("mscale_all_dim"):
        raise KerasSuError("rope_scaling with mscale and mscale_all_dim is not supported; give attention_factor instead.")
    return tuple(sorted(found.items()))
