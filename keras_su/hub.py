"""From ``hf://owner/name`` and ``ms://owner/name`` to a folder on this machine.

The clients of the hubs do the transfer: ``huggingface_hub`` (which honours ``HF_ENDPOINT``, ``HF_HUB_OFFLINE``, ``HF_HOME``) and
``modelscope`` (``MODELSCOPE_CACHE``). Only what describes a model is fetched: configuration, tokenizer files, and the weights in
the first of safetensors, PyTorch, TensorFlow, Keras that the repository has. Nothing is imported before it is asked for.
"""

import fnmatch
import glob
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from keras_su.errors import KerasSuError, did_you_mean, listing, require, unknown_name

_WEB_PAGES = {
    "huggingface.co": "hf",
    "www.huggingface.co": "hf",
    "hf.co": "hf",
    "hf-mirror.com": "hf",
    "modelscope.cn": "ms",
    "www.modelscope.cn": "ms",
    "modelscope.ai": "ms",
}
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):/{0,2}(?!\\)(.*)$", re.DOTALL)
_SEGMENT = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9_-])?$", re.ASCII)
_LFS = b"version https://git-lfs"

# What a model needs beside its weights.
_SMALL = ("*.json", "*.txt", "*.model", "*.vocab", "*_Pooling/config.json", "*_Dense/config.json", "*_Normalize/config.json")
_NOT_SMALL = ("*.index.json", "trainer_state.json", "all_results.json", "*_results.json", "requirements.txt", "*LICENSE*.txt")
_NOT_WEIGHTS = ("training_args.*", "optimizer.*", "scheduler.*", "scaler.*", "rng_state*", "adapter_*")
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.index", "*.h5", "*.keras", "*.npz")


class HubError(KerasSuError):
    """A repository cannot be had: it does not exist, needs permission, is out of reach, or holds no model."""


def resolve(path):
    """A local path for whatever names a model.

    Args:
        path: ``"hf://owner/name"`` (Hugging Face) or ``"ms://owner/name"`` (ModelScope), each with an optional revision and an
            optional file: ``"hf://owner/name@v1.0/model.safetensors"``. Anything that is no such address is returned as it is.

    Returns:
        the folder of the downloaded files, or the file in it, as a string. When the hub cannot be reached, or is switched off
        with ``HF_HUB_OFFLINE=1``, what is in the local cache is used, with a warning.

    Raises:
        HubError: an address that means nothing; a repository that does not exist, needs permission, holds no model, or is neither
            reachable nor in the cache.
        MissingDependencyError: the client of the hub is not installed.

    >>> resolve("models/bert")
    'models/bert'
    """
    if not isinstance(path, str):
        return path
    address = parse(path)
    return path if address is None else _fetch(address)


@dataclass(frozen=True)
class Address:
    """The parts of ``scheme://repo@revision/file``."""

    scheme: str
    repo: str
    revision: str | None = None
    file: str | None = None

    def __str__(self):
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.scheme}://{self.repo}{revision}{f'/{self.file}' if self.file else ''}"


def parse(path):
    """The :class:`Address` that a string means, or ``None`` for a local path.

    >>> parse("hf://owner/name@main/bert_model.ckpt")
    Address(scheme='hf', repo='owner/name', revision='main', file='bert_model.ckpt')
    """
    match = _SCHEME.match(path)
    if match is None or os.path.lexists(path):
        return None
    scheme, rest = match[1].lower(), match[2]
    if scheme not in _HUBS and "://" not in path:
        return None
    if scheme in ("http", "https"):
        raise _web_page(path, rest)
    if scheme == "file":
        raise HubError(f"{path!r}: pass a local path as it is, without {match[1]}://.")
    if scheme not in _HUBS:
        raise HubError(str(unknown_name("address", f"{scheme}://", [f"{name}://" for name in _HUBS])) + " Or pass a local path.")
    if not path.lower().startswith(f"{scheme}://"):
        raise HubError(f"{path!r}: write two slashes after the colon: {scheme}://{rest.lstrip('/')}.")
    return _parse_repository(path, scheme, rest)


def looks_like_repository(path):
    """Whether a path that does not exist could be a repository whose ``hf://`` was forgotten.

    >>> looks_like_repository("google-bert/bert-base-chinese"), looks_like_repository("./models/bert")
    (True, False)
    """
    words = str(path).split("/")
    return len(words) == 2 and all(_SEGMENT.match(word) for word in words) and not os.path.exists(words[0])


