"""GPT, GPT-2 and GPT2-ML: causal models with absolute positions, in the layouts of bert4keras, OpenAI and Hugging Face.

CDial-GPT is a GPT whose segment ids are looked up in the token table; CPM and UER's Chinese models are GPT-2.
"""

from dataclasses import replace

from keras_su.activations import resolve
from keras_su.errors import KerasSuError
from keras_su.models.families.bert import BERT_TF
from keras_su.models.families.common import (
    CONDITIONAL,
    POSITION_BUFFERS,
    TF_SLOTS,
    read_frame,
    read_language_model,
    read_pad_id,
    read_position_ids,
)
from keras_su.models.parts import FeedForward, SelfAttention
from keras_su.models.registry import register_family
from keras_su.models.spec import CAUSAL, Block, Embeddings, Learned, Norm, Output, Spec, post_norm, pre_norm
from keras_su.weights.names import TF, TORCH, NameMap, Piece, Source
from keras_su.weights.transforms import Squeeze


def decoder(config, *, epsilon, activation="hidden_act", segments=0, embedding_dropout=True):
    """The frame of all three: a Spec with a post-norm block. ``activation`` is the name of that setting in transformers."""
    hidden_size = config.read("hidden_size", "n_embd")
    heads = config.read("num_attention_heads", "n_head")
    dropout = config.read("dropout_rate", "hidden_dropout_prob", "resid_pdrop", default=0.0)
    position_ids = read_position_ids(config)
    # bert4keras masks id 0; the files of transformers say what padding is, or have none.
    pad_id = read_pad_id(config, position_ids) if config.is_hugging_face else 0
    act = config.read("hidden_act", activation, default="gelu")
    if config.is_hugging_face and act == "gelu" and activation == "afn":
        act = "gelu_tanh"  # OpenAI's formula under the general name
        config.note(afn=act)
    norm = Norm(epsilon=config.read("layer_norm_eps", "layer_norm_epsilon", default=epsilon))
    units = config.read("intermediate_size", "n_inner", default=4 * hidden_size)
    attention = SelfAttention(
        heads=heads,
        head_size=config.read_head_size(hidden_size, heads),
        key_size=config.read_own("attention_key_size", default=None),
        dropout=config.read("attention_dropout_rate", "attention_probs_dropout_prob", "attn_pdrop", default=0.0),
    )
    embedding_drop = config.read("embedding_dropout_rate", "embd_pdrop", default=dropout if embedding_dropout else 0.0)
    embeddings = Embeddings(
        size=config.read_own("embedding_size", default=hidden_size),
        segments=segments,
        segments_share_tokens=config.read_option("shared_segment_embeddings", default=False),
        position=Learned(
            length=config.read("max_position", "max_position_embeddings", "n_positions", default=512),
            hierarchical=config.read_own("hierarchical_position", default=None),
        ),
        position_ids=position_ids,
        dropout=embedding_drop,
        pad_id=pad_id,
    )
    return Spec(
        **read_frame(config),
        hidden_size=hidden_size,
        num_layers=config.read("num_hidden_layers", "n_layer"),
        embeddings=embeddings,
        block=post_norm(norm, attention, FeedForward(units=units, activation=act), dropout=dropout),
        mask=CAUSAL,
        heads=read_language_model(config, name="LM"),
    )


def gpt(config):
    """GPT: post-norm. bert4keras adds segments by default, transformers has none unless they share the token table."""
    shared = config.read_option("shared_segment_embeddings", default=False)
    default = 0 if config.is_hugging_face and not shared else 2
    segments = config.read_option("segment_vocab_size", "type_vocab_size", default=default)
    if segments and not shared and config.is_hugging_face:
        config.read_own("segment_vocab_size", default=0)
    return decoder(config, epsilon=1e-5 if config.is_hugging_face else 1e-12, activation="afn", segments=segments)


def export_gpt(entries, spec):
    """OpenAI's files call the tanh form of gelu "gelu", and have no other name for either form."""
    activation = resolve(entries["afn"])
    if activation == "gelu_erf":
        raise KerasSuError("A Hugging Face openai-gpt cannot express the exact gelu. Save the model as a TF checkpoint.")
    return {**entries, "afn": "gelu" if activation == "gelu_tanh" else entries["afn"]}


def gpt2(config):
    """GPT-2: pre-norm with a last norm, no segments."""
    config.read_option("segment_vocab_size", "type_vocab_size", default=0)
    spec = decoder(config, epsilon=1e-5, activation="activation_function", embedding_dropout=False)
    norm, parts = spec.block.residuals[0].post, [residual.part for residual in spec.block.residuals]
    dropout = spec.block.residuals[0].dropout
    output = Output(norm=norm, dropout=0.0 if config.is_hugging_face else dropout)
    return replace(spec, block=pre_norm(norm, *parts, dropout=dropout), output=output)


def gpt2_ml(config):
    """GPT2-ML (imcaspar): a norm after the embeddings, none before attention, and two around the feed-forward network."""
    config.read_option("segment_vocab_size", "type_vocab_size", default=0)
    spec = decoder(config, epsilon=1e-5, embedding_dropout=False)
    attention, feed_forward = spec.block.residuals
    norm = attention.post
    residuals = (replace(attention, post=None), replace(feed_forward, pre=norm))
    return replace(spec, embeddings=replace(spec.embeddings, norm=norm), block=Block(residuals=residuals))


def _rename(name_map, changes):
    """bert4keras' GPT tables are that of BERT in other words."""
    table = {}
    for path, source in name_map.rows.items():
        name = source.name
        for old, new in changes:
            name = name.replace(old, new)
        table[path] = replace(source, name=name)
    return table


