"""Texts to vectors: models in the folder layout of sentence-transformers."""

import warnings
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from keras_su import hub
from keras_su.errors import KerasSuError, bad_value, listing, unknown_name
from keras_su.layers import AttentionMask, Pooling
from keras_su.models import build_transformer_model
from keras_su.sentence_folder import (
    dense_layer,
    find_tokenizer,
    length_limit,
    pooling_mode,
    read_json,
    read_modules,
    sentence_config,
)

BGE_ZH_QUERY = "为这个句子生成表示以用于检索相关文章："
"""What stands before a query (not before a document) for BAAI/bge-*-zh; their folders do not say it."""

SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")

_MASK = "Sentence-Mask"


class SentenceEncoder:
    """A model that turns a text into one vector, with the tokenizer that it was trained with.

    Most are made with :meth:`from_folder`. The constructor takes the parts, for a model that comes out of a ``.keras`` file:
    ``SentenceEncoder(keras.models.load_model("encoder.keras"), tokenizer, max_length=512)``.

    Args:
        model: ``keras.Model`` from token ids, or token ids and segment ids, to vectors ``(batch, width)``. It is an ordinary
            Keras model: compile it, train it, save it.
        tokenizer: a tokenizer of :mod:`keras_su.tokenizers`.
        max_length: most tokens of a text, special ones included; ``None`` is no limit.
        do_lower_case: lower-case texts before the tokenizer sees them.
        prompts: dictionary of instructions by name, to be put before texts.
        default_prompt: name of the one that is used when nothing is said.
        similarity: ``"cosine"``, ``"dot"``, ``"euclidean"`` or ``"manhattan"`` (the last two are negative distances).
        pad_id: id to fill up short texts with; by default what the model takes for padding.

    Attributes:
        model, tokenizer, max_length, prompts: as above.
        width: length of the vectors.
    """

    def __init__(
        self,
        model,
        tokenizer,
        max_length=None,
        do_lower_case=False,
        prompts=None,
        default_prompt=None,
        similarity="cosine",
        pad_id=None,
    ):
        if len(model.inputs) > 2 or len(model.outputs) != 1 or len(model.outputs[0].shape) != 2:
            raise KerasSuError(
                f"SentenceEncoder: got a model with {len(model.inputs)} inputs and outputs of the shapes "
                f"{listing([output.shape for output in model.outputs])}, expected token ids (and segment ids) to one output "
                "(batch, width)."
            )
        if similarity not in SIMILARITIES:
            raise unknown_name("similarity", similarity, SIMILARITIES)
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.do_lower_case = do_lower_case
        self.prompts = dict(prompts or {})
        self.default_prompt = default_prompt
        self._similarity = similarity
        if default_prompt is not None:
            self._prompt(None, default_prompt)
        if pad_id is None:
            masks = [layer.pad_id for layer in model.layers if layer.name == _MASK]
            pad_id = masks[0] if masks else tokenizer.pad_id
        if pad_id is None:
            raise bad_value("SentenceEncoder: pad_id", pad_id, "a token id, since the tokenizer has no padding token")
        self.pad_id = pad_id
        self._submodels = {}

    @classmethod
    def from_folder(
        cls,
        folder,
        *,
        pooling=None,
        normalize=None,
        max_length=None,
        tokenizer=None,
        prompts=None,
        model=None,
        **options,
    ):
        """Read a folder as sentence-transformers writes it: ``modules.json`` with Transformer, Pooling, Dense, Normalize.

        Args:
            folder: the folder, or an address such as ``"hf://BAAI/bge-small-zh-v1.5"`` (see :mod:`keras_su.hub`). Without
                ``modules.json`` it is read as a plain model, and ``pooling`` should be given.
            pooling: mode or modes of :class:`~keras_su.layers.Pooling` instead of what the folder says.
            normalize: ``True`` or ``False``: whether vectors get length 1, instead of what the folder says.
            max_length: most tokens of a text, instead of what the folder says.
            tokenizer: instead of the one in the folder.
            prompts: further instructions by name, beside those of ``config_sentence_transformers.json``.
            model: family of the backbone; default is to find out.
            **options: those of ``build_transformer_model``, such as ``dtype``.

        Raises:
            KerasSuError: something in the folder is missing, unknown or contradictory.
            CheckpointError: the weights do not fit.

        Example:
            ```
            encoder = SentenceEncoder.from_folder("bge-small-zh-v1.5")
            vectors = encoder.encode(["今天天气很好", "天气不错"])
            ```
        """
        folder = Path(hub.resolve(folder))
        modules = read_modules(folder)
        if modules is None:
            modules = [("Transformer", folder), ("Pooling", None)]
            if pooling is None:
                pooling = "mean"
                warnings.warn(
                    f"{str(folder)!r} has no modules.json, so nothing says how its token vectors become one vector. "
                    "Taking their mean; say pooling= to choose.",
                    stacklevel=2,
                )
        if normalize is not None:
            modules = [module for module in modules if module[0] != "Normalize"] + [("Normalize", None)] * bool(normalize)
        body = modules[0][1]
        config = read_json(body / "config.json") if (body / "config.json").is_file() else {}
        said = sentence_config(body)
        tokenizer = tokenizer or find_tokenizer([body, folder], config)
        pad_id = _padding(tokenizer, config.get("vocab_size", 0))
        edit = options.pop("edit", None) or (lambda spec: spec)
        options["edit"] = lambda spec: _body_of(edit(spec), pad_id)
        handle = build_transformer_model(str(body), model=model, return_keras_model=False, **options)
        network = _network(handle, modules[1:], pooling, pad_id, options.get("dtype"))

        settings = read_json(folder / "config_sentence_transformers.json", optional=True)
        return cls(
            network,
            tokenizer,
            max_length=length_limit(handle.spec, said, config, body, max_length),
            do_lower_case=bool(said.get("do_lower_case")),
            prompts={**(settings.get("prompts") or {}), **(prompts or {})},
            default_prompt=settings.get("default_prompt_name"),
            similarity=settings.get("similarity_fn_name") or "cosine",
        )

    width = property(lambda self: self.model.outputs[0].shape[-1])

    def encode(self, texts, batch_size=32, prompt=None, normalize=None, progress=False, *, prompt_name=None):
        """The vectors of texts.

        Texts of like length are computed together, whatever their order; nobody sees the padding.

        Args:
            texts: a list of texts, or one text.
            batch_size: how many texts are computed at once.
            prompt: text to put before each of them, such as :data:`BGE_ZH_QUERY`.
            normalize: ``True``: vectors of length 1. ``False``: not, even if the model does it. ``None``: what the model does.
            progress: show a progress bar.
            prompt_name: name of an entry of ``prompts``, instead of ``prompt``.

        Returns:
            float32 array ``(number of texts, width)``, or ``(width,)`` for one text.

        Raises:
            KerasSuError: something that is no text, or an unknown ``prompt_name``.
        """
        if isinstance(texts, str):
            return self.encode([texts], batch_size, prompt, normalize, progress, prompt_name=prompt_name)[0]
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise bad_value("batch_size", batch_size, "a positive integer")
        before = self._prompt(prompt, prompt_name)
        rows = [self._ids(before, text) for text in _text_list(texts)]
        model = self._without_norm() if normalize is False else self.model
        vectors = np.zeros((len(rows), model.outputs[0].shape[-1]), "float32")
        order = sorted(range(len(rows)), key=lambda place: -len(rows[place][0]))
        with _bar(len(rows), progress) as bar:
            for start in range(0, len(rows), batch_size):
                places = order[start : start + batch_size]
                vectors[places] = self._run(model, [rows[place] for place in places], batch_size)
                bar.update(len(places))
        if normalize:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
        return vectors

    def similarity(self, a, b):
        """How alike two sets of texts are, by the measure that the model was made for; larger is more alike.

        Args:
            a: vectors ``(n, width)`` or one vector, or the texts themselves.
            b: the same.

        Returns:
            float32 array ``(n, m)``; an axis is left out where one vector or one text was given.
        """
        (a, one), (b, other) = self._vectors(a), self._vectors(b)
        if self._similarity == "cosine":
            a, b = (x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12) for x in (a, b))
        if self._similarity in ("cosine", "dot"):
            scores = a @ b.T
        else:
            norm = 2 if self._similarity == "euclidean" else 1
            scores = np.stack([-np.linalg.norm(row - b, ord=norm, axis=-1) for row in a]) if len(a) else np.zeros((0, len(b)))
        scores = scores.astype("float32")
        scores = scores[:, 0] if other else scores
        return scores[0] if one else scores

    def _vectors(self, x):
        """Vectors ``(n, width)`` of texts or vectors, and whether it was a single one."""
        if isinstance(x, str) or (isinstance(x, (list, tuple)) and all(isinstance(text, str) for text in x)):
            x = self.encode(x)
        x = np.asarray(x, "float32")
        if x.ndim not in (1, 2):
            raise bad_value("similarity: shape of the vectors", x.shape, "(n, width) or (width,)")
        return np.atleast_2d(x), x.ndim == 1

    def _prompt(self, prompt, name):
        if prompt is not None and name is not None:
            raise bad_value("prompt_name", name, "nothing, since prompt is given too")
        if prompt is not None:
            if not isinstance(prompt, str):
                raise bad_value("prompt", prompt, "the text to put before each text")
            return prompt
        name = self.default_prompt if name is None else name
        if name is None:
            return ""
        if name not in self.prompts:
            raise unknown_name("prompt", name, self.prompts, "Add your own with prompts=, or pass the text itself as prompt=.")
        return self.prompts[name]

    def _ids(self, before, text):
        text = (before + text).strip()
        return self.tokenizer.encode(text.lower() if self.do_lower_case else text, maxlen=self.max_length)

    def _run(self, model, rows, batch_size):
        """The vectors of one batch of ``(token ids, segment ids)``."""
        # Every new shape is compiled anew: few shapes, and some padding, are cheaper.
        count = min(_rounded(len(rows)), batch_size)
        width = _rounded(max(1, *(len(token_ids) for token_ids, _ in rows)), self.max_length)
        tokens, segments = np.full((count, width), self.pad_id, "int32"), np.zeros((count, width), "int32")
        for place, (token_ids, segment_ids) in enumerate(rows):
            tokens[place, : len(token_ids)] = token_ids
            segments[place, : len(segment_ids)] = segment_ids
        output = model.predict_on_batch([tokens, segments][: len(model.inputs)])
        return np.asarray(output, "float32")[: len(rows)]

    def _without_norm(self):
        """The model up to its last layer, where that brings vectors to length 1."""
        if not isinstance(self.model.layers[-1], keras.layers.UnitNormalization):
            return self.model
        if "plain" not in self._submodels:
            self._submodels["plain"] = keras.Model(self.model.inputs, self.model.layers[-1].input)
        return self._submodels["plain"]


