"""ELECTRA (Clark et al., arXiv 2003.10555): the discriminator, and the generator it was trained against."""

from dataclasses import replace

from keras_su.models.families.bert import encoder, encoder_heads, rows, torch_map
from keras_su.models.families.common import CONDITIONAL, TF_SLOTS
from keras_su.models.heads import Discriminator
from keras_su.models.registry import register_family
from keras_su.weights.names import TF, TORCH, NameMap, Source


def electra(config):
    """ELECTRA; ``with_discriminator`` and ``with_mlm`` (the generator, whose head has always gelu) switch the heads on."""
    # A file of transformers that leaves the embedding size out means 128; HFL's TF files mean the hidden size.
    default = 128 if config.is_hugging_face else config.read("hidden_size")
    spec = encoder(config, heads=False, embedding_size=config.read("embedding_size", default=default))
    heads = encoder_heads(config, "gelu", spec.embeddings.norm)
    wanted = config.read_option("with_discriminator", default=False)
    if wanted:
        activation = "sigmoid" if wanted is True else wanted
        heads = (Discriminator(activation=activation, hidden_act=config.read("hidden_act", default="gelu")), *heads)
    return replace(spec, heads=heads)


def export(entries, spec):
    """The class tells a discriminator from a generator."""
    if spec.heads and not isinstance(spec.heads[0], Discriminator):
        entries["architectures"] = ["ElectraForMaskedLM"]
    return entries


def _table(dialect, body, layer, heads):
    table = rows(dialect, body, layer, heads, mapping="embeddings_project")
    return {path: source for path, source in table.items() if path in heads or not path.startswith(("Pooler", "MLM", "NSP"))}


TF_DISCRIMINATOR = {
    **TF.dense("Discriminator-Dense", "discriminator_predictions/dense"),
    **TF.dense("Discriminator-Prediction", "discriminator_predictions/dense_1"),
}
TF_GENERATOR = {
    **TF.dense("MLM-Dense", "generator_predictions/dense"),
    **TF.norm("MLM-Norm", "generator_predictions/LayerNorm"),
    "MLM-Bias/beta": Source("generator_predictions/output_bias", vocabulary="rows"),
}
TORCH_HEADS = {
    **TORCH.dense("Discriminator-Dense", "discriminator_predictions.dense"),
    **TORCH.dense("Discriminator-Prediction", "discriminator_predictions.dense_prediction"),
    **TORCH.dense("MLM-Dense", "generator_predictions.dense"),
    **TORCH.norm("MLM-Norm", "generator_predictions.LayerNorm"),
    "MLM-Bias/beta": Source("generator_lm_head.bias", vocabulary="rows"),
}
_TORCH = torch_map("electra.", ignore=[r"^generator_lm_head\.weight$"])
ELECTRA_TORCH = replace(_TORCH, rows=_table(TORCH, "electra.", "layer.{i}", TORCH_HEADS))

# Google's files hold both networks. The generator has blocks of its own, but the embeddings of the discriminator.
_BOTH = (*TF_SLOTS, r"(^|/)temperature$")
_GENERATOR = {
    path: replace(
        source, name=source.name.replace("electra/encoder", "generator/encoder").replace("electra/emb", "generator/emb")
    )
    if path.startswith(("Transformer", "Embedding-Mapping"))
    else source
    for path, source in _table(TF, "electra/", "layer_{i}", TF_GENERATOR).items()
}

register_family(
    "electra",
    spec=electra,
    maps=(
        NameMap(
            "tf",
            _table(TF, "electra/", "layer_{i}", TF_DISCRIMINATOR),
            ignore=(*_BOTH, r"^generator(_predictions)?/"),
            optional=CONDITIONAL,
        ),
        ELECTRA_TORCH,
    ),
    applications=("encoder",),
    reason="its discriminator judges tokens and does not predict them",
    model_types=("electra",),
    classes=("ElectraModel", "ElectraForPreTraining"),
    export=export,
)

register_family(
    "electra_generator",
    spec=electra,
    maps=(
        NameMap("tf", _GENERATOR, ignore=(*_BOTH, r"^electra/enc", r"^discriminator_predictions/"), optional=CONDITIONAL),
        ELECTRA_TORCH,
    ),
    model_types=("electra",),
    claims=lambda values: "ElectraForMaskedLM" in (values.get("architectures") or []),
    classes=("ElectraModel", "ElectraForMaskedLM"),
    export=export,
)
