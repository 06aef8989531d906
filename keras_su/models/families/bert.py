"""BERT (Devlin et al., arXiv 1810.04805) and everything with its layout.

Google BERT, HFL BERT-wwm and RoBERTa-wwm (a BERT, despite the name), MacBERT, SimBERT, WoBERT, Zhuiyi's small RoBERTa and
factorised models, UER.
"""

from dataclasses import replace

from keras_su.errors import KerasSuError
from keras_su.models.heads import MaskedLM, Pool
from keras_su.models.parts import FeedForward, SelfAttention
from keras_su.models.registry import register_family
from keras_su.models.spec import Condition, Embeddings, Initializer, Learned, Norm, Spec, post_norm
from keras_su.weights.names import TF, TORCH, NameMap, Source
from keras_su.weights.transforms import Transpose

POSITION_IDS = {False: None, True: "input", "padding_on_left": "left_padded"}
"""Where position ids come from: counted, a model input, or counted without the padding in front."""


def bert(config):
    """The architecture that a configuration (Google, Hugging Face or bert4keras keys) describes."""
    hidden_size = config.read("hidden_size")
    heads = config.read("num_attention_heads")
    dropout = config.read("dropout_rate", "hidden_dropout_prob", default=0.0)
    norm = Norm(epsilon=config.read("layer_norm_eps", default=1e-12))
    activation = config.read("hidden_act", default="gelu")
    attention = SelfAttention(
        heads=heads,
        head_size=config.read_head_size(hidden_size, heads),
        key_size=config.read("attention_key_size", default=None),
        dropout=config.read("attention_dropout_rate", "attention_probs_dropout_prob", default=0.0),
        residual_scores=config.read("residual_attention_scores", default=False),
    )
    feed_forward = FeedForward(units=config.read("intermediate_size"), activation=activation)
    embeddings = Embeddings(
        size=config.read("embedding_size", default=hidden_size),
        segments=config.read("segment_vocab_size", "type_vocab_size", default=2),
        position=Learned(
            length=config.read("max_position", "max_position_embeddings", default=512),
            hierarchical=config.read("hierarchical_position", default=None),
        ),
        position_ids=config.read_choice("custom_position_ids", POSITION_IDS, default=False),
        norm=norm,
        dropout=dropout,
        segments_share_tokens=config.read("shared_segment_embeddings", default=False),
    )
    return Spec(
        vocab_size=config.read("vocab_size"),
        hidden_size=hidden_size,
        num_layers=config.read("num_hidden_layers"),
        embeddings=embeddings,
        block=post_norm(norm, attention, feed_forward, dropout=dropout),
        heads=bert_heads(config, activation, norm),
        condition=Condition(
            hidden_size=config.read("layer_norm_cond_hidden_size", default=None),
            hidden_act=config.read("layer_norm_cond_hidden_act", default="linear"),
        ),
        initializer=Initializer(stddev=config.read("initializer_range", default=0.02)),
        sequence_length=config.read("sequence_length", default=None),
    )


def bert_heads(config, activation, norm):
    """Heads in bert4keras' order: pool or next sentence, then masked language model."""
    pool = config.read("with_pool", default=False)
    next_sentence = config.read("with_nsp", default=False)
    language_model = config.read("with_mlm", default=False) or config.application != "encoder"
    heads = []
    if pool or next_sentence:
        heads.append(Pool(activation="tanh" if pool in (True, False) else pool, next_sentence=bool(next_sentence)))
    if language_model:
        heads.append(
            MaskedLM(activation="softmax" if language_model is True else language_model, hidden_act=activation, norm=norm)
        )
    return tuple(heads)


