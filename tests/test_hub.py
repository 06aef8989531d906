"""hf:// and ms:// addresses: against a small server on this machine, and against a cache made by hand."""

import http.server
import json
import sys
import threading
import types
import warnings
from pathlib import Path

import huggingface_hub
import pytest
from helpers import run_in_fresh_process
from huggingface_hub import constants, file_download

from keras_su import hub
from keras_su.errors import MissingDependencyError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 400000000\n"
FILES = {
    "config.json": b'{"model_type": "bert"}',
    "vocab.txt": b"[PAD]\n[UNK]\n",
    "README.md": b"a model",
    "model.safetensors": b"safe",
    "pytorch_model.bin": b"pickled",
    "training_args.bin": b"pickled",
    "1_Pooling/config.json": b"{}",
    "tf/bert_model.ckpt.index": b"index",
    "tf/bert_model.ckpt.data-00000-of-00001": b"data",
    "tf/vocab.txt": b"[PAD]\n",
    "tf/bert_config.json": b"{}",
}
REPOSITORIES = {
    "owner/name": FILES,
    "owner/pointers": {"config.json": b"{}", "model.safetensors": POINTER},
    "owner/dataset": {"README.md": b"no model", "train.csv": b"1"},
    "owner/tensorflow": {name: text for name, text in FILES.items() if name.startswith("tf/") or name == "README.md"},
}


