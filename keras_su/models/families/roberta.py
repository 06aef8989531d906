"""The original RoBERTa (arXiv 1907.11692) and XLM-RoBERTa; GuwenBERT, bge-m3, multilingual-e5.

The Chinese "RoBERTa-wwm" models are BERTs, and bert4keras' name ``roberta`` means those; it means this family for a file that
holds one.
"""

from keras_su.models.families.bert import encoder, torch_map
from keras_su.models.families.common import read_position_ids
from keras_su.models.registry import register_family
from keras_su.models.spec import Extra
from keras_su.weights.names import TORCH, Source


def xlm_roberta(config):
    """Positions count tokens that are not padding, and begin behind the padding id; a single segment needs no input."""
    pad_id = config.read("pad_token_id", default=1)
    segments = config.read("segment_vocab_size", "type_vocab_size", default=1)
    single = {"segments": 0, "extras": (Extra(name="Segment", rows=1),)} if segments == 1 else {}
    position_ids = read_position_ids(config, default="skip_padding")
    return encoder(config, offset=pad_id + 1, pad_id=pad_id, position_ids=position_ids, **single)


HEADS = {
    **TORCH.dense("MLM-Dense", "lm_head.dense"),
    **TORCH.norm("MLM-Norm", "lm_head.layer_norm"),
    "MLM-Bias/beta": Source("lm_head.bias", vocabulary="rows"),
}

register_family(
    "xlm_roberta",
    spec=xlm_roberta,
    maps=(torch_map("roberta.", HEADS, without=["NSP"], ignore=[r"^lm_head\.decoder\.(weight|bias)$"]),),
    aliases=("xlm-roberta", "true_roberta", "roberta"),
    model_types=("xlm-roberta", "roberta"),
    claims=lambda values: values.get("type_vocab_size", 1) == 1,  # a BERT under this name has two segments
    classes=("XLMRobertaModel", "XLMRobertaForMaskedLM"),
)