def rows(dialect, body, layer, heads):
    """The name table of BERT. TF and torch files use the same words, with another separator.

    Args:
        dialect: ``TF`` or ``TORCH``.
        body: prefix of the base model, ``"bert/"`` or ``"bert."``.
        layer: pattern of a block, ``"layer_{i}"`` or ``"layer.{i}"``.
        heads: rows of the heads that are spelled differently.
    """
    dot = "." if dialect is TORCH else "/"
    join = lambda *words: dot.join(words)  # noqa: E731
    block = join(body + "encoder", layer)
    attention, feed_forward = "Transformer-{i}-MultiHeadSelfAttention", "Transformer-{i}-FeedForward"
    return {
        **dialect.table("Embedding-Token", body + join("embeddings", "word_embeddings"), vocabulary=True),
        **dialect.table("Embedding-Segment", body + join("embeddings", "token_type_embeddings")),
        **dialect.table("Embedding-Position", body + join("embeddings", "position_embeddings")),
        **dialect.norm("Embedding-Norm", body + join("embeddings", "LayerNorm")),
        **dialect.dense("Embedding-Mapping", body + join("encoder", "embedding_hidden_mapping_in")),
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


CONDITIONAL = (r".*/(hidden|beta|gamma)_dense/kernel",)
"""Conditional norms start as unconditional ones; no public checkpoint holds their dense layers."""

TF_SLOTS = (
    r"(^|/)global_step$",
    r"/(adam|lamb|lars)_[mv]$",
    r"AdamWeightDecayOptimizer",
    r"/Adam(_1)?$",
    r"(^|/)beta[12]_power$",
    r"^signal_early_stopping",
    r"^_CHECKPOINTABLE_OBJECT_GRAPH$",
)
"""What optimizers leave in TF checkpoints."""

TORCH_BUFFERS = (r"(^|\.)embeddings\.(position_ids|token_type_ids)$", r"^cls\.predictions\.decoder\.(weight|bias)$")
"""Buffers, and the tied duplicates of the token table and of the output bias."""

BERT_TF = NameMap(
    "tf",
    rows(TF, "bert/", "layer_{i}", {
        "NSP-Proba/kernel": Source("cls/seq_relationship/output_weights", (Transpose(),)),
        "NSP-Proba/bias": Source("cls/seq_relationship/output_bias"),
        "MLM-Bias/beta": Source("cls/predictions/output_bias", vocabulary=True),
    }),
    ignore=TF_SLOTS,
    optional=CONDITIONAL,
)  # fmt: skip

BERT_TF_KERAS = replace(
    BERT_TF,
    rows={
        **BERT_TF.rows,
        **TF.dense("NSP-Proba", "cls/seq_relationship"),
        "MLM-Bias/beta": Source("cls/predictions/bias", vocabulary=True),
    },
)
"""The ``tf_model.h5`` files of transformers: Google's names but for two heads."""

BERT_TORCH = NameMap(
    "torch",
    rows(TORCH, "bert.", "layer.{i}", {
        **TORCH.dense("NSP-Proba", "cls.seq_relationship"),
        "MLM-Bias/beta": Source("cls.predictions.bias", vocabulary=True),
    }),
    root="bert.",
    ignore=TORCH_BUFFERS,
    optional=CONDITIONAL,
)  # fmt: skip


def hugging_face_config(spec):
    """The entries of ``config.json`` that describe a BERT to transformers.

    Raises:
        KerasSuError: the model has something that transformers' BERT does not.
    """
    attention, feed_forward = (residual.part for residual in spec.block_at(0).residuals)
    beyond = {
        "attention_head_size": attention.heads * attention.head_size != spec.hidden_size,
        "attention_key_size": attention.key_size not in (None, attention.head_size),
        "embedding_size": spec.embeddings.size != spec.hidden_size,
        "hierarchical_position": bool(spec.embeddings.position.hierarchical),
        "residual_attention_scores": attention.residual_scores,
        "segment_vocab_size=0": not spec.embeddings.segments,
    }
    if any(beyond.values()):
        named = ", ".join(name for name, used in beyond.items() if used)
        raise KerasSuError(
            f"A Hugging Face BERT cannot express {named}. Save the model as a TF checkpoint or a .keras file instead."
        )
    return {
        "model_type": "bert",
        "architectures": ["BertForPreTraining" if spec.heads else "BertModel"],
        "vocab_size": spec.vocab_size,
        "hidden_size": spec.hidden_size,
        "num_hidden_layers": spec.num_layers,
        "num_attention_heads": attention.heads,
        "intermediate_size": feed_forward.units,
        "hidden_act": feed_forward.activation,
        "hidden_dropout_prob": spec.embeddings.dropout,
        "attention_probs_dropout_prob": attention.dropout,
        "max_position_embeddings": spec.embeddings.position.length,
        "type_vocab_size": spec.embeddings.segments,
        "layer_norm_eps": spec.embeddings.norm.epsilon,
        "initializer_range": spec.initializer.stddev,
        "pad_token_id": 0,
    }


register_family(
    "bert",
    spec=bert,
    maps=(BERT_TF, BERT_TORCH, BERT_TF_KERAS),
    aliases=("roberta",),  # bert4keras' name for the Chinese RoBERTa-wwm, which is a BERT
    model_types=("bert",),
    config=hugging_face_config,
)