class Server(http.server.BaseHTTPRequestHandler):
    """As much of the Hugging Face hub as its client asks for."""

    def log_message(self, *_):
        pass

    def refuse(self, code, reason):
        self.send_response(code)
        self.send_header("X-Error-Code", reason)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.server.requests.append(self.path)
        words = self.path.strip("/").split("/")
        is_information = words[:2] == ["api", "models"]
        owner, name, *rest = words[2:] if is_information else words
        repository = REPOSITORIES.get(f"{owner}/{name}")
        if self.server.down:
            return self.refuse(503, "")
        if name == "gated" and is_information:
            return self.answer(json.dumps(self.information({"config.json": b"", "model.safetensors": b""}, rest)).encode())
        if name == "gated":
            return self.refuse(403, "GatedRepo")
        if repository is None:
            return self.refuse(401, "RepoNotFound")
        if rest[:1] == ["revision"] and rest[1:] != ["main"] and rest[1:] != ["v1"]:
            return self.refuse(404, "RevisionNotFound")
        if is_information:
            return self.answer(json.dumps(self.information(repository, rest)).encode())
        return self.answer(repository["/".join(rest[2:])])

    def information(self, files, asked):
        if asked[:1] == ["tree"]:  # of version 1 and later of the client
            return [{"type": "file", "path": name, "size": len(text), "oid": "0" * 40} for name, text in files.items()]
        names = list(files)
        return {"id": "owner/name", "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}

    def answer(self, content):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{abs(hash(content)):040x}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A hub under HF_ENDPOINT, with an empty cache. The client read its environment when it was imported, hence the patches."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.requests, server.down = [], False
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    for module in (constants, file_download):  # where it is depends on the version
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def files_in(folder):
    return sorted(str(file.relative_to(folder)) for file in Path(folder).rglob("*") if file.is_file())


# ---- addresses


@pytest.mark.parametrize(
    "path", ["models/bert", "/a/b", "./owner/name", "bert_model.ckpt", "C:\\models\\bert", "a:b", Path("x"), None]
)
def test_a_local_path_passes_untouched(path):
    assert hub.resolve(path) is path


def test_a_dictionary_passes_untouched():
    arrays = {"a": [1]}
    assert hub.resolve(arrays) is arrays


@pytest.mark.parametrize(
    "path, expected",
    [
        ("hf://owner/name", ("hf", "owner/name", None, None)),
        ("HF://owner/name/", ("hf", "owner/name", None, None)),
        ("hf://owner/name@v1.0", ("hf", "owner/name", "v1.0", None)),
        ("hf://owner/name@refs/pr/3/model.safetensors", ("hf", "owner/name", "refs/pr/3", "model.safetensors")),
        ("hf://owner/name@feature%2Fx", None),
        ("ms://iic/nlp_bert@master/sub/bert_model.ckpt", ("ms", "iic/nlp_bert", "master", "sub/bert_model.ckpt")),
    ],
)
def test_addresses(path, expected):
    found = hub.parse(path)
    if expected is not None:
        assert (found.scheme, found.repo, found.revision, found.file) == expected


@pytest.mark.parametrize(
    "path, words",
    [
        ("https://huggingface.co/owner/name", "Use hf://owner/name instead"),
        ("https://huggingface.co/owner/name/tree/main", "Use hf://owner/name instead"),
        ("https://huggingface.co/owner/name/resolve/v2/model.bin", "Use hf://owner/name@v2 instead"),
        ("https://hf-mirror.com/owner/name", "HF_ENDPOINT=https://hf-mirror.com"),
        ("https://modelscope.cn/models/owner/name/summary", "Use ms://owner/name instead"),
        ("https://example.com/model.zip", "Download the files"),
        ("hf://name", "names no repository: expected hf://owner/name"),
        ("hf://bert-base-chinese", "hf://google-bert/bert-base-chinese"),
        ("hf://owner/name@", "names no repository"),
        ("hf://owner/na me", "names no repository"),
        ("hf://owner/name/../../x", "cannot be above its root"),
        ("hf:owner/name", "two slashes after the colon: hf://owner/name"),
        ("hf:/owner/name", "two slashes after the colon: hf://owner/name"),
        ("hff://owner/name", "Did you mean 'hf://'"),
        ("s3://bucket/name", "Known: hf://, ms://"),
        ("file:///tmp/x", "pass a local path as it is"),
    ],
)
def test_mistakes_are_told(path, words):
    with pytest.raises(hub.HubError) as error:
        hub.resolve(path)
    assert words in str(error.value)


# ---- which files


@pytest.mark.parametrize(
    "names, small, weights",
    [
        (["a.safetensors", "pytorch_model.bin"], [], ["pytorch_model.bin"]),
        (["a.safetensors", "b.bin"], [], ["a.safetensors"]),
        (["model.fp16.safetensors", "model.safetensors"], [], ["model.safetensors"]),
        (
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json", "x.bin"],
            [],
            ["model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
        ),
        (["bert_model.ckpt.index", "bert_model.ckpt.meta", "bert_model.ckpt.data-00000-of-00001", "bert_config.json"],
         ["bert_config.json"], ["bert_model.ckpt.data-00000-of-00001", "bert_model.ckpt.index"]),
        (["tf_model.h5", "spiece.model", "trainer_state.json", "LICENSE.txt"], ["spiece.model"], ["tf_model.h5"]),
        (["training_args.bin", "optimizer.pt", "config.json"], ["config.json"], []),
        (["x/y.ckpt.index", "x/y.ckpt.data-00000-of-00001", "x/vocab.txt", "config.json"],
         ["config.json", "x/vocab.txt"], ["x/y.ckpt.data-00000-of-00001", "x/y.ckpt.index"]),
    ],
)  # fmt: skip
def test_the_best_format_is_chosen(names, small, weights):
    assert hub.choose_files(names) == (small, weights)


# ---- Hugging Face


def test_a_repository_is_downloaded_and_later_taken_from_the_cache(server):
    folder = hub.resolve("hf://owner/name")
    assert files_in(folder) == ["1_Pooling/config.json", "config.json", "model.safetensors", "vocab.txt"]
    assert (Path(folder) / "vocab.txt").read_bytes() == FILES["vocab.txt"]
    before = len(server.requests)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hub.resolve("hf://owner/name") == folder
    assert not any("resolve" in path for path in server.requests[before:])  # files are not transferred again

    server.down = True
    with pytest.warns(UserWarning, match="cannot be reached.*Using the copy of owner/name in the cache"):
        assert hub.resolve("hf://owner/name") == folder


def test_a_client_that_misses_what_was_never_asked_for(server, monkeypatch):
    """Version 2 of the client refuses a cached copy without the README; the weights are all that is needed."""
    folder, complete = hub.resolve("hf://owner/name"), huggingface_hub.snapshot_download

    def snapshot_download(*arguments, local_files_only=False, **options):
        found = complete(*arguments, local_files_only=local_files_only, **options)
        if not local_files_only:
            return found
        error = FileNotFoundError("The cached snapshot is incomplete")
        error.snapshot_path = found
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    server.down = True
    with pytest.warns(UserWarning, match="Using the copy of owner/name in the cache"):
        assert hub.resolve("hf://owner/name") == folder


def test_one_file_comes_with_what_describes_it(server):
    path = hub.resolve("hf://owner/name@v1/pytorch_model.bin")
    assert Path(path).read_bytes() == b"pickled"
    assert files_in(Path(path).parent) == ["1_Pooling/config.json", "config.json", "pytorch_model.bin", "vocab.txt"]
    prefix = hub.resolve("hf://owner/name/tf/bert_model.ckpt")
    assert [f for f in files_in(Path(prefix).parent) if "ckpt" in f] == [
        "bert_model.ckpt.data-00000-of-00001",
        "bert_model.ckpt.index",
    ]
    assert Path(hub.resolve("hf://owner/name/vocab.txt")).name == "vocab.txt"
    assert files_in(hub.resolve("hf://owner/name/tf"))[-1] == "vocab.txt"


def test_a_checkpoint_in_a_folder_of_its_own(server):
    folder = hub.resolve("hf://owner/tensorflow")
    assert Path(folder).name == "tf" and files_in(folder)[0] == "bert_config.json"


@pytest.mark.parametrize(
    "path, words",
    [
        ("hf://owner/nowhere", ["no repository 'owner/nowhere'", "local folder"]),
        ("hf://owner/name@v7", ["no revision 'v7'", "local folder"]),
        ("hf://owner/gated", ["refuses access to owner/gated", "licence", "local folder"]),
        ("hf://owner/pointers", ["model.safetensors", "git-lfs pointers", "git lfs pull"]),
        ("hf://owner/dataset", ["holds no weights", "README.md, train.csv"]),
        ("hf://owner/name/vocab.tx", ["no file 'vocab.tx'", "Did you mean 'vocab.txt'"]),
    ],
)
def test_refusals_are_told(server, path, words):
    with pytest.raises(hub.HubError) as error:
        hub.resolve(path)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_out_of_reach_and_not_in_the_cache(server):
    server.down = True
    with pytest.raises(hub.HubError) as error:
        hub.resolve("hf://owner/name@v1")
    for word in (
        "cannot be reached at http://127.0.0.1",
        "holds no copy of 'owner/name' at revision 'v1'",
        "HF_ENDPOINT",
        "folder",
    ):
        assert word in str(error.value)


def fabricate_cache(folder, files):
    """A cache as huggingface_hub lays it out."""
    root = folder / "models--owner--name"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    for name, content in files.items():
        path = root / "snapshots" / COMMIT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root / "snapshots" / COMMIT


def test_switched_off_with_a_variable(tmp_path):
    folder = fabricate_cache(tmp_path / "hub", {"config.json": b"{}", "model.safetensors": b"safe"})
    code = """
import warnings
from keras_su import hub
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    print(hub.resolve("hf://owner/name"))
print(*[warning.message for warning in caught if "Hugging Face" in str(warning.message)])
try:
    hub.resolve("hf://owner/other")
except hub.HubError as error:
    print(error)
"""
    found, told, refused = run_in_fresh_process(code, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path)).strip().splitlines()
    assert found == str(folder)
    assert "HF_HUB_OFFLINE is set" in told and "in the cache" in told
    assert "holds no copy of 'owner/other'" in refused


def test_a_cache_with_a_part_only(server, tmp_path):
    fabricate_cache(tmp_path / "cache", {"config.json": b"{}"})
    server.down = True
    with pytest.raises(hub.HubError, match="The cache has only a part of owner/name: .* holds no weights"):
        hub.resolve("hf://owner/name")


# ---- ModelScope


class NotExistError(Exception):
    pass


class NetworkError(ConnectionError):
    pass


@pytest.fixture
def modelscope(monkeypatch, tmp_path):
    """A client that knows one repository; ``state["error"]`` is raised instead of an answer."""
    state = {"error": None, "cached": True, "asked": []}

    class HubApi:
        def get_model_files(self, model_id, revision=None, recursive=False):
            if state["error"]:
                raise state["error"]
            return [{"Path": name, "Type": "blob"} for name in FILES] + [{"Path": "tf", "Type": "tree"}]

    def snapshot_download(model_id, revision=None, allow_patterns=None, local_files_only=False):
        state["asked"].append((model_id, revision, allow_patterns, local_files_only))
        if local_files_only and not state["cached"]:
            raise ValueError("not in the cache")
        for name, content in FILES.items():
            if local_files_only or name in allow_patterns:
                (tmp_path / name).parent.mkdir(exist_ok=True)
                (tmp_path / name).write_bytes(content)
        return str(tmp_path)

    for name, content in {
        "modelscope": {},
        "modelscope.hub": {},
        "modelscope.hub.api": {"HubApi": HubApi},
        "modelscope.hub.snapshot_download": {"snapshot_download": snapshot_download},
    }.items():
        module = types.ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return state


def test_modelscope(modelscope, tmp_path):
    assert hub.resolve("ms://owner/name@v2") == str(tmp_path)
    assert modelscope["asked"] == [
        ("owner/name", "v2", ["1_Pooling/config.json", "config.json", "vocab.txt", "model.safetensors"], False)
    ]


def test_modelscope_out_of_reach(modelscope, tmp_path):
    modelscope["error"] = NetworkError("no route to host")
    with pytest.warns(UserWarning, match="ModelScope cannot be reached .*no route.* in the cache"):
        assert hub.resolve("ms://owner/name") == str(tmp_path)
    modelscope["cached"] = False
    with pytest.raises(hub.HubError, match="holds no copy of 'owner/name'"):
        hub.resolve("ms://owner/name")
    modelscope["error"] = NotExistError("404")
    with pytest.raises(hub.HubError, match="ModelScope has no repository 'owner/name'"):
        hub.resolve("ms://owner/name")


def test_a_mistake_of_the_client_is_not_hidden(modelscope):
    modelscope["error"] = TypeError("a bug")
    with pytest.raises(TypeError, match="a bug"):
        hub.resolve("ms://owner/name")


@pytest.mark.parametrize("scheme, module, extra", [("hf", "huggingface_hub", "hub"), ("ms", "modelscope", "modelscope")])
def test_a_missing_client(monkeypatch, scheme, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=rf'pip install "keras_su\[{extra}\]"'):
        hub.resolve(f"{scheme}://owner/name")


def test_nothing_is_imported_before_it_is_needed():
    code = """
import sys, keras
before = set(sys.modules)
import keras_su.hub as hub
hub.resolve("a/b")
print([name for name in set(sys.modules) - before if name.startswith(("huggingface_hub", "modelscope", "requests", "httpx"))])
"""
    assert run_in_fresh_process(code).strip() == "[]"
