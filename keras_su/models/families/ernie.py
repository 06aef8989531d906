"""ERNIE 1.0, 3.0, ernie-gram and -health (Baidu, arXiv 1904.09223): BERT, from version 3.0 on with task embeddings."""

from keras_su.models.families.bert import TORCH_HEADS, encoder, torch_map
from keras_su.models.registry import register_family
from keras_su.models.spec import Extra
from keras_su.weights.names import TORCH

_TABLE = "embeddings.task_type_embeddings.weight"


def ernie(config):
    """The architecture of a configuration. Task ids are 0, or a model input with ``custom_task_ids=True``.

    Early uploads call themselves BERT and do not mention their task embeddings: the file decides.
    """
    names = [prefix + _TABLE for prefix in ("ernie.", "bert.", "")]
    stored = [name for name in names if config.has_tensor(name)]
    used = config.read("use_task_id", default=bool(stored))
    rows = config.reader.shape(stored[0])[0] if stored else config.read("task_type_vocab_size", default=3)
    config.read("task_type_vocab_size", default=rows)
    custom = config.read_option("custom_task_ids", default=False)
    return encoder(config, extras=(Extra(name="Task", rows=rows, input=custom),) if used else ())


register_family(
    "ernie",
    spec=ernie,
    maps=(
        torch_map(
            "ernie.",
            {**TORCH_HEADS, **TORCH.table("Embedding-Task", "ernie.embeddings.task_type_embeddings")},
            other_roots=("bert.",),
        ),
    ),
    model_types=("ernie",),
    classes=("ErnieModel", "ErnieForPreTraining"),
)
