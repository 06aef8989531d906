"""Reading the folders of sentence-transformers: which modules, which tokenizer, which limits."""

import json

import keras
import numpy as np

from keras_su.errors import KerasSuError, bad_value, listing, nearest, unknown_name
from keras_su.tokenizers import JsonTokenizer, SpTokenizer, Tokenizer
from keras_su.weights import open_checkpoint

MODULES = ("Transformer", "Pooling", "Dense", "Normalize")

# The switches in the configuration of a Pooling module; newer files have a single setting with shorter words.
_POOLING = {
    "cls_token": "cls",
    "max_tokens": "max",
    "mean_tokens": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt_len",
    "weightedmean_tokens": "weighted_mean",
    "lasttoken": "last",
}
_POOLING |= {key.removesuffix("_token").removesuffix("_tokens"): mode for key, mode in _POOLING.items()}
_ACTIVATIONS = {
    "Identity": "linear",
    "Tanh": "tanh",
    "ReLU": "relu",
    "Sigmoid": "sigmoid",
    "SiLU": "silu",
    "GELU": "gelu",
}


def read_json(path, optional=False):
    """The object in a JSON file; for an optional file that is not there an empty one."""
    if not path.is_file():
        if optional:
            return {}
        beside = sorted(other.name for other in path.parent.iterdir()) if path.parent.is_dir() else []
        where = f"The folder has: {listing(beside)}." if beside else f"The folder {path.parent.name!r} is missing or empty."
        raise KerasSuError(f"There is no file {str(path)!r}. {where}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise KerasSuError(f"{str(path)!r} is not a JSON file: {error}.") from error


def read_modules(folder):
    """``[(kind, folder), ...]`` as modules.json lists them, checked; ``None`` when the folder has none."""
    if not folder.is_dir():
        beside = [other.name for other in folder.parent.iterdir() if other.is_dir()] if folder.parent.is_dir() else []
        near = nearest(folder.name, beside)
        raise KerasSuError(f"There is no folder {str(folder)!r}.{f' Did you mean {near[0]!r}?' if near else ''}")
    path = folder / "modules.json"
    if not path.is_file():
        return None
    modules = []
    for number, module in enumerate(read_json(path)):
        if not isinstance(module, dict) or not isinstance(module.get("type"), str):
            raise bad_value(f"entry {number} of {str(path)!r}", module, "an object with type and path")
        kind = module["type"].split(".")[-1]
        if kind not in MODULES:
            raise unknown_name(f"module type in {str(path)!r}", module["type"], MODULES)
        place = folder / (module.get("path") or "")
        needed = "config.json" if kind in ("Pooling", "Dense") else None
        if kind != "Normalize" and not (place / needed if needed else place).exists():
            there = sorted(other.name for other in (place if place.is_dir() else folder).iterdir())
            raise KerasSuError(
                f"{str(path)!r} names the module {kind} in {module.get('path')!r}, where there is no "
                f"{needed or 'folder'}. There is: {listing(there) or 'nothing'}."
            )
        modules.append((kind, place))
    kinds = [kind for kind, _ in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or {"Transformer", "Pooling"} & set(kinds[2:]):
        raise bad_value(
            f"modules in {str(path)!r}", ", ".join(kinds), "Transformer, Pooling, and then any of Dense and Normalize"
        )
    return modules


def sentence_config(folder):
    """The settings in ``sentence_bert_config.json``, whose name changes with the backbone."""
    found = sorted(folder.glob("sentence_*_config.json"))
    return read_json(found[0]) if found else {}


def length_limit(spec, said, config, folder, given=None):
    """Most tokens of a text: what the caller says, else what the folder says; never more than the position table has."""
    position = spec.embeddings.position
    rows = position.length - position.offset if position is not None and not position.hierarchical else None
    if given is not None:
        if not isinstance(given, int) or given < 1 or (rows is not None and given > rows):
            most = "" if rows is None else f" up to {rows}, the length of the position table"
            raise bad_value("max_length", given, f"a positive integer{most}")
        return given
    limits = [rows, said.get("max_seq_length")]
    if limits[1] is None:
        limits.append(read_json(folder / "tokenizer_config.json", optional=True).get("model_max_length"))
        limits.append(config.get("max_position_embeddings"))
    limits = [int(limit) for limit in limits if limit is not None and 0 < limit < 1e9]  # a huge number means none
    return min(limits) if limits else None


def find_tokenizer(folders, config):
    """The tokenizer that lies in the first of some folders that has one."""
    kind = str(config.get("model_type"))
    for folder in folders:
        if (folder / "tokenizer.json").is_file():
            return JsonTokenizer(folder)
        if (folder / "vocab.txt").is_file():
            return Tokenizer(str(folder))
        pieces = sorted(folder.glob("*.model"))
        if pieces:
            return _sentence_piece(pieces[0], kind)
    files = sorted({path.name for folder in folders for path in folder.iterdir()})
    raise KerasSuError(
        f"No tokenizer in {str(folders[0])!r}: expected tokenizer.json, vocab.txt or a SentencePiece *.model, or tokenizer=. "
        f"There is: {listing(files)}."
    )


def _sentence_piece(path, kind):
    if kind in ("xlm-roberta", "camembert", "mbart", "m2m_100"):
        raise KerasSuError(
            f"{kind} numbers its pieces differently from {path.name}, so {str(path.parent)!r} needs tokenizer.json."
        )
    pieces = SpTokenizer(path, token_start=None, token_end=None)
    for start, end in (("[CLS]", "[SEP]"), ("<s>", None) if kind in ("llama", "mistral", "gemma") else (None, "</s>")):
        if all(token is None or pieces._knows(token) for token in (start, end)):
            return SpTokenizer(path, token_start=start, token_end=end)
    raise KerasSuError(f"{str(path)!r} has neither [CLS] and [SEP] nor </s>. Pass tokenizer=SpTokenizer(..., token_start=, ...).")


def pooling_mode(folder, width):
    """The mode or modes that the configuration of a Pooling module switches on; ``width`` is that of the model."""
    path = folder / "config.json"
    config = read_json(path)
    if config.get("word_embedding_dimension", width) != width:
        raise KerasSuError(
            f"{str(path)!r} says word_embedding_dimension={config['word_embedding_dimension']}, but the model's width is {width}."
        )
    if config.get("include_prompt") is False:
        raise KerasSuError(f"{str(path)!r} says include_prompt=false: leaving a prompt out of the pooling is not computed here.")
    single = config.get("pooling_mode") or []
    said = [single] if isinstance(single, str) else list(single)
    said += [key.removeprefix("pooling_mode_") for key, on in config.items() if key.startswith("pooling_mode_") and on]
    for key in said:
        if key not in _POOLING:
            raise unknown_name(f"pooling in {str(path)!r}", key, _POOLING)
    modes = [_POOLING[key] for key in said]
    if not modes:
        raise KerasSuError(f"{str(path)!r} switches no pooling on. It has: {listing(config)}.")
    return modes[0] if len(modes) == 1 else modes


def dense_layer(folder, x, name, dtype):
    """Apply the Dense module in a folder, with its weights, to ``x``."""
    config = read_json(folder / "config.json")
    function = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).split(".")[-1]
    if function not in _ACTIVATIONS:
        raise unknown_name(f"activation_function in {str(folder / 'config.json')!r}", function, _ACTIVATIONS)
    if config.get("in_features") != x.shape[-1]:
        raise KerasSuError(
            f"{str(folder / 'config.json')!r} says in_features={config.get('in_features')}, but the vectors before it have "
            f"{x.shape[-1]} entries."
        )
    bias = config.get("bias", True)
    layer = keras.layers.Dense(config["out_features"], activation=_ACTIVATIONS[function], use_bias=bias, name=name, dtype=dtype)
    y = layer(x)
    wanted = ["linear.weight", "linear.bias"][: 1 + bool(bias)]
    with open_checkpoint(folder) as reader:
        if sorted(reader.names()) != sorted(wanted):
            raise KerasSuError(f"The weights in {str(folder)!r} are {listing(reader.names())}, expected {listing(wanted)}.")
        weights = [np.asarray(reader.read(tensor), "float32") for tensor in wanted]
    layer.set_weights([weights[0].T, *weights[1:]])
    return y