def choose_files(names):
    """The files of a repository that make up its model: the small ones, and the weights in the most convenient format.

    Args:
        names: all its files, as paths relative to its root.

    Returns:
        ``(small files, weight files)``, the second empty when the repository has no weights.

    >>> choose_files(["README.md", "config.json", "vocab.txt", "pytorch_model.bin", "model.safetensors", "tf_model.h5"])
    (['config.json', 'vocab.txt'], ['model.safetensors'])
    """
    names = sorted(names)
    small = [name for name in names if _is_small(name) or _is_part(name, names)]
    weights = _standard(names, "model", ".safetensors") or _standard(names, "pytorch_model", ".bin")
    for patterns in (("*.safetensors",), ("*.bin", "*.pt", "*.pth")):
        weights = weights or [name for name in names if _in_root(name, patterns) and not _matches(name, _NOT_WEIGHTS)]
    weights = weights or _tensorflow(names)
    for patterns in (("*.h5", "*.hdf5"), ("*.keras",), ("*.npz",)):
        weights = weights or [name for name in names if _in_root(name, patterns)]
    if weights and all("/" in name for name in weights):  # a checkpoint in a folder of its own brings its configuration along
        folder = os.path.commonpath([os.path.dirname(name) for name in weights])
        small += [name for name in names if name.startswith(f"{folder}/") and _is_small(name[len(folder) + 1 :])]
    return small, weights


# ---- addresses


def _parse_repository(path, scheme, rest):
    expected = f"{scheme}://owner/name, with @revision and /file if you want"
    words = unquote(rest).rstrip("/").split("/")
    if len(words) < 2 or not all(words):
        hint = " Google's Chinese BERT is hf://google-bert/bert-base-chinese." if words == ["bert-base-chinese"] else ""
        raise HubError(f"{path!r} names no repository: expected {expected}.{hint}")
    name, at, revision = words[1].partition("@")
    file = words[2:]
    if at and revision == "refs" and len(file) >= 2:  # refs/pr/3 is one revision
        revision, file = "/".join([revision, *file[:2]]), file[2:]
    if not all(_SEGMENT.match(word) for word in (words[0], name)) or (at and not revision):
        raise HubError(f"{path!r} names no repository: expected {expected}.")
    if ".." in file:
        raise HubError(f"{path!r}: a file in a repository cannot be above its root.")
    return Address(scheme, f"{words[0]}/{name}", revision or None, "/".join(file) or None)


def _web_page(path, rest):
    host, _, page = rest.partition("/")
    scheme = _WEB_PAGES.get(host.lower())
    words = [word for word in re.split(r"[?#]", page)[0].split("/") if word]
    if words[:1] == ["models"]:
        words = words[1:]
    if scheme is None or len(words) < 2:
        return HubError(
            f"{path!r} is a web address. Download the files and pass their folder, or name a repository: hf://owner/name."
        )
    revision = f"@{words[3]}" if len(words) > 3 and words[2] in ("tree", "blob", "resolve") and words[3] != "main" else ""
    mirror = " (and set HF_ENDPOINT=https://hf-mirror.com for the mirror)" if host.lower() == "hf-mirror.com" else ""
    return HubError(f"{path!r} is a web page. Use {scheme}://{words[0]}/{words[1]}{revision} instead{mirror}.")


# ---- which files


def _matches(name, patterns):
    base = name.rsplit("/", 1)[-1]
    return any(fnmatch.fnmatchcase(base, pattern) for pattern in patterns)


def _is_small(name):
    return _in_root(name, _SMALL) and not _matches(name, _NOT_SMALL)


def _is_part(name, names):
    """Whether a file is the weights of a small module of a sentence encoder (``2_Dense/model.safetensors``)."""
    folder, _, file = name.partition("/")
    if not re.fullmatch(r"\d+_Dense", folder):
        return False
    return file == "model.safetensors" or (file == "pytorch_model.bin" and f"{folder}/model.safetensors" not in names)


def _in_root(name, patterns):
    return any(fnmatch.fnmatchcase(name, pattern) and name.count("/") == pattern.count("/") for pattern in patterns)


def _standard(names, stem, suffix):
    """The weights under the names that transformers gives them."""
    if f"{stem}{suffix}" in names:
        return [f"{stem}{suffix}"]
    index = f"{stem}{suffix}.index.json"
    return [index, *_shards(names, index)] if index in names else []


def _shards(names, index):
    stem, suffix = os.path.splitext(index.removesuffix(".index.json"))
    return [name for name in names if re.fullmatch(rf"{re.escape(stem)}-\d+-of-\d+{re.escape(suffix)}", name)]


