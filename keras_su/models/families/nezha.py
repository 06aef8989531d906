"""NEZHA (Wei et al., arXiv 1909.00204): BERT with clipped relative distances instead of absolute positions."""

from keras_su.models.families.bert import BERT_TF, encoder, torch_map, without_rows
from keras_su.models.positions import Clipped
from keras_su.models.registry import register_family


def nezha(config):
    """The architecture of a configuration; files without ``max_relative_position`` mean 64."""
    config.read_option("use_relative_position", default=True)
    reach = config.read("max_relative_position", default=64)
    return encoder(config, epsilon=1e-7, learned=False, position=Clipped(reach=reach))


def export(entries, spec):
    """What only NEZHA's configuration has."""
    return {**entries, "use_relative_position": True}


register_family(
    "nezha",
    spec=nezha,
    maps=(
        without_rows(BERT_TF, "Embedding-Position"),
        torch_map("nezha.", other_roots=("bert.",), without=["Embedding-Position"], ignore=[r"relative_positions_encoding"]),
    ),
    aliases=("wonezha",),
    model_types=("nezha",),
    classes=("NezhaModel", "NezhaForPreTraining"),
    export=export,
)
