"""BERT (Devlin et al., arXiv 1810.04805) and everything with its layout.

Google BERT, HFL BERT-wwm and RoBERTa-wwm (a BERT, despite the name), MacBERT, SimBERT, WoBERT, Zhuiyi's small RoBERTa and
factorised models, UER.
"""

from dataclasses import replace

from keras_su.errors import KerasSuError
from keras_su.models.families.common import CONDITIONAL, POSITION_BUFFERS, TF_SLOTS, read_frame, read_position_ids
from keras_su.models.families.uer import UER
from keras_su.models.heads import MaskedLM, Pool
from keras_su.models.parts import FeedForward, SelfAttention
from keras_su.models.registry import register_family
from keras_su.models.spec import Embeddings, Learned, Norm, Spec, post_norm
from keras_su.weights.names import TF, TORCH, NameMap, Source
from keras_su.weights.transforms import Transpose


def bert(config):
    """The architecture that a configuration (Google, Hugging Face or bert4keras keys) describes."""
    return encoder(config)


def encoder(config, *, epsilon=1e-12, learned=True, position=None, offset=0, heads=True, embedding_size=None, **embeddings):
    """A post-norm encoder; the relatives of BERT differ in the arguments.

    Args:
        config: the configuration.
        epsilon: of the norms in the blocks, where the configuration does not say.
        learned: whether there are absolute positions.
        position: positions inside attention.
        offset: of the absolute positions.
        heads: whether there are the heads of BERT.
        embedding_size: width of the tables where Hugging Face files may state one; other families cannot export another than the
            hidden size.
        **embeddings: further fields of :class:`~keras_su.models.spec.Embeddings`.
    """
    hidden_size = config.read("hidden_size")
    num_heads = config.read("num_attention_heads")
    dropout = config.read("dropout_rate", "hidden_dropout_prob", default=0.0)
    norm, outer_norm = read_norms(config, epsilon)
    activation = config.read("hidden_act", default="gelu")
    attention = SelfAttention(
        heads=num_heads,
        head_size=config.read_head_size(hidden_size, num_heads),
        key_size=config.read_own("attention_key_size", default=None),
        dropout=config.read("attention_dropout_rate", "attention_probs_dropout_prob", default=0.0),
        residual_scores=config.read_own("residual_attention_scores", default=False),
        position=position,
    )
    fields = {
        "size": embedding_size or config.read_own("embedding_size", default=hidden_size),
        "segments": config.read("segment_vocab_size", "type_vocab_size", default=2),
        "segments_share_tokens": config.read_own("shared_segment_embeddings", default=False),
        "position_ids": read_position_ids(config),
        "norm": outer_norm,
        "dropout": dropout,
    }
    length = config.read("max_position", "max_position_embeddings", default=512)
    if learned:
        hierarchical = config.read_own("hierarchical_position", default=None)
        fields["position"] = Learned(length=length, hierarchical=hierarchical, offset=offset)
    return Spec(
        **read_frame(config),
        hidden_size=hidden_size,
        num_layers=config.read("num_hidden_layers"),
        embeddings=Embeddings(**{**fields, **embeddings}),
        block=post_norm(
            norm, attention, FeedForward(units=config.read("intermediate_size"), activation=activation), dropout=dropout
        ),
        heads=encoder_heads(config, activation, outer_norm) if heads else (),
    )


def read_norms(config, epsilon):
    """The norm of the blocks, and that of embeddings and heads, which bert4keras always gives the epsilon 1e-12.

    Files of transformers name one epsilon for both, by default 1e-12.
    """
    given = config.read_option("layer_norm_eps", default=1e-12 if config.is_hugging_face else None)
    config.note(layer_norm_eps=given or epsilon)
    return Norm(epsilon=given or epsilon), Norm(epsilon=given or 1e-12)


def encoder_heads(config, activation, norm, **fields):
    """Heads in bert4keras' order: pool or next sentence, then masked language model."""
    pool = config.read_option("with_pool", default=False)
    next_sentence = config.read_option("with_nsp", default=False)
    language_model = config.read_option("with_mlm", default=False) or config.application != "encoder"
    heads = []
    if pool or next_sentence:
        heads.append(Pool(activation="tanh" if pool in (True, False) else pool, next_sentence=bool(next_sentence)))
    if language_model:
        output = "softmax" if language_model is True else language_model
        heads.append(MaskedLM(activation=output, hidden_act=activation, norm=norm, **fields))
    return tuple(heads)


