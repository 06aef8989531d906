"""One conversion from beginning to end."""

import json
import shutil
import sys
import warnings
import zipfile
from contextlib import nullcontext
from dataclasses import dataclass, field

import keras
import numpy as np
from tqdm import tqdm

from keras_su.errors import CheckpointError, KerasSuError, listing, unknown_name
from keras_su.models import build_transformer_model
from keras_su.models.registry import choose_family, find_family
from keras_su.weights import write_hf_folder, write_tf_bundle
from keras_su.weights.load import choose_map
from weights_convert import verify
from weights_convert.dropped import UNTIED, explain
from weights_convert.heads import find_heads, sketch
from weights_convert.report import Report
from weights_convert.source import KEY, find_source, pack
from weights_convert.target import check_target, publishing
from weights_convert.vocabulary import reduce_files, remap_ids

FORMATS = {"hf": "torch", "tf": "tf", "keras": None}
"""Targets, and the dialect of tensor names that each needs a table of."""

DTYPES = ("float16", "bfloat16", "float32")
_VOCABULARY_SIZES = ("vocab_size", "padded_vocab_size", "n_vocab")


@dataclass(kw_only=True)
class Request:
    """What to convert.

    Args:
        source: address, folder, file or prefix of the checkpoint.
        target: folder (``"hf"``, ``"tf"``) or ``.keras`` file to write.
        format: ``"hf"``, ``"tf"`` or ``"keras"``.
        model: family name; default is to find out.
        config: configuration file; default is the one beside the weights.
        dtype: ``"float16"``, ``"bfloat16"``, ``"float32"``; default is that of the source, and float32 for ``"keras"``.
        keep_tokens: ids of the vocabulary to keep, in their new order.
        settings: settings for ``build_transformer_model`` beyond the configuration, e.g. ``{"with_pool": "linear"}``.
        verify: compare the result with the source before it gets its name.
        force: replace an existing checkpoint.
        progress: whether to show progress; default is when a person looks on.
    """

    source: str
    target: str
    format: str
    model: str | None = None
    config: str | None = None
    dtype: str | None = None
    keep_tokens: list | None = None
    settings: dict = field(default_factory=dict)
    verify: bool = False
    force: bool = False
    progress: bool | None = None

    def __post_init__(self):
        if self.format not in FORMATS:
            raise unknown_name("format", self.format, FORMATS)
        if self.dtype is not None and self.dtype not in DTYPES:
            raise unknown_name("dtype", self.dtype, DTYPES)
        if self.model is not None:
            find_family(self.model)


def convert(request):
    """Carry out a conversion.

    Args:
        request: a :class:`Request`.

    Returns:
        :class:`~weights_convert.report.Report`.

    Raises:
        KerasSuError: the source cannot be read, does not fit the family, the family has no such format, the target exists, or
            the result differs from the source. Nothing has been written then.
    """
    return Conversion(request).run()


def formats_of(family):
    """The targets that a family can be written as."""
    dialects = {name_map.format for name_map in family.maps}
    possible = {"hf": "torch" in dialects and bool(family.model_types), "tf": "tf" in dialects, "keras": True}
    return [name for name in FORMATS if possible[name]]