_WITHOUT = ("Embedding-Norm", "Pooler", "MLM", "NSP")
_BODY = replace(BERT_TF, rows={path: s for path, s in BERT_TF.rows.items() if not path.startswith(_WITHOUT)})
GPT_TF = _rename(_BODY, [("bert/", "gpt/"), ("encoder", "transformer")])
GPT2_TF = {
    **_rename(replace(_BODY, rows=GPT_TF), [("output/LayerNorm", "input/LayerNorm")]),
    **TF.norm("Output-Norm", "gpt/output/LayerNorm"),
}

_ATTENTION, _FEED_FORWARD = "Transformer-{i}-MultiHeadSelfAttention", "Transformer-{i}-FeedForward"
_QKV = [f"{_ATTENTION}/{part}" for part in ("query", "key", "value")]


def _torch(token, position, further):
    block = "transformer.h.{i}"
    return {
        **TORCH.table("Embedding-Token", f"transformer.{token}", vocabulary="rows"),
        **TORCH.table("Embedding-Position", f"transformer.{position}"),
        **TORCH.fused(_QKV, f"{block}.attn.c_attn", axis=1),
        **TORCH.dense(f"{_ATTENTION}/output", f"{block}.attn.c_proj", transposed=False),
        **TORCH.norm(f"{_ATTENTION}-Norm", f"{block}.ln_1"),
        **TORCH.dense(f"{_FEED_FORWARD}/input_0", f"{block}.mlp.c_fc", transposed=False),
        **TORCH.dense(f"{_FEED_FORWARD}/output", f"{block}.mlp.c_proj", transposed=False),
        **TORCH.norm(f"{_FEED_FORWARD}-Norm", f"{block}.ln_2"),
        **further,
    }


def _openai():
    """OpenAI's own TensorFlow names: kernels with a first axis of 1, query, key and value in one."""
    block, table = "model/h{i}", {}
    for index, path in enumerate(_QKV):
        table[f"{path}/kernel"] = Source(f"{block}/attn/c_attn/w", (Squeeze(),), piece=Piece(index, 2))
        table[f"{path}/bias"] = Source(f"{block}/attn/c_attn/b", piece=Piece(index, 0))
    dense = {
        f"{_ATTENTION}/output": "attn/c_proj",
        f"{_FEED_FORWARD}/input_0": "mlp/c_fc",
        f"{_FEED_FORWARD}/output": "mlp/c_proj",
    }
    for path, name in dense.items():
        table |= {f"{path}/kernel": Source(f"{block}/{name}/w", (Squeeze(),)), f"{path}/bias": Source(f"{block}/{name}/b")}
    norms = {f"{_ATTENTION}-Norm": f"{block}/ln_1", f"{_FEED_FORWARD}-Norm": f"{block}/ln_2", "Output-Norm": "model/ln_f"}
    for path, name in norms.items():
        table |= {f"{path}/gamma": Source(f"{name}/g"), f"{path}/beta": Source(f"{name}/b")}
    tables = {**TF.table("Embedding-Token", "model/wte", vocabulary="rows"), **TF.table("Embedding-Position", "model/wpe")}
    return NameMap("tf", {**tables, **table}, ignore=TF_SLOTS)


def _newslm():
    block, table = "newslm/layer{i:02d}", {}
    for part, name in zip(("query", "key", "value", "output"), ("query", "key", "value", "context_projection")):
        table |= TF.dense(f"{_ATTENTION}/{part}", f"{block}/{name}_layer")
    return {
        **TF.table("Embedding-Token", "newslm/embeddings/word_embed", vocabulary="rows"),
        **TF.table("Embedding-Position", "newslm/embeddings/pos_embed"),
        **TF.norm("Embedding-Norm", "newslm/embeddings/LayerNorm_embed_norm"),
        **table,
        **TF.norm(f"{_FEED_FORWARD}-Norm-0", f"{block}/LayerNorm_mlp_ln0"),
        **TF.dense(f"{_FEED_FORWARD}/input_0", f"{block}/intermediate"),
        **TF.dense(f"{_FEED_FORWARD}/output", f"{block}/output"),
        **TF.norm(f"{_FEED_FORWARD}-Norm-1", f"{block}/LayerNorm_mlp_ln1"),
    }


_TF = {"ignore": TF_SLOTS, "optional": CONDITIONAL}
_TORCH = {"root": "transformer.", "ignore": (*POSITION_BUFFERS, r"^lm_head\.weight$"), "optional": CONDITIONAL}
_ONLY_CAUSAL = {"applications": ("encoder", "lm"), "reason": "it is causal by nature"}

register_family(
    "gpt",
    spec=gpt,
    maps=(NameMap("tf", GPT_TF, **_TF), NameMap("torch", _torch("tokens_embed", "positions_embed", {}), **_TORCH)),
    model_types=("openai-gpt",),
    classes=("OpenAIGPTModel", "OpenAIGPTLMHeadModel"),
    export=export_gpt,
    **_ONLY_CAUSAL,
)

register_family(
    "gpt2",
    spec=gpt2,
    maps=(
        NameMap("tf", GPT2_TF, **_TF),
        NameMap("torch", _torch("wte", "wpe", TORCH.norm("Output-Norm", "transformer.ln_f")), **_TORCH),
        _openai(),
    ),
    model_types=("gpt2",),
    classes=("GPT2Model", "GPT2LMHeadModel"),
    **_ONLY_CAUSAL,
)

register_family("gpt2_ml", spec=gpt2_ml, maps=(NameMap("tf", _newslm(), **_TF),), **_ONLY_CAUSAL)