# ---- the network


def _body_of(spec, pad_id):
    """The encoder, without heads, and with another id of padding: files name one that texts contain, too, or none."""
    spec = spec.sides[0]
    return replace(spec, heads=(), embeddings=replace(spec.embeddings, pad_id=pad_id))


def _network(handle, modules, pooling, pad_id, dtype):
    """The Keras model: backbone, then the modules."""
    if len(handle.outputs) != 1 or len(handle.outputs[0].shape) != 3 or len(handle.inputs) > 2:
        raise KerasSuError(
            f"The backbone {handle.family.name!r} has {len(handle.inputs)} inputs and {len(handle.outputs)} outputs, expected "
            "token ids (and segment ids) to hidden states (batch, length, width)."
        )
    tokens, x = handle.inputs[0], handle.outputs[0]
    # Stated, not taken from Keras' implicit mask: pooling must leave out exactly what attention leaves out.
    mask = AttentionMask(pad_id=pad_id, keep_first=False, name=_MASK, dtype=dtype)(tokens)
    mask = keras.layers.Reshape((-1,), name=f"{_MASK}-Row", dtype=dtype)(mask)
    names = _numbered([f"Sentence-{kind}" for kind, _ in modules])
    for name, (kind, path) in zip(names, modules):
        if kind == "Pooling":
            mode = pooling_mode(path, x.shape[-1]) if pooling is None else pooling
            x = Pooling(mode, name=name, dtype="float32")([x, mask])
        elif kind == "Dense":
            x = dense_layer(path, x, name, dtype)
        else:
            x = keras.layers.UnitNormalization(name=name, dtype="float32")(x)
    return keras.Model(handle.inputs, x, name="sentence_encoder")