def rows(dialect, body, layer, heads, mapping="encoder embedding_hidden_mapping_in"):
    """The name table of BERT. TF and torch files use the same words, with another separator.

    Args:
        dialect: ``TF`` or ``TORCH``.
        body: prefix of the base model, ``"bert/"`` or ``"bert."``.
        layer: pattern of a block, ``"layer_{i}"`` or ``"layer.{i}"``.
        heads: rows of the heads that are spelled differently.
        mapping: words for the mapping of factorised embeddings.
    """
    dot = "." if dialect is TORCH else "/"
    join = lambda *words: dot.join(words)  # noqa: E731
    block = join(body + "encoder", layer)
    attention, feed_forward = "Transformer-{i}-MultiHeadSelfAttention", "Transformer-{i}-FeedForward"
    return {
        **dialect.table("Embedding-Token", body + join("embeddings", "word_embeddings"), vocabulary="rows"),
        **dialect.table("Embedding-Segment", body + join("embeddings", "token_type_embeddings")),
        **dialect.table("Embedding-Position", body + join("embeddings", "position_embeddings")),
        **dialect.norm("Embedding-Norm", body + join("embeddings", "LayerNorm")),
        **dialect.dense("Embedding-Mapping", body + join(*mapping.split())),
        **dialect.dense(f"{attention}/query", join(block, "attention", "self", "query")),
        **dialect.dense(f"{attention}/key", join(block, "attention", "self", "key")),
        **dialect.dense(f"{attention}/value", join(block, "attention", "self", "value")),
        **dialect.dense(f"{attention}/output", join(block, "attention", "output", "dense")),
        **dialect.norm(f"{attention}-Norm", join(block, "attention", "output", "LayerNorm")),
        **dialect.dense(f"{feed_forward}/input_0", join(block, "intermediate", "dense")),
        **dialect.dense(f"{feed_forward}/output", join(block, "output", "dense")),
        **dialect.norm(f"{feed_forward}-Norm", join(block, "output", "LayerNorm")),
        **dialect.dense("Pooler-Dense", body + join("pooler", "dense")),
        **dialect.dense("MLM-Dense", join("cls", "predictions", "transform", "dense")),
        **dialect.norm("MLM-Norm", join("cls", "predictions", "transform", "LayerNorm")),
        **heads,
    }


TF_HEADS = {
    "NSP-Proba/kernel": Source("cls/seq_relationship/output_weights", (Transpose(),)),
    "NSP-Proba/bias": Source("cls/seq_relationship/output_bias"),
    "MLM-Bias/beta": Source("cls/predictions/output_bias", vocabulary="rows"),
}

TORCH_HEADS = {
    **TORCH.dense("NSP-Proba", "cls.seq_relationship"),
    "MLM-Bias/beta": Source("cls.predictions.bias", vocabulary="rows"),
}

TORCH_BUFFERS = (*POSITION_BUFFERS, r"^cls\.predictions\.decoder\.(weight|bias)$")
"""Buffers, and the tied duplicates of the token table and of the output bias."""

BERT_TF = NameMap("tf", rows(TF, "bert/", "layer_{i}", TF_HEADS), ignore=TF_SLOTS, optional=CONDITIONAL)

BERT_TF_KERAS = replace(
    BERT_TF,
    rows={
        **BERT_TF.rows,
        **TF.dense("NSP-Proba", "cls/seq_relationship"),
        "MLM-Bias/beta": Source("cls/predictions/bias", vocabulary="rows"),
    },
)
"""The ``tf_model.h5`` files of transformers: Google's names but for two heads."""


def torch_map(body, heads=TORCH_HEADS, other_roots=(), ignore=(), without=(), **names):
    """The Hugging Face table of a relative of BERT: another prefix, other heads, some rows missing (by their beginning)."""
    table = rows(TORCH, body, "layer.{i}", heads, **names)
    table = {path: source for path, source in table.items() if not path.startswith(tuple(without))}
    ignore = (*TORCH_BUFFERS, *ignore)
    return NameMap("torch", table, root=body, other_roots=other_roots, ignore=ignore, optional=CONDITIONAL)


def without_rows(name_map, *paths):
    """A table without the rows whose paths begin in one of these ways."""
    return replace(name_map, rows={path: source for path, source in name_map.rows.items() if not path.startswith(paths)})


BERT_TORCH = torch_map("bert.")


def export(entries, spec):
    """Refuse what a Hugging Face BERT cannot hold."""
    if not spec.embeddings.segments:
        raise KerasSuError("A Hugging Face BERT cannot be without segments. Save the model as a TF checkpoint or a .keras file.")
    return entries


register_family(
    "bert",
    spec=bert,
    maps=(BERT_TF, BERT_TORCH, BERT_TF_KERAS, UER),
    aliases=("roberta",),  # bert4keras' name for the Chinese RoBERTa-wwm, which is a BERT
    model_types=("bert", "roberta"),  # the second in early copies of the Chinese ones
    classes=("BertModel", "BertForPreTraining"),
    export=export,
)
