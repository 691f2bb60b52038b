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
_MOST_PAGES = 16


class WallServer(ThreadingHTTPServer):
    """Serves from the moment that `serve_forever` runs. Port 0: any that is free."""

    daemon_threads = True

    def __init__(self, feed: Feed, port: int = 0) -> None:
        """Raises OSError where the port cannot be had."""
        self.feed = feed
        self.path = secrets.token_urlsafe(16)
        self.pages = threading.BoundedSemaphore(_MOST_PAGES)
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
        feed = self.server.feed
        if name in FILES:
            file, kind = FILES[name]
            self._send(files(__package__).joinpath("built", file).read_bytes(), kind)
        elif name == "states":
            self._stream()
        elif name == "status":
            self._ask(feed.status)
        elif name == "version":
            self._ask(feed.version)
        elif name == "events":
            after = query.get("after", ["0"])[0]
            number = int(after) if after.isascii() and after.isdigit() and len(after) < 19 else 0
            self._ask(lambda: feed.events(number))
        elif name == "host":
            self._ask(lambda: feed.host(query.get("id", [""])[0]))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such part of the wall")

    def _ask(self, question: Callable[[], dict[str, Any]]) -> None:
        try:
            answer, status = question(), HTTPStatus.OK
        except Trouble as trouble:
            answer, status = {"error": trouble.message}, HTTPStatus.BAD_GATEWAY
        self._send(json.dumps(answer).encode(), "application/json", status)

    def _stream(self) -> None:
        if not self.server.pages.acquire(blocking=False):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"{_MOST_PAGES} pages are open already")
            return
        try:
            self._head(HTTPStatus.OK, "application/octet-stream", None)
            for message in self.server.feed.messages():
                self.wfile.write(message)
        finally:
            self.server.pages.release()

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
