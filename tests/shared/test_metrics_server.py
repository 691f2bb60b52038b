"""The server of /metrics: beside a daemon, never in its way."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from socketserver import ThreadingMixIn
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Metric
from prometheus_client.core import GaugeMetricFamily

from fleet.serving import metrics_server
from fleet.serving.metrics_server import AT_ONCE, MetricsServer


class Heard:
    """A log that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.news = asyncio.Event()

    def info(self, event: str, **fields: Any) -> None:
        self.told.append(event)
        self.news.set()

    warning = info


def made(listen: str, log: Heard) -> MetricsServer:
    registry = CollectorRegistry()
    Counter("asked", "How often.", registry=registry).inc(3)

    async def read() -> Callable[[], Iterable[Metric]]:
        return lambda: [GaugeMetricFamily("seen", "What is seen.", value=7)]

    async def hosts() -> object:
        return [{"targets": ["a:1"]}]

    return MetricsServer(listen, registry, read, log, {"/hosts": hosts})


@asynccontextmanager
async def served(listen: str = "127.0.0.1:0") -> AsyncIterator[str]:
    log = Heard()
    server = made(listen, log)
    task = asyncio.create_task(server.run())
    async with asyncio.timeout(10):
        await log.news.wait()
    try:
        yield f"http://{server.address}"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        read: bytes = answer.read()
        return read.decode()


async def test_what_is_counted_and_what_is_read_are_both_told() -> None:
    async with served() as url:
        text = await asyncio.to_thread(get, f"{url}/metrics")
    assert "seen 7.0" in text
    assert "asked_total 3.0" in text


async def test_what_takes_long_to_read_is_told_again_for_a_while() -> None:
    reads = 0

    async def slowly() -> object:
        nonlocal reads
        reads += 1
        loop = asyncio.get_running_loop()
        began = loop.time()
        while loop.time() < began + 0.1:
            pass
        return reads

    rested = metrics_server._Rested(slowly)
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(30):
        while reads < 3:
            await rested()
            await asyncio.sleep(0.01)
    assert loop.time() - began >= 2.2  # two rests of a second, and at least two readings


async def test_a_list_is_given_as_json() -> None:
    async with served() as url:
        assert json.loads(await asyncio.to_thread(get, f"{url}/hosts")) == [{"targets": ["a:1"]}]


async def test_other_paths_are_not_found_and_say_what_there_is() -> None:
    async with served() as url:
        try:
            await asyncio.to_thread(get, f"{url}/")
        except urllib.error.HTTPError as error:
            with error:
                assert error.code == 404
                assert b"/metrics" in error.read()
        else:
            raise AssertionError("it was found")


async def test_a_taken_port_is_told_and_stops_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        log = Heard()
        server = made(f"127.0.0.1:{taken.getsockname()[1]}", log)
        task = asyncio.create_task(server.run())
        async with asyncio.timeout(10):
            await log.news.wait()
        assert log.told == ["metrics are not served"]
        assert not task.done()
        assert server.address == ""
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_name_that_is_long_looked_up_holds_up_neither_the_loop_nor_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, found, closed = threading.Event(), threading.Event(), threading.Event()
    really = metrics_server._server

    def slowly(host: str, port: int, app: Any) -> Any:
        asked.set()
        found.wait(30)
        server = really("127.0.0.1", 0, app)
        close = server.server_close

        def closing() -> None:
            close()
            closed.set()

        monkeypatch.setattr(server, "server_close", closing)
        return server

    monkeypatch.setattr(metrics_server, "_server", slowly)
    server = made("slow.invalid:1", Heard())
    task = asyncio.create_task(server.run())
    assert await asyncio.to_thread(asked.wait, 10), "the loop goes on meanwhile"
    assert server.address == "" and not task.done()
    task.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(task, return_exceptions=True)
    found.set()
    assert await asyncio.to_thread(closed.wait, 10), "what is opened too late is closed"


async def test_clients_that_say_nothing_are_few_and_do_not_hold_up_the_loop() -> None:
    async with served() as url:
        host, _, port = url.removeprefix("http://").rpartition(":")
        silent = [socket.create_connection((host, int(port))) for _ in range(AT_ONCE)]
        try:
            with socket.create_connection((host, int(port)), timeout=10) as one_more:
                assert await asyncio.to_thread(one_more.recv, 1) == b""
        finally:
            for one in silent:
                one.close()


async def test_where_no_thread_can_be_had_a_request_takes_no_place_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async with served() as url:
        host, _, port = url.removeprefix("http://").rpartition(":")
        with monkeypatch.context() as without:
            without.setattr(ThreadingMixIn, "process_request", none)
            for _ in range(AT_ONCE):
                with socket.create_connection((host, int(port)), timeout=10) as client:
                    assert await asyncio.to_thread(_is_ended, client)
        assert "seen 7.0" in await asyncio.to_thread(get, f"{url}/metrics")


async def test_a_client_that_asks_in_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "_REQUEST_SECONDS", 0.2)
    ended = threading.Event()

    def drip(client: socket.socket) -> None:
        """Never silent for as long as a client may be."""
        try:
            while not ended.wait(0.02):
                client.sendall(b"x")
        except OSError:
            pass

    async with served() as url:
        host, _, port = url.removeprefix("http://").rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(b"GET /")
            dripping = threading.Thread(target=drip, args=(client,))
            dripping.start()
            try:
                assert await asyncio.to_thread(_is_ended, client)
            finally:
                ended.set()
                dripping.join()


def _is_ended(client: socket.socket) -> bool:
    """Whatever the server says first. Raises TimeoutError when it does not end."""
    try:
        while client.recv(4096):
            pass
    except ConnectionError:
        pass
    return True
