"""T5 (Raffel et al., arXiv 1910.10683), T5.1.1, mT5 and UMT5, in the layouts of Mesh TensorFlow and Hugging Face.

bert4keras and transformers compute different things from the same weights, and each file is read as its authors meant it.
bert4keras scales the decoder's output by ``hidden_size ** -0.5`` in every version and adds the relative positions of the decoder
to its cross attention. transformers scales only before a tied output matrix, and cross attention has no positions.
"""

from dataclasses import replace
from functools import partial

from keras_su.errors import unknown_name
from keras_su.models.families.common import CONDITIONAL, TF_SLOTS, read_frame, read_language_model, read_position_ids
from keras_su.models.parts import CrossAttention, FeedForward, SelfAttention
from keras_su.models.positions import Bucketed
from keras_su.models.registry import register_family
from keras_su.models.spec import CAUSAL, Embeddings, Output, Seq2Seq, Spec, pre_norm, rms
from keras_su.weights.names import NameMap, Source
from keras_su.weights.transforms import Transpose

FEED_FORWARDS = {
    "relu": "relu",
    "gelu": "gelu_tanh",
    "gated-gelu": ("gelu_tanh", "linear"),
    "gated-relu": ("relu", "linear"),
    "gated-silu": ("silu", "linear"),
}
"""What ``feed_forward_proj`` of transformers means."""