def _tensorflow(names):
    """The one TensorFlow checkpoint nearest to the root."""
    prefixes = sorted((name.count("/"), name.removesuffix(".index")) for name in names if name.endswith(".index"))
    found = []
    for depth, prefix in prefixes:
        if depth == prefixes[0][0]:
            found += [name for name in names if re.fullmatch(rf"{re.escape(prefix)}\.(index|data-\d+-of-\d+)", name)]
    return found


def _for_file(names, file, address):
    """The files to fetch when one was asked for: with its pieces, and with what describes the model."""
    small, _ = choose_files(names)
    inside = [name for name in names if name.startswith(f"{file}/")]
    if file in names:
        chosen = [file, *(_shards(names, file) if file.endswith(".index.json") else [])]
        if _matches(file, ("*.index",)) or re.search(r"\.data-\d+-of-\d+$", file):
            chosen = [name for name in names if name.startswith(re.sub(r"\.(index|data-\d+-of-\d+)$", ".", file))]
    elif inside:
        small, chosen = [], [f"{file}/{name}" for name in sum(choose_files([name[len(file) + 1 :] for name in inside]), [])]
    else:
        chosen = [name for name in names if re.match(rf"{re.escape(file)}\.(index|data-|meta)", name)]
    if not chosen:
        raise HubError(f"{address.repo} has no file {file!r}.{did_you_mean(file, names)} It has: {listing(sorted(names))}.")
    folder = os.path.dirname(file)
    beside = [name for name in names if os.path.dirname(name) == folder and _is_small(os.path.basename(name))]
    is_weights = _matches(file, (*_WEIGHTS, "*.index.json")) or file not in names
    return sorted({*chosen, *(small + beside if is_weights else [])})


# ---- the clients


class _HuggingFace:
    title, module, extra = "Hugging Face", "huggingface_hub", "hub"
    environment = "HF_ENDPOINT names a mirror, HF_HOME the cache"

    def __init__(self, client):
        self.client = client

    def where(self):
        return require("huggingface_hub.constants").ENDPOINT

    def cache(self):
        return require("huggingface_hub.constants").HF_HUB_CACHE

    def files(self, address):
        info = self.client.HfApi().repo_info(address.repo, revision=address.revision)
        return [sibling.rfilename for sibling in info.siblings or []]

    def download(self, address, patterns):
        return self.client.snapshot_download(address.repo, revision=address.revision, allow_patterns=patterns)

    def cached(self, address):
        try:
            return self.client.snapshot_download(address.repo, revision=address.revision, local_files_only=True)
        except Exception as error:
            # IncompleteSnapshotError since version 2 of the client: not all of the repository is there, of which we never want
            # all. The caller finds out whether it is enough.
            if not hasattr(error, "snapshot_path"):
                raise
            return error.snapshot_path


class _ModelScope:
    title, module, extra = "ModelScope", "modelscope", "modelscope"
    environment = "MODELSCOPE_CACHE names the cache"

    def __init__(self, client):
        self.client = client

    def where(self):
        return "https://modelscope.cn"

    def cache(self):
        return os.environ.get("MODELSCOPE_CACHE") or "of modelscope"

    def files(self, address):
        api = require("modelscope.hub.api", self.extra, "ms://").HubApi()
        found = api.get_model_files(address.repo, revision=address.revision, recursive=True)
        return [row["Path"] for row in found if row.get("Type", "blob") != "tree"]

    def download(self, address, patterns):
        return self._snapshot(address, allow_patterns=patterns)

    def cached(self, address):
        return self._snapshot(address, local_files_only=True)

    def _snapshot(self, address, **options):
        snapshot = require("modelscope.hub.snapshot_download", self.extra, "ms://").snapshot_download
        return snapshot(address.repo, revision=address.revision, **options)


_HUBS = {"hf": _HuggingFace, "ms": _ModelScope}


def _fetch(address):
    hub = _HUBS[address.scheme]
    hub = hub(require(hub.module, hub.extra, f"{address.scheme}://"))
    try:
        names = hub.files(address)
        chosen = _wanted(names, address)
        folder = hub.download(address, [glob.escape(name) for name in chosen])
    except HubError:
        raise
    except Exception as error:  # the clients' error classes change between their versions; see _kind
        kind = _kind(error)
        if kind is None:
            raise
        if kind not in ("unreachable", "gated"):
            raise _refused(address, hub, kind, error) from error
        folder = _from_cache(address, hub, kind, error)
    _check_pointers(folder, address)
    return str(Path(folder) / (address.file or _folder_of_model(folder)))


