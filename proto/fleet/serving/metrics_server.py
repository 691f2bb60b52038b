"""Pages for Prometheus, served over HTTP beside a daemon's event loop, in threads of their own.

What a page shows is read on the event loop, where it is kept, and turned into text in the thread
of its request: the loop is held up for the reading alone. A port that cannot be had is tried again:
a daemon does its work all the same.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from socketserver import ThreadingMixIn
from typing import Any, Generic, Protocol, TypeVar
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Metric, make_wsgi_app
from prometheus_client.registry import Collector

# Requests at once: Prometheus in twos, and a person. Others are hung up on.
AT_ONCE = 8
# A client that says nothing, or does not read, is cut off.
_SILENCE_SECONDS = 10.0
# Nor may it say what it wants in drips: by then a request is answered, or cut off.
_REQUEST_SECONDS = 60.0
# Until the event loop has read what a page shows.
_READ_SECONDS = 5.0
# What was read is told again for so many times as long as the reading took, up to so many seconds.
_REST = 10
_LONGEST_REST_SECONDS = 1.0
_AGAIN_SECONDS = 10.0
_POLL_SECONDS = 0.1

T = TypeVar("T")
# Environment and start_response, as WSGI has them.
App = Callable[[Any, Any], Iterable[bytes]]
# Awaited on the event loop; what it gives is not changed any more.
Reading = Callable[[], Awaitable[Callable[[], Iterable[Metric]]]]
Listing = Callable[[], Awaitable[object]]


class Log(Protocol):
    def info(self, event: str, **fields: Any) -> Any: ...

    def warning(self, event: str, **fields: Any) -> Any: ...


class MetricsServer:
    """`/metrics` of the registry and of the reading, and further paths that give JSON. `run` for
    as long as the daemon runs; `address` is where it serves, empty while it does not."""

    def __init__(
        self,
        listen: str,
        registry: CollectorRegistry,
        reading: Reading,
        log: Log,
        lists: Mapping[str, Listing] | None = None,
    ) -> None:
        """`listen`: HOST:PORT. `reading`: gives, on the event loop, what makes the metrics of it
        elsewhere."""
        host, _, port = listen.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._listen = listen
        self._registry = registry
        self._reading = _Rested(reading)
        self._lists = {path: _Rested(one) for path, one in (lists or {}).items()}
        self._log = log
        self.address = ""

    async def run(self) -> None:
        """Until cancelled."""
        server = await self._opened()
        host, port = server.server_address[:2]
        self.address = f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"
        self._log.info("metrics are served", address=self.address)
        thread = threading.Thread(
            target=server.serve_forever, args=(_POLL_SECONDS,), name="metrics", daemon=True
        )
        thread.start()
        try:
            await asyncio.Event().wait()
        finally:
            self.address = ""
            server.shutdown()
            server.server_close()

    async def _opened(self) -> WSGIServer:
        app = self._app(asyncio.get_running_loop())
        told = False
        while True:
            try:
                return await _opened_elsewhere(self._host, self._port, app)
            except (OSError, RuntimeError) as error:  # or no thread can be had now
                if not told:
                    why = getattr(error, "strerror", None) or str(error)
                    self._log.warning("metrics are not served", address=self._listen, reason=why)
                told = True
            await asyncio.sleep(_AGAIN_SECONDS)

    def _app(self, loop: asyncio.AbstractEventLoop) -> App:
        def read(wanted: Callable[[], Awaitable[Any]]) -> Any:
            """In the thread of a request. Raises TimeoutError."""

            async def awaited() -> Any:
                return await wanted()

            asked = asyncio.run_coroutine_threadsafe(awaited(), loop)
            try:
                return asked.result(_READ_SECONDS)
            except concurrent.futures.TimeoutError:
                asked.cancel()
                raise TimeoutError from None

        both = _Both(self._registry, lambda: read(self._reading)())
        registry = CollectorRegistry(auto_describe=False)
        registry.register(both)
        metrics: App = make_wsgi_app(registry)

        def app(environ: Any, start_response: Any) -> Iterable[bytes]:
            path = environ["PATH_INFO"]
            try:
                if path == "/metrics":
                    return metrics(environ, start_response)
                if path in self._lists:
                    body = json.dumps(read(self._lists[path])).encode()
                    start_response("200 OK", [("Content-Type", "application/json")])
                    return [body]
            except TimeoutError:
                start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
                return [f"the event loop did not answer within {_READ_SECONDS:.0f} s\n".encode()]
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [f"there are: {' '.join(['/metrics', *sorted(self._lists)])}\n".encode()]

        return app


class _Rested(Generic[T]):
    """A reading that takes no more than a tenth of the event loop's time, however many ask."""

    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        self._read = read
        self._last: tuple[T, float] | None = None  # and until when it is told again

    async def __call__(self) -> T:
        clock = asyncio.get_running_loop().time
        began = clock()
        if self._last is not None and began < self._last[1]:
            return self._last[0]
        found, ended = await self._read(), clock()
        self._last = found, ended + min(_REST * (ended - began), _LONGEST_REST_SECONDS)
        return found


class _Both(Collector):
    """What counts by itself, and what is read when it is asked for."""

    def __init__(self, registry: CollectorRegistry, read: Callable[[], Iterable[Metric]]) -> None:
        self._registry = registry
        self._read = read

    def collect(self) -> Iterable[Metric]:
        yield from self._read()
        yield from self._registry.collect()


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each request, and few of them."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *arguments: Any) -> None:
        self._free = threading.BoundedSemaphore(AT_ONCE)
        super().__init__(*arguments)

    def server_bind(self) -> None:
        """Without the look-up of its own name that HTTPServer makes, which may take for ever."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread can be had now
            self._free.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        late = threading.Timer(_REQUEST_SECONDS, _cut_off, (request,))
        late.daemon = True
        try:
            late.start()
            super().process_request_thread(request, client_address)
        finally:
            late.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or was cut off, is nobody's trouble."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = _SILENCE_SECONDS

    def log_message(self, format: str, *args: object) -> None:
        """Scrapes are no news."""


def _cut_off(connection: socket.socket) -> None:
    """Whoever waits for it in another thread is woken."""
    with contextlib.suppress(OSError):  # it has ended by itself
        connection.shutdown(socket.SHUT_RDWR)


async def _opened_elsewhere(host: str, port: int, app: App) -> WSGIServer:
    """In a thread of its own, which nobody waits for at the end: a resolver may take half a minute
    to find the host's name. Raises OSError."""
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[WSGIServer] = loop.create_future()

    def hand_over(server: WSGIServer | None, error: OSError | None) -> None:
        if opened.done():  # nobody waits any more
            if server is not None:
                server.server_close()
        elif server is not None:
            opened.set_result(server)
        else:
            opened.set_exception(error or OSError("not opened"))

    def open_it() -> None:
        server = error = None
        try:
            server = _server(host, port, app)
        except OSError as why:
            error = why
        try:
            loop.call_soon_threadsafe(hand_over, server, error)
        except RuntimeError:  # the daemon has ended meanwhile
            if server is not None:
                server.server_close()

    threading.Thread(target=open_it, name="metrics listener", daemon=True).start()
    return await opened


def _server(host: str, port: int, app: App) -> WSGIServer:
    """Raises OSError."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    kind = _Server6 if family == socket.AF_INET6 else _Server
    return make_server(host, port, app, kind, _Handler)