def t5(config, version, half=None, shared_positions=True):
    """The architecture of a configuration.

    Args:
        config: the configuration.
        version: ``"t5.1.0"`` (tied output, one activation) or a later one.
        half: ``"encoder"`` or ``"decoder"`` for one of them alone.
        shared_positions: whether all layers share one table of relative positions.
    """
    config.read_option("is_encoder_decoder", default=True)
    config.read_option("n_positions", default=None)  # of the training texts; relative positions have no end
    hidden_size = config.read("hidden_size", "d_model")
    heads = config.read("num_attention_heads", "num_heads")
    head_size = config.read("attention_head_size", "d_kv", default=hidden_size // heads)
    dropout = config.read("hidden_dropout_prob", "dropout_rate", default=0.0)
    shape = {
        "heads": heads,
        "head_size": head_size,
        "key_size": config.read_own("attention_key_size", default=None),
        "bias": False,
        "scale": False,
        "dropout": config.read_option(
            "attention_dropout_rate", "attention_probs_dropout_prob", default=dropout if config.is_hugging_face else 0.0
        ),
    }
    buckets = {
        "buckets": config.read("relative_attention_num_buckets", default=32),
        "max_distance": config.read("relative_attention_max_distance", default=128),
        "shared": shared_positions,
    }
    norm = rms(config.read("layer_norm_eps", "layer_norm_epsilon", default=1e-6))
    feed_forward = FeedForward(units=config.read("intermediate_size", "d_ff"), activation=_activation(config), bias=False)
    frame = {**read_frame(config), "hidden_size": hidden_size}
    embeddings = Embeddings(
        size=config.read_own("embedding_size", default=hidden_size), dropout=dropout, position_ids=read_position_ids(config)
    )
    depth = config.read("num_hidden_layers", "num_layers")
    encoder = Spec(
        **frame,
        num_layers=depth,
        embeddings=embeddings,
        block=pre_norm(norm, SelfAttention(**shape, position=Bucketed(**buckets)), feed_forward, dropout=dropout),
        output=Output(norm=norm, dropout=dropout),
        side="Encoder-",
    )
    causal = Bucketed(**buckets, bidirectional=False)
    if embeddings.position_ids == "skip_padding":  # the source may have padding in front; a decoder starts with id 0
        embeddings = replace(embeddings, position_ids=None)
    cross = config.read_option("cross_position_bias", default=not config.is_hugging_face)
    if cross:
        config.refuse_export(cross_position_bias=True)
    tied, scale, heads = _head(config, version, hidden_size)
    attention = SelfAttention(**shape, position=causal)
    cross_attention = CrossAttention(**shape, position=causal if cross else None)
    decoder = Spec(
        **frame,
        num_layers=config.read("num_decoder_layers", default=depth),
        embeddings=embeddings,
        block=pre_norm(norm, attention, cross_attention, feed_forward, dropout=dropout),
        mask=CAUSAL,
        heads=heads,
        output=Output(norm=norm, dropout=dropout, scale=scale),
        side="Decoder-",
        memory=hidden_size,
    )
    return {"encoder": encoder, "decoder": decoder, None: Seq2Seq(encoder=encoder, decoder=decoder)}[half]


def _activation(config):
    if not config.is_hugging_face:
        return config.read_option("hidden_act", default="relu")
    kind = config.read("feed_forward_proj", default="relu")
    if kind not in FEED_FORWARDS:
        raise unknown_name("feed_forward_proj", kind, FEED_FORWARDS)
    return FEED_FORWARDS[kind]


def _head(config, version, hidden_size):
    """Whether the output is tied, the scale of the decoder's states, and the heads."""
    factor = hidden_size**-0.5
    if not config.is_hugging_face:
        tied = version == "t5.1.0"
        scaled = config.read_option("logit_scale", default=True)
        if scaled and not tied:
            config.refuse_export(logit_scale=True)
        config.note(tie_word_embeddings=tied)
        return tied, factor if scaled else None, read_language_model(config, tied)
    # transformers 5 calls every model tied; the file tells.
    tied = config.read("tie_word_embeddings", default=True) and not config.is_untied("lm_head.weight", "shared.weight")
    writer = str(config.read_option("transformers_version", default="4"))
    default = tied and not (version.startswith("mt5") and not writer.startswith("4"))  # from 5 on mT5 is never scaled
    scaled = config.read_option("logit_scale", "scale_decoder_outputs", default=default)
    config.note(tie_word_embeddings=tied)
    return tied, None, read_language_model(config, tied, scale=factor if scaled else None)


_NAMES = {"SelfAttention": "MultiHeadSelfAttention", "EncDecAttention": "MultiHeadCrossAttention"}
_DENSE = {"q": "query", "k": "key", "v": "value", "o": "output"}


def _rows(attention, dense, norm, relative):
    """Rows of both sides. The arguments are functions of ``(side, place, ...)`` that spell a name, except ``relative``."""
    table = {}
    for side, parts in (("encoder", ["SelfAttention"]), ("decoder", ["SelfAttention", "EncDecAttention"])):
        prefix = f"{side.title()}-Transformer-{{i}}"
        for place, part in enumerate(parts):
            ours = f"{prefix}-{_NAMES[part]}"
            table |= {f"{ours}/{_DENSE[letter]}/kernel": attention(side, place, part, letter) for letter in _DENSE}
            table[f"{ours}-Norm/gamma"] = norm(side, place)
        place = len(parts)
        for ours, theirs in (("input_0", "wi"), ("output", "wo")):
            table[f"{prefix}-FeedForward/{ours}/kernel"] = dense(side, place, theirs)
        table[f"{prefix}-FeedForward-Norm/gamma"] = norm(side, place)
        table[f"{side.title()}-Embedding-Relative-Position/embeddings"] = relative(side)
    return table


def _gated(table):
    """Two input matrices, ``wi_0`` and ``wi_1``."""
    gated = {}
    for path, source in table.items():
        if path.endswith("input_0/kernel"):
            for k in (0, 1):
                name = source.name.replace("/wi/", f"/wi_{k}/").replace(".wi.", f".wi_{k}.")
                gated[path.replace("input_0", f"input_{k}")] = Source(name, source.operations)
        else:
            gated[path] = source
    return gated


def mesh_map(version):
    """Names of Mesh TensorFlow."""
    norm = "rms_norm" if version.startswith("mt5") else "layer_norm"
    final = "rms_norm" if version.startswith("mt5") else "final_layer_norm"
    layer = "{}/block_{{i:03d}}/layer_{:03d}"
    table = _rows(
        lambda side, place, part, letter: Source(f"{layer.format(side, place)}/{part}/{letter}"),
        lambda side, place, name: Source(f"{layer.format(side, place)}/DenseReluDense/{name}/kernel"),
        lambda side, place: Source(f"{layer.format(side, place)}/{norm}/scale"),
        lambda side: Source(f"{side}/block_000/layer_000/SelfAttention/relative_attention_bias", (Transpose(),)),
    )
    table |= {f"{side.title()}-Output-Norm/gamma": Source(f"{side}/{final}/scale") for side in ("encoder", "decoder")}
    if version != "t5.1.0":
        table = _gated({**table, "Decoder-Output-LM/kernel": Source("decoder/logits/kernel", vocabulary="columns")})
    token = {"Embedding-Token/embeddings": Source("shared/embedding", vocabulary="rows")}
    return NameMap("tf", {**token, **table}, ignore=TF_SLOTS, optional=CONDITIONAL)


def hugging_face_map(gated, shared_positions=True):
    """Names of transformers, the same for all versions."""
    layer = "{}.block.{{i}}.layer.{}"
    first = "{i}" if not shared_positions else "0"
    table = _rows(
        lambda side, place, part, letter: Source(f"{layer.format(side, place)}.{part}.{letter}.weight", (Transpose(),)),
        lambda side, place, name: Source(f"{layer.format(side, place)}.DenseReluDense.{name}.weight", (Transpose(),)),
        lambda side, place: Source(f"{layer.format(side, place)}.layer_norm.weight"),
        lambda side: Source(f"{side}.block.{first}.layer.0.SelfAttention.relative_attention_bias.weight"),
    )
    if not shared_positions:
        ours = "Transformer-{i}-MultiHeadSelfAttention-Relative-Position"
        table = {path.replace("Embedding-Relative-Position", ours): source for path, source in table.items()}
    table |= {f"{side.title()}-Output-Norm/gamma": Source(f"{side}.final_layer_norm.weight") for side in ("encoder", "decoder")}
    table["Decoder-Output-LM/kernel"] = Source("lm_head.weight", (Transpose(),), vocabulary="rows")
    return NameMap(
        "torch",
        {"Embedding-Token/embeddings": Source("shared.weight", vocabulary="rows"), **(_gated(table) if gated else table)},
        ignore=(r"EncDecAttention\.relative_attention_bias",),
        optional=CONDITIONAL,
        aliases={"encoder.embed_tokens.weight": "shared.weight", "decoder.embed_tokens.weight": "shared.weight"},
    )


_NAMES_OF_PROJECTIONS = {value: name for name, value in FEED_FORWARDS.items()}


def export(entries, spec):
    """The feed-forward network under transformers' name for it."""
    if "feed_forward_proj" not in entries:
        act = spec.sides[0].block_at(0).residuals[-1].part.activation
        act = tuple("gelu_tanh" if a == "gelu" else a for a in act) if isinstance(act, (list, tuple)) else act
        if act not in _NAMES_OF_PROJECTIONS:
            raise unknown_name("activation of a Hugging Face T5", act, _NAMES_OF_PROJECTIONS)
        entries["feed_forward_proj"] = _NAMES_OF_PROJECTIONS[act]
    return {**entries, "is_encoder_decoder": True, "decoder_start_token_id": entries.get("decoder_start_token_id", 0)}


def _is_gated(values):
    return str(values.get("feed_forward_proj", "relu")).startswith("gated")


def _register(version, maps, aliases=(), shared_positions=True, **hugging_face):
    """The whole model, and its halves under the same name with a suffix."""
    fields = {"maps": maps, "applications": ("encoder",), "reason": "it is an encoder-decoder"}
    for half in (None, "encoder", "decoder"):
        spec = partial(t5, version=version, half=half, shared_positions=shared_positions)
        if half is None:
            register_family(version, spec=spec, aliases=aliases, export=export, **fields, **hugging_face)
        else:
            names = tuple(f"{alias}_{half}" for alias in aliases)
            register_family(f"{version}_{half}", spec=spec, aliases=names, part_of=version, **fields)


_T5 = ("T5Model", "T5ForConditionalGeneration")
_MT5 = ("MT5Model", "MT5ForConditionalGeneration")
_UMT5 = ("UMT5Model", "UMT5ForConditionalGeneration")
_HF, _HF_GATED = hugging_face_map(gated=False), hugging_face_map(gated=True)

_register("t5.1.0", (mesh_map("t5.1.0"), _HF), ("t5",), model_types=("t5",), classes=_T5)
_register("t5.1.1", (mesh_map("t5.1.1"), _HF_GATED), ("t5",), model_types=("t5",), claims=_is_gated, classes=_T5)
_register("mt5.1.1", (mesh_map("mt5.1.1"), _HF_GATED), ("mt5", "t5_pegasus"), model_types=("mt5",), classes=_MT5)
_register("umt5", (hugging_face_map(True, False),), shared_positions=False, model_types=("umt5",), classes=_UMT5)
