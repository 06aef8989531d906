"""Functions, such as the predictions of a model, as a web service: FastAPI behind the interface of bert4keras."""

import asyncio
import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qsl

from keras_su.errors import KerasSuError, bad_value, listing, require


class WebServing:
    """A small web service.

    Every answer is a JSON object with ``code``, ``desc``, ``data`` (what the function returned) and ``cost`` (seconds):

    * 0, HTTP 200: done;
    * 1, HTTP 400: an argument is missing, or its conversion failed;
    * 2, HTTP 500: the function failed, or its result is not JSON. ``desc`` has the message, the log has the traceback.

    All functions are called by one thread, one request after the other: models of one process share a device, and few of them
    like to be called from several threads.

    Args:
        host: address to listen at; ``"0.0.0.0"`` is every one of this machine.
        port: port to listen at.
        server: taken from scripts for bert4keras and not used; the server is uvicorn.

    Attributes:
        app: the FastAPI application, e.g. for ``fastapi.testclient`` or another server. ``/docs`` describes it.

    Raises:
        MissingDependencyError: FastAPI is not installed (``pip install "keras_su[serve]"``).

    >>> web = WebServing(port=8864)
    >>> web.route("/repeat", lambda text, n=2: text * n, {"text": (None, True), "n": (int, False)})
    >>> web.start()  # doctest: +SKIP
    """

    def __init__(self, host="0.0.0.0", port=8000, server="paste"):
        self._fastapi = require("fastapi", "serve", "WebServing")
        self.host = host
        self.port = port
        self.server = server
        self.app = self._fastapi.FastAPI(title="keras_su")
        self._thread = ThreadPoolExecutor(1, "keras_su.serving")

    def route(self, path, func, arguments, method="GET"):
        """Answer requests at ``path`` with ``func``.

        Args:
            path: begins with ``/``.
            func: function of keyword arguments whose result can be written as JSON; numpy arrays and numbers can.
            arguments: name -> ``(conversion, required)``. The conversion is a function of the string that arrived, or ``None``.
                What is not required and not given is left to the default of ``func``.
            method: ``"GET"`` reads the query string, ``"POST"`` a form or a JSON object.
        """
        for name, rule in arguments.items():
            if not isinstance(rule, (tuple, list)) or len(rule) != 2 or not (rule[0] is None or callable(rule[0])):
                raise bad_value(f"arguments[{name!r}]", rule, "(conversion or None, whether it is required)")
        if method not in ("GET", "POST"):
            raise bad_value("method", method, "'GET' or 'POST'")
        fastapi = self._fastapi

        async def answer(request: fastapi.Request):
            body = await request.body() if method == "POST" else None
            loop = asyncio.get_running_loop()
            status, text = await loop.run_in_executor(self._thread, _reply, func, arguments, request, body)
            return fastapi.Response(text, status, media_type="application/json")

        self.app.add_api_route(path, answer, methods=[method], description=func.__doc__)

    def start(self):
        """Serve until the process is interrupted.

        Raises:
            MissingDependencyError: uvicorn is not installed.
        """
        require("uvicorn", "serve", "WebServing.start").run(self.app, host=self.host, port=self.port)


def _reply(func, arguments, request, body):
    """HTTP status and text of the answer to one request."""
    start = time.perf_counter()
    try:
        given = dict(request.query_params) if body is None else _fields(request.headers.get("content-type", ""), body)
        values = _converted(arguments, given)
    except KerasSuError as error:
        return 400, _json(1, str(error), {}, start)
    try:
        return 200, _json(0, "succeeded", func(**values), start)
    except Exception as error:
        logging.getLogger(__name__).exception("%s failed", request.url.path)
        return 500, _json(2, f"{type(error).__name__}: {error}", {}, start)


def _json(code, desc, data, start):
    reply = {"code": code, "desc": desc, "data": data, "cost": time.perf_counter() - start}
    return json.dumps(reply, ensure_ascii=False, allow_nan=False, default=_plain)


def _plain(value):
    """Numpy arrays and numbers, and tensors, as lists and numbers."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"The result holds a {type(value).__name__}, which cannot be written as JSON.")


def _fields(content_type, body):
    """Names and values in the body of a POST request."""
    if not body:
        return {}
    kind = content_type.partition(";")[0].strip().lower()
    try:
        if kind == "application/json":
            fields = json.loads(body)
        elif kind == "application/x-www-form-urlencoded":
            fields = dict(parse_qsl(body.decode(), keep_blank_values=True))
        else:
            raise bad_value("content-type", content_type, "application/json or application/x-www-form-urlencoded")
    except UnicodeDecodeError as error:
        raise KerasSuError(f"The body cannot be read: {error}.") from None
    except json.JSONDecodeError as error:
        raise KerasSuError(f"The body is not JSON: {error}.") from None
    if not isinstance(fields, dict):
        raise bad_value("body", fields, "a JSON object of arguments")
    return fields


def _converted(arguments, given):
    """The arguments of a function, converted as its route says."""
    values = {}
    for name, (conversion, required) in arguments.items():
        if name not in given:
            if required:
                raise KerasSuError(f"The argument {name!r} is missing. Given: {listing(given) or 'nothing'}.")
            continue
        try:
            values[name] = given[name] if conversion is None else conversion(given[name])
        except Exception as error:
            raise KerasSuError(f"The argument {name!r} cannot be {given[name]!r}: {error}.") from None
    return values
