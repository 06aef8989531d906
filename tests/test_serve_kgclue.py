"""The web service of the KgCLUE example: its JSON interface and limits, and its page in a real browser."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request

import keras
import pytest
from example_modules import load

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

ATTACK = "李白<img src=x onerror=\"document.title='stolen'\">"


@pytest.fixture(scope="module")
def example():
    return load("serve_kgclue")


class Graph:
    """What the service needs of a model: it repeats the question as an object, and sees who calls it."""

    def __init__(self, triple):
        self.triple, self.calls, self.running, self.most_running, self.threads = triple, [], 0, 0, set()

    def __call__(self, question, beam):
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        self.threads.add(threading.get_ident())
        self.calls.append((question, beam))
        time.sleep(0.002)
        self.running -= 1
        if "李白" not in question:
            return []
        entries = [self.triple(f"李白{rank or ''}", "号", "" if rank else "<b>诗人</b>", question) for rank in range(beam)]
        return [(entry, 0.5 ** (rank + 1)) for rank, entry in enumerate(entries)]


@pytest.fixture(scope="module")
def graph(example):
    return Graph(example.kgclue.triple("李白", "号", "x").__class__)


@pytest.fixture(scope="module")
def client(example, graph):
    from fastapi.testclient import TestClient

    with TestClient(example.application(graph, entries=7)) as client:
        yield client


def test_answer(client, graph):
    reply = client.post("/api/answer", json={"question": " 李白的号？\n", "beam": 2})
    assert reply.status_code == 200 and graph.calls[-1] == ("李白的号？", 2)
    best = {"subject": "李白", "predicate": "号", "meaning": "<b>诗人</b>", "object": "李白的号？", "probability": 0.5}
    other = {**best, "subject": "李白1", "meaning": "", "probability": 0.25}
    assert reply.json() == {"question": "李白的号？", "answer": best, "beam": [best, other]}
    client.post("/api/answer", json={"question": "李" * 61 + "李白"})
    assert graph.calls[-1] == ("李" * 61 + "李白", 3)


def test_question_without_an_entity_gets_no_guess(client):
    reply = client.post("/api/answer", json={"question": "今天几号？"})
    assert reply.status_code == 200
    assert reply.json()["answer"] is None and reply.json()["beam"] == []
    assert "No entity of the graph is quoted" in reply.json()["message"]


def test_health_names_the_limits(client):
    reply = client.get("/api/health").json()
    assert reply["status"] == "ok" and reply["entries"] == 7 and reply["backend"] == keras.backend.backend()
    assert reply["limits"] == {"question_characters": 63, "beam": 10, "body_bytes": 4096, "waiting_requests": 32}


@pytest.mark.parametrize(
    "body, status, field, told",
    [
        ({"question": ""}, 400, "question", "empty"),
        ({"question": " \u3000\n\t"}, 400, "question", "empty"),
        ({"question": "李" * 64}, 400, "question", "has 64 characters. Expected text of 1 to 63"),
        ({"question": "李白\x00"}, 400, "question", "U+0000"),
        ({"question": "李\n白"}, 400, "question", "U+000A"),
        (b'{"question": "\\ud800"}', 400, "question", "U+D800"),
        ({"question": 7}, 400, "question", "is 7"),
        ({"question": None}, 400, "question", "is null"),
        ({"question": ["李白"]}, 400, "question", "Expected text"),
        ({}, 400, "question", "missing"),
        ({"question": "李白", "beam": 0}, 400, "beam", "is 0. Expected an integer from 1 to 10"),
        ({"question": "李白", "beam": 11}, 400, "beam", "is 11"),
        ({"question": "李白", "beam": True}, 400, "beam", "is true"),
        ({"question": "李白", "beam": 3.0}, 400, "beam", "is 3.0"),
        ({"question": "李白", "beam": "3"}, 400, "beam", 'is "3"'),
        ({"question": "李白", "beam": None}, 400, "beam", "is null"),
        (b'{"question": "x", "beam": NaN}', 400, "beam", "is NaN"),
        (b'{"question": "x", "beam": 1e999}', 400, "beam", "is Infinity"),
        ({"question": "李白", "beams": 3}, 400, "body", "Did you mean 'beam'?"),
        ([], 400, "body", "Expected a JSON object"),
        (b"", 400, "body", "not JSON"),
        (b"question=x", 400, "body", "not JSON"),
        (b"\xff\xfe", 400, "body", "not JSON"),
        (b"[" * 4000, 400, "body", "not JSON"),
        (b"9" * 4096, 400, "body", ""),
        (b" " * 4097, 413, "body", "more than 4096 bytes"),
    ],
)
def test_requests_that_are_refused(client, graph, body, status, field, told):
    before = len(graph.calls)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = client.post("/api/answer", content=content, headers={"Content-Type": "application/json"})
    assert (reply.status_code, reply.json()["error"]["field"]) == (status, field)
    assert told in reply.json()["error"]["message"] and len(reply.json()["error"]["message"]) < 250
    assert len(graph.calls) == before


def test_a_body_without_a_stated_length_is_not_read_to_its_end(client):
    sent = []

    def chunks():
        for _ in range(100):
            sent.append(b" " * 1000)
            yield sent[-1]

    reply = client.post("/api/answer", content=chunks(), headers={"Content-Type": "application/json"})
    assert reply.status_code == 413


def test_forms_of_foreign_pages_are_refused(client):
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        reply = client.post("/api/answer", content=b'{"question": "x"}', headers={"Content-Type": kind})
        assert reply.status_code == 415 and "application/json" in reply.json()["error"]["message"]
    assert client.get("/api/answer").status_code == 405 and client.get("/nothing").status_code == 404


def test_page_is_complete_in_itself(client, example):
    reply = client.get("/")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert "http:" not in reply.text and "https:" not in reply.text and "innerHTML" not in reply.text
    assert client.get("/docs").status_code == 404


def test_one_question_after_the_other(example):
    graph = Graph(example.kgclue.triple("李白", "号", "x").__class__)
    replies = []
    with example.Server(example.application(graph)) as address:
        jobs = [threading.Thread(target=lambda: replies.append(example.ask(address, "李白"))) for _ in range(8)]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
    assert len(replies) == 8 and graph.most_running == 1 and len(graph.threads) == 1


def test_too_many_waiting_questions_are_sent_away(client, example, graph, monkeypatch):
    monkeypatch.setattr(example, "MAX_WAITING", 0)
    before = len(graph.calls)
    reply = client.post("/api/answer", json={"question": "李白"})
    assert (reply.status_code, reply.json()["error"]["field"]) == (503, "server") and len(graph.calls) == before


def test_missing_fastapi_is_named(example, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(ImportError, match=r"keras_su\[serve\]"):
        example.main(["--smoke"])


def test_untrained_model_answers_through_the_service(example):
    """The real graph and search behind the service: what is quoted is found, what is not is said."""
    task = example.kgclue
    files = [task.SMALL_GRAPH / "Knowledge.txt"]
    texts = [text for entry, _ in task.read_knowledge(files) for text in entry[:3]]
    tokenizer = task.Tokenizer(task.character_vocabulary(texts), do_lower_case=True)
    knowledge = task.Knowledge(tokenizer).build(files)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 16}
    _, writer = task.build_model({**task.small_config(tokenizer.vocab_size), **sizes}, None, "bert")
    graph = example.Graph(writer, knowledge)
    found = graph("李白的代表作是什么？", 3)
    assert [entry for entry, _ in found[:1]] == [
        entry for entry, _ in task.answer(writer, knowledge, ["李白的代表作是什么？"], 3, True)
    ]
    assert 1 < len(found) <= 3 and all(entry.subject == "李白" for entry, _ in found)
    assert sorted((p for _, p in found), reverse=True) == [p for _, p in found] and sum(p for _, p in found) <= 1 + 1e-6
    assert graph("？？？", 3) == []


class Browser:
    """Chromium without a window, by its DevTools protocol: what a person would do, and what the page then shows."""

    def __init__(self, program, folder):
        from websockets.sync.client import connect

        options = ["--headless", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage", "--remote-debugging-port=0"]
        options += ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses to run as root with it
        command = [program, *options, f"--user-data-dir={folder}", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ports = folder / "DevToolsActivePort"
        self.wait(lambda: ports.is_file() and len(ports.read_text().split()) == 2)
        port = ports.read_text().split()[0]
        pages = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list"))
        address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        self.closing = contextlib.ExitStack()
        self.socket = self.closing.enter_context(connect(address, max_size=None))
        self.number, self.events = 0, []
        self.call("Page.enable")

    def close(self):
        with contextlib.suppress(Exception):
            self.call("Browser.close")
        self.closing.close()
        self.process.wait(10)

    @staticmethod
    def wait(condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "nothing happened for too long"
            time.sleep(0.02)

    def call(self, method, **parameters):
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while (reply := self.receive()).get("id") != self.number:
            pass
        assert "error" not in reply, reply
        return reply["result"]

    def receive(self):
        message = json.loads(self.socket.recv(60))
        self.events.append(message.get("method"))
        return message

    def js(self, expression):
        reply = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in reply, reply
        return reply["result"].get("value")

    def load(self, method, **parameters):
        """Navigate, and wait for the page: until it is there, a question to it may meet the old one while that goes away."""
        self.events.clear()
        self.call(method, **parameters)
        while "Page.loadEventFired" not in self.events:
            self.receive()

    def text(self, name):
        return self.js(f"document.getElementById('{name}').textContent")

    def press(self, key, code, text=None):
        for kind in ("keyDown", "keyUp"):
            extra = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **extra)

    def click(self, name):
        box = self.js(
            f"(r => [r.x + r.width / 2, r.y + r.height / 2])(document.getElementById('{name}').getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def fill(self, name, text):
        self.js(f"document.getElementById('{name}').select()")
        self.press("Delete", 46)
        self.call("Input.insertText", text=text)

    def answered(self):
        self.wait(lambda: not self.js("document.getElementById('ask').disabled"))


@pytest.fixture(scope="module")
def browser(example, graph, tmp_path_factory):
    pytest.importorskip("websockets")
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    program = next(filter(None, found), None)
    if program is None:
        pytest.skip("no browser: none of chromium, chromium-browser, google-chrome is installed")
    browser = Browser(program, tmp_path_factory.mktemp("chromium"))
    with example.Server(example.application(graph)) as address:
        browser.load("Page.navigate", url=address)
        yield browser
        browser.close()


class TestPage:
    """The page is the same whatever the backend, so one of the three runs of ``make test`` opens it."""

    __test__ = keras.backend.backend() == "torch"

    def ask(self, browser, question):
        browser.fill("question", question)
        browser.click("ask")
        browser.answered()

    def test_question_with_mouse(self, browser):
        browser.fill("beam", "4")
        self.ask(browser, "李白的号？")
        shown = [browser.text(name) for name in ("asked", "subject", "meaning", "predicate", "object", "probability")]
        assert shown == ["李白的号？", "李白", "<b>诗人</b>", "号", "李白的号？", "50.0 %"]
        cells = browser.js("[...document.querySelectorAll('#rows tr')].map(r => [...r.cells].map(c => c.textContent))")
        assert [row[0] for row in cells] == ["李白（<b>诗人</b>）", "李白1", "李白2", "李白3"]
        assert [row[3] for row in cells] == ["50.0 %", "25.0 %", "12.5 %", "6.25 %"]

    def test_question_with_keys_alone(self, browser):
        browser.load("Page.reload")
        assert browser.text("subject") == ""
        assert browser.js("document.activeElement.id") == "question"
        browser.call("Input.insertText", text="李白？")
        reached = []
        for _ in range(2):
            browser.press("Tab", 9)
            reached.append(browser.js("document.activeElement.id"))
        assert reached == ["beam", "ask"]
        assert browser.js("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        browser.press("Enter", 13, "\r")
        browser.answered()
        assert browser.text("subject") == "李白" and browser.js("document.querySelectorAll('#rows tr').length") == 3

    def test_errors_stand_beside_the_field(self, browser):
        self.ask(browser, " ")
        assert "问题为空" in browser.text("error") and not browser.js("document.getElementById('error').hidden")
        assert browser.js("document.activeElement.id") == "question"
        assert browser.js("document.getElementById('question').hasAttribute('aria-invalid')")
        assert browser.js("document.getElementById('found').hidden")
        browser.fill("beam", "99")
        self.ask(browser, "李白")
        assert "from 1 to 10" in browser.text("error") and browser.js("document.activeElement.id") == "beam"
        browser.fill("beam", "3")
        self.ask(browser, "今天几号？")
        assert "No entity of the graph is quoted" in browser.text("status") and browser.js(
            "document.getElementById('error').hidden"
        )

    def test_markup_is_shown_as_text(self, browser):
        self.ask(browser, ATTACK)
        assert browser.text("asked") == browser.text("object") == ATTACK
        assert browser.js("document.querySelectorAll('img, b').length") == 0
        assert "知识图谱问答" in browser.js("document.title")

    def test_nothing_comes_from_elsewhere(self, browser):
        assert browser.js("performance.getEntriesByType('resource').every(e => e.name.startsWith(location.origin + '/api/'))")
        browser.js("refused = []; addEventListener('securitypolicyviolation', e => refused.push(e.effectiveDirective))")
        browser.js("document.getElementById('status').innerHTML = " + json.dumps(ATTACK))  # as if the page had a hole
        browser.js("fetch('http://127.0.0.1:1/').catch(() => 0)")
        browser.wait(lambda: {"img-src", "script-src-attr", "connect-src"} <= set(browser.js("refused")))
        assert "知识图谱问答" in browser.js("document.title")

    def test_phone_and_colours(self, browser):
        colours = []
        for theme in ("light", "dark"):
            browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
            colours.append(browser.js("getComputedStyle(document.body).backgroundColor"))
        assert colours[0] != colours[1]
        browser.call("Emulation.setDeviceMetricsOverride", width=320, height=640, deviceScaleFactor=2, mobile=True)
        self.ask(browser, "李白" + "abcdefghij" * 6)
        assert browser.js("document.documentElement.scrollWidth") <= 320
        assert browser.js("document.getElementById('ask').getBoundingClientRect().height") >= 40
