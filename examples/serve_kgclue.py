"""Ask the knowledge graph in a browser, or by HTTP: the model of ``task_kgclue_seq2seq.py`` behind FastAPI.

    python task_kgclue_seq2seq.py --save runs/kg        # train once ...
    python serve_kgclue.py --load runs/kg               # ... then open http://127.0.0.1:8864
    python serve_kgclue.py                              # or train on the small graph first, about 1 minute
    python serve_kgclue.py --smoke                      # start, ask one question through HTTP, stop

    curl http://127.0.0.1:8864/api/answer --json '{"question": "牛顿是哪国人？", "beam": 3}'

The interface, and its limits (``pip install "keras_su[serve]"``):

* ``POST /api/answer`` takes a JSON object of at most 4,096 bytes: ``question``, text of 1 to 63 characters without control
  characters, and ``beam``, an integer from 1 to 10, default 3. It returns ``question``, ``answer`` and ``beam``, which is the
  answer and its alternatives, best first: ``{subject, predicate, object, meaning, probability}``. Probabilities are shares
  among the entries of the graph. When no entity of the graph is quoted in the question, ``answer`` is null, and ``message``
  says why.
* ``GET /api/health`` returns ``{"status": "ok", ...}`` with the number of entries and the limits.
* What is wrong with a request is said with a status of 4xx and ``{"error": {field, message}}``.

Options that are not listed by ``--help`` are those of ``task_kgclue_seq2seq.py``. Whoever serves other people than themselves
puts a web server with encryption and limits of its own in front.
"""

import argparse
import asyncio
import base64
import hashlib
import json
import re
import socket
import threading
import unicodedata
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras

import task_kgclue_seq2seq as kgclue
from keras_su.errors import KerasSuError, did_you_mean, require
from readers.kgclue import MAX_QUESTION

MAX_BODY, MAX_BEAM, BEAM, MAX_WAITING = 4096, 10, 3, 32
LIMITS = {"question_characters": MAX_QUESTION, "beam": MAX_BEAM, "body_bytes": MAX_BODY, "waiting_requests": MAX_WAITING}
NO_ENTITY = "图谱中没有问题里提到的实体。No entity of the graph is quoted in the question."
PAGE = Path(__file__).with_suffix(".html")


class Refused(KerasSuError):
    """A request that is not answered: its status, the field that is to blame, and what was given and expected."""

    def __init__(self, status, field, message):
        super().__init__(message)
        self.status, self.field = status, field


class Graph:
    """A trained model and its graph, as a function from a question to a beam."""

    def __init__(self, writer, knowledge):
        self.writer, self.knowledge, self.entries = writer, knowledge, len(knowledge.tree)

    def __call__(self, question, beam):
        """``[(triple, probability), ...]``, best first; nothing if the question quotes no subject: any answer were a guess."""
        if not self.knowledge.quoted_subjects(question):
            return []
        return kgclue.candidates(self.writer, self.knowledge, [question], beam, look_ahead=True)[0]


# Reading a request. -------------------------------------------------------------------------------------------------------


def shortened(value):
    """What was given, for an error message."""
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 60 else text[:57] + "..."