def _wanted(names, address):
    if address.file:
        return _for_file(names, address.file, address)
    small, weights = choose_files(names)
    if not weights:
        known = ", ".join(_WEIGHTS)
        raise HubError(f"{address} holds no weights that keras_su reads ({known}). It holds: {listing(sorted(names))}.")
    return [*small, *weights]


def _folder_of_model(folder):
    """Where in a repository its only checkpoint lies, if that is a folder with a configuration of its own."""
    names = [file.relative_to(folder).as_posix() for file in Path(folder).rglob("*") if file.is_file()]
    _, weights = choose_files(names)
    inside = os.path.commonpath([os.path.dirname(name) for name in weights]) if weights else ""
    return inside if any(_in_root(name[len(inside) + 1 :], ("*config*.json",)) for name in names if inside) else ""


def _from_cache(address, hub, kind, error):
    """The folder of an earlier download."""
    try:
        folder = hub.cached(address)
        names = [str(file.relative_to(folder)).replace(os.sep, "/") for file in Path(folder).rglob("*") if file.is_file()]
    except Exception as missing:
        raise _refused(address, hub, kind, error) from missing
    try:
        _wanted(names, address)
    except HubError as incomplete:
        if kind == "gated":
            raise _refused(address, hub, kind, error) from error
        raise HubError(f"{_unreachable(hub, error)} The cache has only a part of {address.repo}: {incomplete}") from error
    warnings.warn(f"{_unreachable(hub, error)} Using the copy of {address.repo} in the cache: {folder}", stacklevel=4)
    return folder


def _kind(error):
    """What went wrong, in words that both clients share; ``None`` for a mistake that is not about the hub."""
    classes = {base.__name__ for base in type(error).__mro__}
    status = getattr(error, "status_code", None) or getattr(getattr(error, "response", None), "status_code", None)
    if "GatedRepoError" in classes or classes & {"PermissionDeniedError", "AuthenticationError", "DisabledRepoError"}:
        return "gated"
    if "RevisionNotFoundError" in classes or "NoValidRevisionError" in classes:
        return "revision"
    if classes & {"OfflineModeIsEnabled", "LocalEntryNotFoundError", "NetworkError", "CacheNotFound"}:
        return "unreachable"
    if classes & {"RepositoryNotFoundError", "NotExistError"} or status == 404:
        return "missing"
    if status in (401, 403):
        return "gated"
    modules = {base.__module__.split(".")[0] for base in type(error).__mro__}
    if isinstance(error, OSError) or modules & {"requests", "httpx", "urllib3"} or (status or 0) >= 429:
        return "unreachable"
    return None


def _first_line(error):
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:200]}{'...' if len(words) > 200 else ''}"


def _unreachable(hub, error):
    if "OfflineModeIsEnabled" in {base.__name__ for base in type(error).__mro__}:
        return f"{hub.title} is switched off (HF_HUB_OFFLINE is set)."
    if _kind(error) == "gated":
        return f"{hub.title} refuses access."
    return f"{hub.title} cannot be reached at {hub.where()} ({_first_line(error)})."


def _refused(address, hub, kind, error):
    local = "A local folder with the same files works, too: pass its path."
    if kind == "gated":
        text = (
            f"{hub.title} refuses access to {address.repo}: it is private, or its licence must be accepted on its page first. "
            f"Log in with the client ({hub.module}) and try again. ({_first_line(error)})"
        )
    elif kind == "revision":
        text = f"{address.repo} on {hub.title} has no revision {address.revision!r}. Tags, branches and commits count."
    elif kind == "missing":
        text = (
            f"{hub.title} has no repository {address.repo!r} that can be seen without logging in. "
            f"Check the spelling (owner/name) at {hub.where()}."
        )
    else:
        revision = f" at revision {address.revision!r}" if address.revision else ""
        cache = f"The cache ({hub.cache()}) holds no copy of {address.repo!r}{revision}."
        text = f"{_unreachable(hub, error)} {cache} {hub.environment}."
    return HubError(f"{address}: {text} {local}")


def _check_pointers(folder, address):
    """Mirrors made without git-lfs hold text files of a few lines where the weights should be."""
    pointers = []
    for file in sorted(Path(folder).rglob("*")):
        if file.is_file() and file.stat().st_size < 1024:
            with open(file, "rb") as stream:
                if stream.read(len(_LFS)) == _LFS:
                    pointers.append(file.name)
    if pointers:
        raise HubError(
            f"{address}: {listing(pointers)} in {folder} are git-lfs pointers, not the files themselves. Run `git lfs pull` "
            f"there, or delete the folder and download again."
        )
