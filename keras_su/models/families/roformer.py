"""RoFormer (Su et al., arXiv 2104.09864), RoFormer-Sim, RoFormerV2 and GAU-alpha: Zhuiyi's encoders with rotary positions."""

from dataclasses import replace

from keras_su.errors import bad_value
from keras_su.models.families.bert import BERT_TF, encoder, torch_map, without_rows
from keras_su.models.families.common import TF_SLOTS
from keras_su.models.heads import LanguageModel
from keras_su.models.parts import GatedAttention
from keras_su.models.positions import Rotary
from keras_su.models.registry import register_family
from keras_su.models.spec import Block, Initializer, Norm, post_norm
from keras_su.weights.names import TF, TORCH, NameMap


def roformer(config):
    """RoFormer. The English models that rotate values, too, are not among the public Chinese ones, and are refused."""
    if config.read("rotary_value", default=False):
        raise bad_value("rotary_value", True, "False, as in all Chinese RoFormers")
    size = config.read("embedding_size", default=config.read("hidden_size"))
    return encoder(config, epsilon=1e-7, learned=False, position=Rotary(), embedding_size=size)


def roformer_v2(config):
    """RoFormerV2: no biases, norms without weights, another initializer, and a head that is the token table alone."""
    config.read_option("norm_type", default="rms_norm")
    config.read_option("use_bias", default=False)
    return simplified(config, depth_order=2)


def simplified(config, depth_order):
    """The frame that RoFormerV2 and GAU-alpha have in common.

    Args:
        config: the configuration.
        depth_order: initial deviations shrink with this root of the depth.
    """
    size = config.read("embedding_size", default=config.read("hidden_size"))
    spec = encoder(config, epsilon=1e-7, learned=False, position=Rotary(), heads=False, embedding_size=size)
    attention, feed_forward = (residual.part for residual in spec.block.residuals)
    norm = Norm(kind="rms", epsilon=spec.block.residuals[0].post.epsilon, scale=False, center=False)
    dropout = spec.embeddings.dropout
    embeddings = replace(spec.embeddings, norm=norm, dropout_first=True, mapping_bias=False)
    block = post_norm(norm, replace(attention, bias=False), replace(feed_forward, bias=False), dropout=dropout)
    wanted = config.read_option("with_mlm", default=False) or config.application != "encoder"
    heads = ()
    if wanted:
        activation = "softmax" if wanted is True else wanted
        heads = (LanguageModel(activation=activation, dropout=dropout, name="Output-MLM"),)
    initializer = Initializer(gain=spec.num_layers ** (-1 / depth_order))
    return replace(spec, embeddings=embeddings, block=block, heads=heads, initializer=initializer)


def gau_alpha(config):
    """GAU-alpha (kexue.fm/archives/9052): RoFormerV2 with one gated attention unit in place of attention and feed-forward."""
    normalization = config.read_own("normalization", default="softmax_plus")
    spec = simplified(config, depth_order=3)
    attention, feed_forward = spec.block.residuals
    part = GatedAttention(
        units=feed_forward.part.units,
        head_size=attention.part.key_size or attention.part.head_size,
        activation=feed_forward.part.activation,
        bias=False,
        dropout=attention.part.dropout,
        normalization=normalization,
        position=attention.part.position,
    )
    return replace(spec, block=Block(residuals=(replace(attention, part=part),)))


_WITHOUT = ("Embedding-Position",)
_ROFORMER_TF = without_rows(BERT_TF, *_WITHOUT)
_MAPPING = {"mapping": "embeddings_project"}
_SINUSOIDS = (r"encoder\.embed_positions\.weight$",)


def _bare(name_map):
    """A table without norms, biases and the heads of BERT."""
    kept = {
        path: s for path, s in name_map.rows.items() if not path.startswith(("Pooler", "MLM", "NSP")) and "-Norm/" not in path
    }
    return replace(name_map, rows={path: source for path, source in kept.items() if not path.endswith("/bias")})


_ROFORMER_TORCH = torch_map("roformer.", other_roots=("bert.",), without=_WITHOUT, ignore=_SINUSOIDS, **_MAPPING)

register_family(
    "roformer",
    spec=roformer,
    maps=(_ROFORMER_TF, _ROFORMER_TORCH),
    aliases=("roformer_sim", "simbert_v2"),
    model_types=("roformer",),
    classes=("RoFormerModel", "RoFormerForMaskedLM"),
)

register_family(
    "roformer_v2",
    spec=roformer_v2,
    maps=(_bare(_ROFORMER_TF), _bare(_ROFORMER_TORCH)),
    aliases=("roformerv2",),
    model_types=("roformer",),
    claims=lambda values: values.get("norm_type") == "rms_norm",
    classes=("RoFormerModel", "RoFormerForMaskedLM"),
    export=lambda entries, spec: {**entries, "norm_type": "rms_norm", "use_bias": False, "rotary_value": False},
)

_GAU = "Transformer-{i}-GatedAttentionUnit"
_TF_LAYER, _TORCH_LAYER = "GAU_alpha/encoder/layer_{i}/gau", "gau_alpha.encoder.layer.{i}.gau"

register_family(
    "gau_alpha",
    spec=gau_alpha,
    maps=(
        NameMap(
            "tf",
            {
                **TF.table("Embedding-Token", "bert/embeddings/word_embeddings", vocabulary="rows"),
                **TF.table("Embedding-Segment", "bert/embeddings/token_type_embeddings"),
                **TF.dense(f"{_GAU}/input", f"{_TF_LAYER}/i_dense", bias=False),
                **TF.scale(f"{_GAU}/query", f"{_TF_LAYER}/q_scaleoffset"),
                **TF.scale(f"{_GAU}/key", f"{_TF_LAYER}/k_scaleoffset"),
                **TF.dense(f"{_GAU}/output", f"{_TF_LAYER}/o_dense", bias=False),
            },
            ignore=TF_SLOTS,
        ),
        NameMap(
            "torch",
            {
                **TORCH.table("Embedding-Token", "gau_alpha.embeddings.word_embeddings", vocabulary="rows"),
                **TORCH.table("Embedding-Segment", "gau_alpha.embeddings.token_type_embeddings"),
                **TORCH.dense(f"{_GAU}/input", f"{_TORCH_LAYER}.i_dense", bias=False),
                **TORCH.scale(f"{_GAU}/query", f"{_TORCH_LAYER}.q_scaleoffset"),
                **TORCH.scale(f"{_GAU}/key", f"{_TORCH_LAYER}.k_scaleoffset"),
                **TORCH.dense(f"{_GAU}/output", f"{_TORCH_LAYER}.o_dense", bias=False),
            },
            root="gau_alpha.",
            ignore=(r"^cls\.predictions\.decoder\.weight$", r"embed_positions"),
        ),
    ),
    aliases=("gau",),
    model_types=("gau_alpha",),
    classes=("GAUAlphaModel", "GAUAlphaForMaskedLM"),
)