def parsed(body):
    """``(question, beam)`` of a body, or `Refused`."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "body", 'The body is not JSON. Expected an object such as {"question": "..."}.') from None
    if not isinstance(fields, dict):
        raise Refused(400, "body", f"The body is {shortened(fields)}. Expected a JSON object.")
    for name in fields:
        if name not in ("question", "beam"):
            hint = did_you_mean(name, ("question", "beam"))
            raise Refused(400, "body", f"Unknown field {shortened(name)}.{hint} Expected question and, if wanted, beam.")
    if "question" not in fields:
        raise Refused(400, "question", "The field question is missing. Expected text.")
    return checked_question(fields["question"]), checked_beam(fields.get("beam", BEAM))


def checked_question(question):
    expected = f"Expected text of 1 to {MAX_QUESTION} characters"
    if not isinstance(question, str):
        raise Refused(400, "question", f"The question is {shortened(question)}. {expected}.")
    question = question.strip()
    if not question:
        raise Refused(400, "question", f"问题为空。The question is empty. {expected}.")
    if len(question) > MAX_QUESTION:
        raise Refused(400, "question", f"问题太长。The question has {len(question)} characters. {expected}.")
    for character in question:
        if unicodedata.category(character) in ("Cc", "Cs"):  # Cs: halves of a character, which JSON can hold and UTF-8 cannot
            raise Refused(400, "question", f"The question holds U+{ord(character):04X}. {expected}, without control characters.")
    return question


def checked_beam(beam):
    if isinstance(beam, bool) or not isinstance(beam, int) or not 1 <= beam <= MAX_BEAM:
        raise Refused(400, "beam", f"The beam is {shortened(beam)}. Expected an integer from 1 to {MAX_BEAM}.")
    return beam


async def body_of(request):
    """The body, which is not read further than it may be long."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # a form of a foreign page cannot send this one
        raise Refused(415, "content-type", f"The content type is {shortened(kind)}. Expected application/json.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise Refused(413, "body", f"The body has more than {MAX_BODY} bytes.")
    return body


# The service. -------------------------------------------------------------------------------------------------------------


def page():
    """The page and the rules under which a browser shows it: its own script and style run, and nothing else."""
    html = PAGE.read_text(encoding="utf-8")

    def hashed(tag):
        [content] = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    rules = f"default-src 'none'; script-src {hashed('script')}; style-src {hashed('style')}; connect-src 'self'; "
    return html, rules + "form-action 'none'; base-uri 'none'; frame-ancestors 'none'; img-src data:"


def application(graph, entries=0):
    """The FastAPI application of a function ``(question, beam) -> [(triple, probability), ...]``."""
    fastapi = require("fastapi", "serve", "This example")
    app = fastapi.FastAPI(title="KgCLUE", docs_url=None, redoc_url=None)  # their pages load scripts from elsewhere
    model_thread = ThreadPoolExecutor(1, "model")  # one model, one question after the other
    html, rules = page()
    waiting = 0

    def search(question, beam):
        rows = [{**entry._asdict(), "probability": round(probability, 6)} for entry, probability in graph(question, beam)]
        reply = {"question": question, "answer": rows[0] if rows else None, "beam": rows}
        return reply if rows else {**reply, "message": NO_ENTITY}

    @app.exception_handler(Refused)
    async def refuse(request, refused):
        return fastapi.responses.JSONResponse({"error": {"field": refused.field, "message": str(refused)}}, refused.status)

    @app.get("/")
    async def show():
        headers = {"Content-Security-Policy": rules, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
        return fastapi.responses.HTMLResponse(html, headers=headers)

    @app.get("/api/health")
    async def health():
        return {"status": "ok", "entries": entries, "backend": keras.backend.backend(), "limits": LIMITS}

    @app.post("/api/answer")
    async def answer(request: fastapi.Request):
        nonlocal waiting
        question, beam = parsed(await body_of(request))
        if waiting >= MAX_WAITING:
            raise Refused(503, "server", f"{waiting} questions are waiting. Try again later.")
        waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(model_thread, search, question, beam)
        finally:
            waiting -= 1

    return app


class Server:
    """An application on a free port of this machine, in a thread: ``with Server(app) as address``."""

    def __init__(self, app):
        uvicorn = require("uvicorn", "serve", "This example")
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)
        self.address = "http://{}:{}".format(*self.socket.getsockname())

    def __enter__(self):
        self.thread.start()  # the socket listens already: whoever comes early waits
        return self.address

    def __exit__(self, *_):
        self.server.should_exit = True
        self.thread.join()
        self.socket.close()


def ask(address, question, **options):
    """What a program does: a question through HTTP."""
    body = json.dumps({"question": question, **options}).encode()
    request = urllib.request.Request(f"{address}/api/answer", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as reply:
        return json.load(reply)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", type=Path, help="folder that task_kgclue_seq2seq.py --save wrote; default: train first")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0: all that reach this machine; default: 127.0.0.1")
    parser.add_argument("--port", type=int, default=8864, help="default: 8864")
    parser.add_argument("--smoke", action="store_true", help="train one step, ask one question through HTTP, stop")
    own, others = parser.parse_known_args(argv)
    require("fastapi", "serve", "This example")  # say so before training
    uvicorn = require("uvicorn", "serve", "This example")
    others += ["--load", str(own.load)] if own.load else []
    arguments = kgclue.parse(others + (["--smoke"] if own.smoke else []))
    keras.utils.set_random_seed(arguments.seed)
    graph = Graph(*kgclue.prepare(arguments))
    app = application(graph, graph.entries)
    if own.smoke:
        with Server(app) as address:
            result = ask(address, "李白的代表作是什么？", beam=2)
        print(json.dumps(result, ensure_ascii=False, indent=2))
        return result
    print(f"Open http://{own.host}:{own.port}", flush=True)
    uvicorn.run(app, host=own.host, port=own.port, log_level="warning")
    return None


if __name__ == "__main__":
    main()
