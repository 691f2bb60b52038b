"""The page on 127.0.0.1: below a random path, for browsers that came by its address alone.

It answers GET and nothing else, and changes nothing in the cluster.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs

from fleetctl.outcome import Trouble
from fleetctl.wall.feed import Feed
from fleetctl.wall.questions import Questions

ADDRESS = "127.0.0.1"
FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
# Seconds for a browser to take what it is sent, or to ask something.
_SOCKET_SECONDS = 30.0
_MOST_INDEX = 2**32 - 1  # on the wire
# Of pages: each has a second one while it shows something else than states by host.
_MOST_STREAMS = 32


class WallServer(ThreadingHTTPServer):
    """Serves from the moment that `serve_forever` runs. Port 0: any that is free."""

    daemon_threads = True

    def __init__(self, feed: Feed, port: int = 0) -> None:
        """Raises OSError where the port cannot be had."""
        self.feed = feed
        self.path = secrets.token_urlsafe(16)
        self.streams = threading.BoundedSemaphore(_MOST_STREAMS)
        super().__init__((ADDRESS, port), _Handler)

    @property
    def origin(self) -> str:
        return f"http://{ADDRESS}:{self.server_port}"

    @property
    def address(self) -> str:
        return f"{self.origin}/{self.path}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away is no error."""


class _Handler(BaseHTTPRequestHandler):
    server: WallServer
    server_version, sys_version = "fleetctl", ""
    timeout = _SOCKET_SECONDS

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        begin = f"/{self.server.path}/"
        if not self._is_ours():
            self._refuse(HTTPStatus.FORBIDDEN, "this page is for the browser it was opened in")
        elif not secrets.compare_digest(path[: len(begin)].encode(), begin.encode()):
            self._refuse(HTTPStatus.NOT_FOUND, "open the address that fleetctl wall has printed")
        else:
            self._answer(path[len(begin) :], parse_qs(query))

    def log_message(self, format: str, *arguments: Any) -> None:
        """The terminal is the operator's."""

    def _is_ours(self) -> bool:
        """A page of another site reaches 127.0.0.1 as well: by its own origin, or with a name of
        its own that leads here."""
        origin = self.headers.get("Origin", self.server.origin)
        host = self.headers.get("Host", "")
        site = self.headers.get("Sec-Fetch-Site", "none")
        return (
            origin == self.server.origin
            and f"http://{host}" == self.server.origin
            and (
                site in ("none", "same-origin") or self.headers.get("Sec-Fetch-Mode") == "navigate"
            )
        )

    def _answer(self, name: str, query: dict[str, list[str]]) -> None:
        said = {key: values[0] for key, values in query.items()}
        if name in FILES:
            file, kind = FILES[name]
            self._send(files(__package__).joinpath("built", file).read_bytes(), kind)
        elif name == "states":
            self._stream(said.get("layer", "state"), said.get("grouping", "host"))
        elif question := _question(self.server.feed.questions, name, said):
            self._ask(question)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such part of the wall")

    def _ask(self, question: Callable[[], dict[str, Any]]) -> None:
        try:
            answer, status = question(), HTTPStatus.OK
        except Trouble as trouble:
            answer, status = {"error": trouble.message}, HTTPStatus.BAD_GATEWAY
        self._send(json.dumps(answer).encode(), "application/json", status)

    def _stream(self, layer: str, grouping: str) -> None:
        if not self.server.streams.acquire(blocking=False):
            self._refuse(
                HTTPStatus.SERVICE_UNAVAILABLE, "too many pages are open already: close some"
            )
            return
        try:
            self._head(HTTPStatus.OK, "application/octet-stream", None)
            for message in self.server.feed.messages(layer, grouping):
                self.wfile.write(message)
        finally:
            self.server.streams.release()

    def _send(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._head(status, kind, len(body))
        self.wfile.write(body)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._send(f"{why}\n".encode(), "text/plain; charset=utf-8", status)

    def _head(self, status: HTTPStatus, kind: str, length: int | None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()


def _question(
    questions: Questions, name: str, said: dict[str, str]
) -> Callable[[], dict[str, Any]] | None:
    """None where there is none of this name."""
    fleet, index = said.get("fleet", ""), min(_number(said.get("index", "")), _MOST_INDEX)
    asked: dict[str, Callable[[], dict[str, Any]]] = {
        "status": questions.status,
        "version": questions.version,
        "events": lambda: questions.events(_number(said.get("after", ""))),
        "host": lambda: questions.host(said.get("id", "")),
        "vm": lambda: questions.vm(fleet, index),
        "console": lambda: questions.console(fleet, index),
        "cpu": lambda: questions.cpu(said.get("id", "")),
    }
    return asked.get(name)


def _number(text: str) -> int:
    """0 for what is none that the wire has room for."""
    fits = text.isascii() and text.isdigit() and len(text) < 19
    return int(text) if fits else 0
