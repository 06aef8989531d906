"""ModernBERT (Warner et al., arXiv 2412.13663): pre-norm, rotary, gated; most layers look through a window."""

from keras_su.models.families.bert import encoder_heads
from keras_su.models.families.common import POSITION_BUFFERS, read_frame, read_pad_id, read_position_ids
from keras_su.models.parts import FeedForward, SelfAttention
from keras_su.models.positions import Rotary
from keras_su.models.registry import register_family
from keras_su.models.spec import Block, Embeddings, Mask, Norm, Output, Residual, Spec
from keras_su.weights.names import TORCH, NameMap, Source


def modernbert(config):
    """The architecture of a configuration of transformers 4 or 5."""
    hidden_size = config.read("hidden_size")
    heads = config.read("num_attention_heads")
    dropout = config.read("mlp_dropout", default=0.0)
    norm = Norm(epsilon=config.read("norm_eps", default=1e-5), center=config.read("norm_bias", default=False))
    activation = config.read("hidden_act", "hidden_activation", default="gelu")
    position_ids = read_position_ids(config)
    config.read("max_position", "max_position_embeddings", default=8192)
    every, reach = config.read("global_attn_every_n_layers", default=3), config.read("local_attention", default=128)
    types = config.read("layer_types", default=None)
    parameters = config.read("rope_parameters", default=None) or {}
    bases = {
        "full_attention": config.read("global_rope_theta", default=160000.0),
        "sliding_attention": config.read("local_rope_theta", default=10000.0),
    }
    feed_forward = FeedForward(
        units=config.read("intermediate_size"), activation=(activation, "linear"), bias=config.read("mlp_bias", default=False)
    )
    attention_bias = config.read("attention_bias", default=False)
    attention_dropout = config.read("attention_dropout", default=0.0)

    def block(index):
        kind = types[index] if types else "sliding_attention" if index % every else "full_attention"
        attention = SelfAttention(
            heads=heads,
            head_size=config.read_head_size(hidden_size, heads),
            bias=attention_bias,
            dropout=attention_dropout,
            position=Rotary(base=float(parameters.get(kind, {}).get("rope_theta", bases[kind])), layout="half"),
            mask=Mask(window=reach // 2 + 1) if kind == "sliding_attention" else None,
        )
        first = Residual(part=attention, pre=norm if index else None, dropout=dropout)
        return Block(residuals=(first, Residual(part=feed_forward, pre=norm, dropout=dropout)))

    head_act = config.read("classifier_activation", default="gelu")
    bias, output_bias = config.read("classifier_bias", default=False), config.read("decoder_bias", default=True)
    return Spec(
        **read_frame(config),
        hidden_size=hidden_size,
        num_layers=config.read("num_hidden_layers"),
        embeddings=Embeddings(
            size=hidden_size,
            norm=norm,
            dropout=config.read("embedding_dropout", default=0.0),
            position_ids=position_ids,
            pad_id=read_pad_id(config, position_ids),
        ),
        block=block,
        heads=encoder_heads(config, head_act, norm, bias=bias, output_bias=output_bias),
        output=Output(norm=norm),
    )


_ATTENTION, _FEED_FORWARD = "Transformer-{i}-MultiHeadSelfAttention", "Transformer-{i}-FeedForward"
_LAYER = "model.layers.{i}"

register_family(
    "modernbert",
    spec=modernbert,
    maps=(
        NameMap(
            "torch",
            {
                **TORCH.table("Embedding-Token", "model.embeddings.tok_embeddings", vocabulary="rows"),
                **TORCH.norm("Embedding-Norm", "model.embeddings.norm"),
                **TORCH.norm(f"{_ATTENTION}-Norm", f"{_LAYER}.attn_norm"),
                **TORCH.fused([f"{_ATTENTION}/{part}" for part in ("query", "key", "value")], f"{_LAYER}.attn.Wqkv"),
                **TORCH.dense(f"{_ATTENTION}/output", f"{_LAYER}.attn.Wo"),
                **TORCH.norm(f"{_FEED_FORWARD}-Norm", f"{_LAYER}.mlp_norm"),
                **TORCH.fused([f"{_FEED_FORWARD}/input_{k}" for k in (0, 1)], f"{_LAYER}.mlp.Wi"),
                **TORCH.dense(f"{_FEED_FORWARD}/output", f"{_LAYER}.mlp.Wo"),
                **TORCH.norm("Output-Norm", "model.final_norm"),
                **TORCH.dense("MLM-Dense", "head.dense"),
                **TORCH.norm("MLM-Norm", "head.norm"),
                "MLM-Bias/beta": Source("decoder.bias", vocabulary="rows"),
            },
            root="model.",
            ignore=(*POSITION_BUFFERS, r"^decoder\.weight$"),
        ),
    ),
    applications=("encoder", "lm"),
    reason="it has no segments",
    model_types=("modernbert",),
    classes=("ModernBertModel", "ModernBertForMaskedLM"),
)