def _numbered(names):
    """Names of which the second of the same gets ``-1``, the third ``-2``."""
    return [name if not names[:place].count(name) else f"{name}-{names[:place].count(name)}" for place, name in enumerate(names)]


def _padding(tokenizer, rows):
    """An id for padding that no text has: what is padding is told by the id. ``rows`` is the size of the token table."""
    around = tokenizer.encode("")[0]  # Qwen3-Embedding puts its padding token behind every text
    unused = rows - 1 if rows > tokenizer.vocab_size else None
    for pad_id in (tokenizer.pad_id, unused, tokenizer.unk_id, tokenizer.mask_id, tokenizer.end_id):
        if pad_id is not None and pad_id not in around:
            return pad_id
    raise KerasSuError(
        "The tokenizer has no token that can stand for padding. Assign one, tokenizer.pad_id = 0, and pass tokenizer=."
    )


# ---- small things


def _text_list(texts):
    if isinstance(texts, (bytes, dict)) or not hasattr(texts, "__iter__"):
        raise bad_value("texts", texts, "a text or a list of texts")
    texts = list(texts)
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise bad_value(f"text {place}", text, "a text (str)")
    return texts


def _rounded(number, most=None):
    """The next power of two, or three quarters of it where that is enough; at most ``most``.

    >>> [_rounded(n) for n in (1, 3, 5, 9, 13, 100)], _rounded(100, 110)
    ([1, 3, 6, 12, 16, 128], 110)
    """
    size = 1 << (number - 1).bit_length()
    if size >= 4 and number <= size * 3 // 4:
        size = size * 3 // 4
    return size if most is None else min(size, most)


def _bar(total, progress):
    from tqdm import tqdm

    return tqdm(desc="Encoding", total=total, unit="text", disable=not progress)
