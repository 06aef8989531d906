"""The web service: answers, errors of clients and of functions, and one thread for all models."""

import sys
import threading

import numpy as np
import pytest

from keras_su.errors import KerasSuError, MissingDependencyError
from keras_su.snippets import WebServing

testclient = pytest.importorskip("fastapi.testclient")
pytest.importorskip("httpx")

ARGUMENTS = {"text": (None, True), "n": (int, False)}


def repeat(text, n=2):
    """Text several times."""
    return {"text": text * n, "counts": np.arange(n), "share": np.float32(0.5)}


def broken():
    raise LookupError("no such thing")


@pytest.fixture(scope="module")
def web():
    web = WebServing(port=8864)
    web.route("/repeat", repeat, ARGUMENTS)
    web.route("/form", repeat, ARGUMENTS, method="POST")
    for name, func in (("broken", broken), ("nan", lambda: float("nan")), ("object", lambda: {"a": object()})):
        web.route(f"/{name}", func, {})
    web.route("/empty", lambda: "好", {}, method="POST")
    return web


@pytest.fixture(scope="module")
def client(web):
    return testclient.TestClient(web.app)


def test_answers(web, client):
    assert (web.host, web.port) == ("0.0.0.0", 8864)
    answers = [
        client.get("/repeat", params={"text": "你好"}),
        client.get("/repeat?text=你好&n=2&other=1"),
        client.post("/form", data={"text": "你好"}),
        client.post("/form", json={"text": "你好", "n": 2}),
    ]
    for answer in answers:
        reply = answer.json()
        assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
        assert reply.pop("cost") >= 0
        assert reply == {"code": 0, "desc": "succeeded", "data": {"text": "你好你好", "counts": [0, 1], "share": 0.5}}
        assert "你好" in answer.text
    assert client.post("/empty").json()["data"] == "好"
    assert client.get("/repeat?text=").json()["data"]["text"] == ""
    assert client.get("/openapi.json").json()["paths"]["/repeat"]["get"]["description"] == "Text several times."


def test_what_clients_do_wrong(client):
    kinds = {"content-type": "application/json"}
    for answer, message in (
        (client.get("/repeat?txt=a"), "The argument 'text' is missing. Given: txt."),
        (client.get("/repeat"), "The argument 'text' is missing. Given: nothing."),
        (client.get("/repeat?text=a&n=x"), "The argument 'n' cannot be 'x': invalid literal"),
        (client.post("/form", content=b"{", headers=kinds), "The body is not JSON"),
        (client.post("/form", content=b"[1]", headers=kinds), "body: got [1], expected a JSON object"),
        (client.post("/form", content=b"\xff\xff", headers=kinds), "The body cannot be read"),
        (client.post("/form", files={"text": b"a"}), "content-type: got 'multipart/form-data"),
    ):
        reply = answer.json()
        assert answer.status_code == 400 and reply["code"] == 1 and message in reply["desc"], reply
    assert client.get("/nothing").status_code == 404 and client.post("/repeat").status_code == 405


def test_what_functions_do_wrong(client, caplog):
    for path, message in (
        ("broken", "LookupError: no such thing"),
        ("nan", "ValueError"),
        ("object", "TypeError: The result holds a object"),
    ):
        answer = client.get(f"/{path}")
        assert answer.status_code == 500 and answer.json()["code"] == 2 and message in answer.json()["desc"]
    assert "no such thing" in caplog.text


def test_one_thread_calls_all_models(web, client):
    inside, together, threads = [], [], set()

    def model():
        inside.append(1)
        together.append(len(inside))
        threads.add(threading.get_ident())
        threading.Event().wait(0.01)
        inside.pop()

    web.route("/first", model, {})
    web.route("/second", model, {})
    callers = [threading.Thread(target=client.get, args=(f"/{name}",)) for name in ("first", "second") * 4]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert together == [1] * 8 and len(threads) == 1


def test_what_is_refused(web, monkeypatch):
    for arguments, method, message in (
        ({"text": int}, "GET", r"arguments\['text'\]"),
        ({"text": ("int", True)}, "GET", r"arguments\['text'\]"),
        ({}, "PUT", "'GET' or 'POST'"),
    ):
        with pytest.raises(KerasSuError, match=message):
            web.route("/wrong", repeat, arguments, method)
    started = []
    monkeypatch.setitem(sys.modules, "uvicorn", type(sys)("uvicorn"))
    sys.modules["uvicorn"].run = lambda app, **settings: started.append((app, settings))
    web.start()
    assert started == [(web.app, {"host": "0.0.0.0", "port": 8864})]
    for module in ("uvicorn", "fastapi"):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingDependencyError, match=r"keras_su\[serve\]"):
            web.start() if module == "uvicorn" else WebServing()
