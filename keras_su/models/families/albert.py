"""ALBERT (Lan et al., arXiv 1909.11942): one block for all layers, factorised embeddings.

Google's and brightmart's "google" files, Hugging Face, and the layout of brightmart's first releases (``albert_tiny``, ...).
"""

from dataclasses import replace

from keras_su.models.families.bert import TF_HEADS, encoder, read_norms, rows
from keras_su.models.families.common import CONDITIONAL, POSITION_BUFFERS, TF_SLOTS
from keras_su.models.registry import register_family
from keras_su.models.spec import pre_norm
from keras_su.weights.names import TF, TORCH, NameMap, Source


def albert(config):
    """ALBERT; ``num_hidden_groups`` blocks take turns (the layers are divided among them)."""
    groups = config.read("num_hidden_groups", default=1)
    config.read_choice("inner_group_num", {1: 1}, default=1)
    config.note(inner_group_num=1)
    return replace(unshared(config), shared_blocks=groups)


def unshared(config):
    """ALBERT with a block of its own for each layer, all of which begin as the shared one."""
    size = config.read("embedding_size", default=128 if config.is_hugging_face else config.read("hidden_size"))
    # transformers maps in any case, bert4keras and Google only where the sizes differ.
    mapping = True if config.is_hugging_face else None
    spec = encoder(config, epsilon=1e-7, embedding_size=size, mapping=mapping)
    if not config.has_tensor("bert/embeddings/word_embeddings_2"):
        return spec
    # brightmart's first layout: token vectors are mapped before the sum, and the norm comes after it.
    spec = replace(spec, embeddings=replace(spec.embeddings, mapping="tokens"))
    if config.read_option("ln_type", default="postln") != "preln":
        return spec
    norm, _ = read_norms(config, 1e-7)
    parts = (residual.part for residual in spec.block.residuals)
    return replace(spec, block=pre_norm(norm, *parts, dropout=spec.embeddings.dropout))  # nothing follows the last block


def _block(dialect, ours, names):
    """Rows of one block; ``names`` are those of query, key, value, output, first norm, two dense layers, second norm."""
    attention, feed_forward = f"{ours}-MultiHeadSelfAttention", f"{ours}-FeedForward"
    paths = [f"{attention}/{part}" for part in ("query", "key", "value", "output")]
    dense = [*paths, None, f"{feed_forward}/input_0", f"{feed_forward}/output", None]
    table = {}
    for path, name in zip(dense, names):
        table |= {} if path is None else dialect.dense(path, name)
    return {**table, **dialect.norm(f"{attention}-Norm", names[4]), **dialect.norm(f"{feed_forward}-Norm", names[7])}


def _tf_block(ours, group):
    start = f"bert/encoder/transformer/group_{group}/inner_group_0"
    attention = [f"{start}/attention_1/self/{part}" for part in ("query", "key", "value")]
    attention += [f"{start}/attention_1/output/dense", f"{start}/LayerNorm"]
    feed_forward = [f"{start}/ffn_1/intermediate/dense", f"{start}/ffn_1/intermediate/output/dense", f"{start}/LayerNorm_1"]
    return _block(TF, ours, attention + feed_forward)


def _torch_block(ours, group):
    start = f"albert.encoder.albert_layer_groups.{group}.albert_layers.0"
    attention = [f"{start}.attention.{part}" for part in ("query", "key", "value", "dense", "LayerNorm")]
    return _block(TORCH, ours, [*attention, f"{start}.ffn", f"{start}.ffn_output", f"{start}.full_layer_layer_norm"])


def _maps(blocks):
    """TF and torch tables; ``blocks`` are pairs of our name for a block and the group it is stored in."""
    outside = {path: s for path, s in rows(TF, "bert/", "layer_{i}", TF_HEADS).items() if not path.startswith("Transformer")}
    torch = rows(TORCH, "albert.", "layer.{i}", {}, "encoder embedding_hidden_mapping_in")
    torch = {path: s for path, s in torch.items() if not path.startswith(("Transformer", "Pooler", "MLM"))}
    torch |= {
        **TORCH.dense("Pooler-Dense", "albert.pooler"),
        **TORCH.dense("NSP-Proba", "sop_classifier.classifier"),
        **TORCH.dense("MLM-Dense", "predictions.dense"),
        **TORCH.norm("MLM-Norm", "predictions.LayerNorm"),
        "MLM-Bias/beta": Source("predictions.bias", vocabulary="rows"),
    }
    tf_blocks, torch_blocks = {}, {}
    for ours, group in blocks:
        tf_blocks |= _tf_block(ours, group)
        torch_blocks |= _torch_block(ours, group)
    ignore = (*POSITION_BUFFERS, r"^predictions\.decoder\.(weight|bias)$")
    return (
        NameMap("tf", {**outside, **tf_blocks}, ignore=TF_SLOTS, optional=CONDITIONAL),
        NameMap("torch", {**torch, **torch_blocks}, root="albert.", ignore=ignore, optional=CONDITIONAL),
    )


_FIRST_ROWS = rows(TF, "bert/", "layer_shared", TF_HEADS)
_FIRST = {path.replace("Transformer-{i}", "Transformer"): source for path, source in _FIRST_ROWS.items()}
_FIRST = {path: source for path, source in _FIRST.items() if not path.startswith("Embedding-Mapping")}
FIRST = NameMap(
    "tf",
    {**_FIRST, "Embedding-Mapping/kernel": Source("bert/embeddings/word_embeddings_2")},
    ignore=TF_SLOTS,
    optional=CONDITIONAL,
)
"""brightmart's first layout."""

register_family(
    "albert",
    spec=albert,
    maps=(*_maps([("Transformer", 0), ("Transformer-{i}", "{i}")]), FIRST),
    model_types=("albert",),
    classes=("AlbertModel", "AlbertForPreTraining"),
)

register_family("albert_unshared", spec=unshared, maps=_maps([("Transformer-{i}", 0)]))
