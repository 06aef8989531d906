"""BART (Lewis et al., arXiv 1910.13461) and CPT (arXiv 2109.05729), Fudan's Chinese models."""

from dataclasses import replace
from functools import partial

from keras_su.models.families.bert import rows
from keras_su.models.families.common import CONDITIONAL, POSITION_BUFFERS, read_frame, read_language_model, read_position_ids
from keras_su.models.parts import CrossAttention, FeedForward, SelfAttention
from keras_su.models.registry import register_family
from keras_su.models.spec import CAUSAL, Embeddings, Extra, Learned, Norm, Seq2Seq, Spec, post_norm
from keras_su.weights.names import TORCH, NameMap, Source
from keras_su.weights.transforms import Squeeze

OFFSET = 2
"""Position p is row p + 2 of the tables, whatever the padding id."""


def bart(config, half=None):
    """The architecture of a configuration; ``half`` is ``"encoder"`` or ``"decoder"`` for one of them alone."""
    config.read_option("is_encoder_decoder", default=True)
    hidden_size = config.read("hidden_size", "d_model")
    dropout = config.read("dropout_rate", "dropout", default=0.0)
    norm = Norm(epsilon=1e-5)
    length = config.read("max_position", "max_position_embeddings", default=1024)
    embeddings = Embeddings(
        size=hidden_size,
        position=Learned(length=length + OFFSET, offset=OFFSET),
        position_ids=read_position_ids(config),
        norm=norm,
        dropout=dropout,
        scale=hidden_size**0.5 if config.read("scale_embedding", default=False) else None,
        pad_id=config.read("pad_token_id", default=1),
    )
    frame = {**read_frame(config), "hidden_size": hidden_size, "embeddings": embeddings}
    activation = config.read("hidden_act", "activation_function", default="gelu")
    attention_dropout = config.read("attention_dropout_rate", "attention_dropout", default=0.0)

    def parts(side):
        heads = config.read("num_attention_heads", f"{side}_attention_heads")
        shape = {"heads": heads, "head_size": config.read_head_size(hidden_size, heads), "dropout": attention_dropout}
        units = config.read("intermediate_size", f"{side}_ffn_dim")
        cross = [CrossAttention(**shape)] if side == "decoder" else []
        return [SelfAttention(**shape), *cross, FeedForward(units=units, activation=activation)]

    encoder = Spec(
        **frame,
        num_layers=config.read("num_hidden_layers", "encoder_layers"),
        block=post_norm(norm, *parts("encoder"), dropout=dropout),
        side="Encoder-",
    )
    if embeddings.position_ids == "skip_padding":  # of the source
        frame["embeddings"] = replace(embeddings, position_ids=None)
    decoder = Spec(
        **frame,
        num_layers=config.read("num_decoder_layers", "decoder_layers"),
        block=post_norm(norm, *parts("decoder"), dropout=dropout),
        mask=CAUSAL,
        heads=read_language_model(config, bias=True),
        side="Decoder-",
        memory=hidden_size,
    )
    return {"encoder": encoder, "decoder": decoder, None: Seq2Seq(encoder=encoder, decoder=decoder)}[half]


def cpt(config, half=None):
    """CPT: the encoder is a BERT without pooler. Its last layers, as many as the decoder has, only serve understanding.

    The whole model leaves them out, because the decoder attends to the states below them; ``cpt_encoder`` has them.
    """
    model = bart(config)
    norm = Norm(epsilon=1e-12)
    encoder, decoder = model.encoder, model.decoder
    position = Learned(length=encoder.embeddings.position.length - OFFSET)
    segments = Extra(name="Segment", rows=2)
    embeddings = replace(encoder.embeddings, norm=norm, position=position, extras=(segments,), scale=None)
    block = post_norm(norm, *(residual.part for residual in encoder.block.residuals), dropout=embeddings.dropout)
    depth = encoder.num_layers - (decoder.num_layers if half is None else 0)
    encoder = replace(encoder, num_layers=depth, embeddings=embeddings, block=block)
    return {"encoder": encoder, "decoder": decoder, None: Seq2Seq(encoder=encoder, decoder=decoder)}[half]


def _side(side):
    prefix, theirs = f"{side.title()}-", f"model.{side}"
    layer, block = f"{theirs}.layers.{{i}}", f"{prefix}Transformer-{{i}}"
    table = {
        **TORCH.table(f"{prefix}Embedding-Position", f"{theirs}.embed_positions"),
        **TORCH.norm(f"{prefix}Embedding-Norm", f"{theirs}.layernorm_embedding"),
    }
    attentions = {"MultiHeadSelfAttention": "self_attn"}
    if side == "decoder":
        attentions["MultiHeadCrossAttention"] = "encoder_attn"
    for ours, name in attentions.items():
        for part, letter in {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "out_proj"}.items():
            table |= TORCH.dense(f"{block}-{ours}/{part}", f"{layer}.{name}.{letter}")
        table |= TORCH.norm(f"{block}-{ours}-Norm", f"{layer}.{name}_layer_norm")
    return {
        **table,
        **TORCH.dense(f"{block}-FeedForward/input_0", f"{layer}.fc1"),
        **TORCH.dense(f"{block}-FeedForward/output", f"{layer}.fc2"),
        **TORCH.norm(f"{block}-FeedForward-Norm", f"{layer}.final_layer_norm"),
    }


_TOKEN = TORCH.table("Embedding-Token", "model.shared", vocabulary="rows")
_BIAS = {"Decoder-Output-LM-Bias/beta": Source("final_logits_bias", (Squeeze(),), vocabulary="columns")}
_OPTIONAL = (*CONDITIONAL, r"Decoder-Output-LM-Bias/beta")
_IGNORE = (*POSITION_BUFFERS, r"^lm_head\.weight$")
_TIED = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight")
_BERT = rows(TORCH, "model.encoder.", "layer.{i}", {})
_BERT = {f"Encoder-{path}": s for path, s in _BERT.items() if not path.startswith(("Embedding-Token", "Embedding-Map", "P", "M"))}

BART = NameMap(
    "torch",
    {**_TOKEN, **_side("encoder"), **_side("decoder"), **_BIAS},
    root="model.",
    ignore=_IGNORE,
    optional=_OPTIONAL,
    aliases=dict.fromkeys(_TIED, "model.shared.weight"),
)

CPT = replace(
    BART,
    rows={**_TOKEN, **_BERT, **_side("decoder"), **_BIAS},
    ignore=(*_IGNORE, r"^model\.encoder\.pooler\."),
    aliases=dict.fromkeys(("model.encoder.embeddings.word_embeddings.weight", *_TIED), "model.shared.weight"),
)


def _register(name, spec, name_map, **hugging_face):
    fields = {"maps": (name_map,), "applications": ("encoder",), "reason": "it is an encoder-decoder"}
    export = lambda entries, spec: {**entries, "is_encoder_decoder": True}  # noqa: E731
    register_family(name, spec=spec, model_types=("bart",), export=export, **fields, **hugging_face)
    for half in ("encoder", "decoder"):
        register_family(f"{name}_{half}", spec=partial(spec, half=half), part_of=name, **fields)


_register("bart", bart, BART, classes=("BartModel", "BartForConditionalGeneration"))
_register(
    "cpt",
    cpt,
    CPT,
    claims=lambda values: any(str(name).startswith("CPT") for name in values.get("architectures") or []),
    classes=("CPTModel", "CPTForConditionalGeneration"),
)