class Conversion:
    """The steps of a conversion, and what they know of each other."""

    def __init__(self, request):
        self.request = request
        self.report = Report(str(request.source), str(request.target), request.format)
        self.checksums = {}

    def run(self):
        request = self.request
        is_folder = request.format != "keras"
        check_target(request.target, is_folder, request.force)
        self.source = find_source(request.source, request.config)
        check_target(request.target, is_folder, request.force, self.source.weights)
        self._choose_model()
        self._load()
        self._describe_names()
        with publishing(request.target, is_folder) as path:
            getattr(self, f"_write_{request.format}")(path)
            if request.verify:
                self._verify(path)
        return self.report

    # ---- reading

    def _choose_model(self):
        """The family, the settings with all heads of the file, and which of our variables have which tensor."""
        source, request = self.source, self.request
        self.values = source.values
        if request.keep_tokens is not None:
            self.values, lost = remap_ids(source.values, request.keep_tokens)
            self.report.notes += [f"{name}={source.values[name]} is not among the kept tokens, and left out" for name in lost]
        with source.open() as reader:
            self.family = self._find_family(reader)
            if request.format not in formats_of(self.family):
                possible = listing(formats_of(self.family))
                raise KerasSuError(f"Model {self.family.name!r} cannot be written as {request.format!r}. Possible: {possible}.")
            self.target_map = next((m for m in self.family.maps if m.format == FORMATS[request.format]), None)
            names = reader.names()
            self.report.source_tensors = len(names)
            self.report.source_bytes = sum(int(np.prod(reader.shape(n))) * reader.dtype(n).itemsize for n in names)
            if source.format in ("keras", "keras3"):
                self._choose_heads_by_layers(reader)
                return
            self._check_has_map()
            self.name_map = choose_map(reader, self.family.maps)
            self.canonical = self.name_map.canonical(names)
            self.settings, skipped = find_heads(
                self.family, self.values, request.settings, self._has_tensor, self._has_place, reader
            )
            drawn = sketch(self.family, self.values, self.settings, reader)
            found = {path: self.name_map.find(path) for path in drawn.variables}
            self.tensor_of = {
                path: self.canonical[row.name] for path, row in found.items() if row is not None and row.name in self.canonical
            }
            used = set(self.tensor_of.values())
            self.source_dtypes = {name: reader.dtype(name).name for name in used}
            self.report.dropped = explain(reader, self.name_map, self.canonical, used, self.family, skipped)
            self.report.notes += [f"{name} {told}" for name, told in self.report.dropped.items() if told.startswith(UNTIED)]

    def _find_family(self, reader):
        wanted = self.request.model or self.source.metadata.get("family")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return choose_family(wanted, self.values, reader.names())
            except KerasSuError as error:
                raise KerasSuError(f"{error} On the command line it is --model NAME.") from error

    def _has_tensor(self, path):
        row = self.name_map.find(path)
        return self.name_map.keeps_initial_value(path) or (row is not None and row.name in self.canonical)

    def _has_place(self, path):
        return self.target_map is None or self.target_map.find(path) is not None

    def _check_has_map(self):
        if not self.family.maps:
            raise KerasSuError(f"Model {self.family.name!r} has no name tables, so only .keras files can be read for it.")

    def _choose_heads_by_layers(self, reader):
        """Files of Keras. Our own conversions say what they are; of others, the names of the layers tell the heads."""
        known = self.source.metadata.get("settings")
        if known is not None:
            self.settings = {**known, **self.request.settings}
            return
        names = reader.layers() if self.source.format == "keras" else _layer_names(self.source.weights)
        present = lambda path: names is None or path.split("/")[0] in names  # noqa: E731
        self.settings, _ = find_heads(self.family, self.values, self.request.settings, present, self._has_place)

    def _load(self):
        """Build the model and fill it."""
        self._say(f"reading {self.source.given}")
        keep = self.request.keep_tokens
        if self.source.format not in ("keras", "keras3"):
            self.handle = self._build(self.source.weights, keep_tokens=keep)
        else:
            handle = self._load_keras_file()
            self._name_layers(handle)
            if keep is None:
                self.handle = handle
            else:
                self._check_has_map()
                self.handle = self._build(dict(handle.tensors(self.family.maps[0].format)), keep_tokens=keep)
        if keep is not None:
            self._note_vocabulary()

    def _load_keras_file(self):
        if self.source.format == "keras":
            return self._build(self.source.weights)
        handle = self._build(None)
        try:
            handle.model.load_weights(self.source.weights)
        except (ValueError, OSError, KeyError) as error:
            hint = "" if self.source.metadata else " A head that it lacks can be left out, e.g. --set with_pool=false."
            raise CheckpointError(f"{self.source.given} does not fit model {self.family.name!r}: {error}{hint}") from error
        return handle

    def _name_layers(self, handle):
        """Files of Keras 3 name nothing, hence our paths; those of Keras 2 list the weights of each layer in order."""
        variables = handle.variables()
        self.tensor_of = {path: path for path in variables}
        self.source_dtypes = {path: str(variable.dtype) for path, variable in variables.items()}
        if self.source.format == "keras":
            paths = {variable.path: path for path, variable in variables.items()}
            with self.source.open() as reader:
                for name, tensors in reader.layers().items():
                    weights = [w for w in getattr(handle.layers.get(name), "weights", ()) if "seed_generator" not in w.path]
                    self.tensor_of |= {paths[w.path]: tensor for w, tensor in zip(weights, tensors)}
                    self.source_dtypes |= {tensor: reader.dtype(tensor).name for tensor in tensors}
                    if not weights:
                        reason = f"of layer {name!r}, which this model does not have"
                        self.report.dropped |= dict.fromkeys(tensors, reason)

    def _build(self, checkpoint, values=None, dtype="float32", **arguments):
        values = dict(self.values if values is None else values)
        if arguments.get("keep_tokens") is not None and "pad_token_id" in values:
            values["pad_token_id"] = self.source.values["pad_token_id"]  # which the builder renumbers itself
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what was not used is in the report of the conversion
            return build_transformer_model(
                values,
                checkpoint,
                model=self.family,
                return_keras_model=False,
                dtype=dtype,
                **self.settings,
                **arguments,
            )

    def _note_vocabulary(self):
        keep = self.request.keep_tokens
        before = next((self.source.values[name] for name in _VOCABULARY_SIZES if name in self.source.values), None)
        self.report.vocabulary = (before, self.handle.spec.vocab_size)
        if keep[0] != 0 and self.handle.spec.embeddings.pad_id == 0:
            self.report.notes.append(f"id 0 counts as padding; in the new vocabulary that is the old token {keep[0]}")

    # ---- names and dtypes

    def _describe_names(self):
        """Fill the report: which tensor becomes which."""
        self.report.family, self.report.settings = self.family.name, dict(self.settings)
        unknown = self.handle.config.done()
        if unknown:
            self.report.notes.append(f"settings of the configuration that are not known, and left alone: {', '.join(unknown)}")
        self.target_names = {}
        for path in self.handle.variables():
            row = None if self.target_map is None else self.target_map.find(path)
            self.target_names[path] = path if self.target_map is None else row and row.name
        pairs = []
        for path, target in self.target_names.items():
            if path in self.tensor_of and target is not None:
                pairs.append((self.tensor_of[path], target))
        self.report.renamed = list(dict.fromkeys(pairs))
        self.before = {}
        for theirs, ours in self.report.renamed:
            self.before.setdefault(ours, self.source_dtypes.get(theirs))
        self.dtype = self.request.dtype or self._default_dtype()
        if self.request.keep_tokens is None:
            self.files = dict(self.source.files)
        else:
            self.files, self.report.left_out = reduce_files(self.source.files, self.request.keep_tokens)

    def _default_dtype(self):
        """That of the source if all its tensors have one, so that a file in half precision does not grow."""
        found = set(self.source_dtypes.values())
        return found.pop() if self.request.format != "keras" and found in ({"float16"}, {"bfloat16"}) else "float32"

    def _tensors(self, dialect):
        """The tensors for a writer, cast, counted and, for verification, remembered."""
        total = len(set(self.target_names.values()))
        with self._bar(total) as bar:
            for name, array in self.handle.tensors(dialect):
                if array.dtype.kind == "f" or array.dtype.name == "bfloat16":
                    array = _cast(array, self.dtype)
                self._count(name, array.dtype.name, array.nbytes)
                if self.request.verify:
                    self.checksums[name] = verify.checksum(array)
                bar.update()
                yield name, array

    def _count(self, name, dtype, size):
        report = self.report
        report.target_tensors += 1
        report.target_bytes += size
        report.dtypes[dtype] = report.dtypes.get(dtype, 0) + 1
        before = self.before.get(name)
        if before is not None and before != dtype:
            report.casts[name] = (before, dtype)

    # ---- writing

    def _write_hf(self, folder):
        try:
            config = self.family.hugging_face_config(self.handle.config, self.handle.spec)
        except KerasSuError as error:
            raise KerasSuError(f"{error} What only follows from a default can be changed with --set NAME=VALUE.") from error
        if self.dtype != "float32":
            config["torch_dtype"] = self.dtype
        write_hf_folder(folder, config, self._tensors("torch"))
        self._copy(folder, self.files)

    def _write_tf(self, folder):
        write_tf_bundle(folder / "bert_model.ckpt", self._tensors("tf"))
        chosen = {name: value for name, value in self.request.settings.items() if not _is_use(name)}
        config = {**self._config_for_build(), **chosen}
        (folder / "bert_config.json").write_text(_dump(config), encoding="utf-8")
        wanted = {name: text for name, text in self.files.items() if name == "vocab.txt" or name.endswith(".model")}
        for name in self.files.keys() - wanted.keys():
            self.report.left_out.setdefault(name, "belongs to Hugging Face folders")
        self._copy(folder, wanted)

    def _write_keras(self, path):
        handle = self.handle
        if self.dtype != "float32":
            handle = self._build(None, self._config_for_build(), dtype=self.dtype)
            for path_, variable in self.handle.variables().items():
                handle.variables()[path_].assign(variable.value)
        for name, variable in handle.variables().items():
            self._count(name, str(variable.dtype), int(np.prod(variable.shape)) * np.dtype(_numpy(variable.dtype)).itemsize)
        plain = path.with_name(f"plain.{path.name}")
        handle.model.save(plain)
        metadata = {
            "family": self.family.name,
            "config": self._config_for_build(),
            "settings": self.settings,
            "files": pack(self.files),
        }
        _add_metadata(plain, path, metadata)
        plain.unlink()
        self.report.files = sorted(self.files)
        self.written = handle

    def _config_for_build(self):
        """The configuration of the model as it is now."""
        values = {name: value for name, value in self.values.items() if name not in ("auto_map", "transformers_version")}
        for name in _VOCABULARY_SIZES:
            if name in values:
                values[name] = self.handle.spec.vocab_size
        if not set(_VOCABULARY_SIZES) & values.keys():
            values["vocab_size"] = self.handle.spec.vocab_size
        return values

    def _copy(self, folder, files):
        for name, content in files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        self.report.files = sorted(files)

    # ---- verification

    def _verify(self, path):
        self._say("verifying")
        inputs = verify.random_batch(self.handle)
        expected = verify.run(self.handle.model, inputs)
        tolerance = verify.TOLERANCES[self.dtype]
        if self.request.format == "keras":
            model = keras.models.load_model(path)
            count = _compare_variables(self.written.model, model)
        else:
            weights = path / "bert_model.ckpt" if self.request.format == "tf" else path
            count = verify.compare_tensors(weights, self.checksums)
            config = "bert_config.json" if self.request.format == "tf" else "config.json"
            model = self._build(str(weights), json.loads((path / config).read_text(encoding="utf-8"))).model
        found = verify.run(model, inputs)
        outputs = verify.compare_outputs(expected, found, tolerance)
        self.report.verified = {"outputs": outputs, "tolerance": tolerance, "tensors": count}

    # ---- telling

    def _bar(self, total):
        if self.request.progress is False:
            return nullcontext(_Silent())
        disable = None if self.request.progress is None else False
        return tqdm(total=total, desc=f"writing {self.request.format}", unit="tensor", disable=disable, leave=False)

    def _say(self, text):
        if self.request.progress or (self.request.progress is None and sys.stderr.isatty()):
            print(f"{text} ...", file=sys.stderr)


class _Silent:
    def update(self):
        pass


def _cast(array, dtype):
    if array.dtype.name == dtype:
        return array
    import ml_dtypes

    with np.errstate(over="ignore"):
        cast = array.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    if np.isfinite(array).all() and not np.isfinite(cast.astype("float32")).all():
        largest = np.abs(array).max()
        raise CheckpointError(f"A tensor has values up to {largest:.3g}, which {dtype} cannot hold. Use bfloat16 or float32.")
    return cast


def _numpy(dtype):
    import ml_dtypes

    return ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype


def _is_use(name):
    """Whether a setting says what a model is used for, which is not written into its configuration."""
    return name == "application" or name.startswith("with_")


def _dump(values):
    return json.dumps(values, ensure_ascii=False, indent=2) + "\n"


def _layer_names(path):
    """Names of the layers in a ``.keras`` file, or ``None`` when the file does not tell."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    found, pending = set(), [config]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if isinstance(item.get("name"), str):
                found.add(item["name"])
            pending += item.values()
        elif isinstance(item, list):
            pending += item
    return found


def _add_metadata(plain, path, metadata):
    """Copy a ``.keras`` file with more in its ``metadata.json``."""
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            if entry.filename == "metadata.json":
                new.writestr("metadata.json", json.dumps({**json.loads(old.read(entry)), KEY: metadata}, ensure_ascii=False))
                continue
            with old.open(entry) as stream, new.open(entry.filename, "w", force_zip64=True) as copy:
                shutil.copyfileobj(stream, copy, 1 << 20)


def _compare_variables(written, found):
    ours, theirs = ([v for v in model.variables if "seed_generator" not in v.path] for model in (written, found))
    array = lambda variable: keras.ops.convert_to_numpy(variable.value)  # noqa: E731
    wrong = [a.path for a, b in zip(ours, theirs, strict=True) if not np.array_equal(array(a), array(b))]
    if wrong:
        raise CheckpointError(f"Verification failed: variables read back differ: {listing(wrong)}. Nothing was written.")
    return len(ours)
