"""The wall's own part of fleetctl, without a cluster and without a browser."""

from __future__ import annotations

import http.client
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from fleet.v1 import agent_pb2 as agent
from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import NoAnswer
from fleetctl.wall import questions
from fleetctl.wall.feed import Feed
from fleetctl.wall.questions import Questions
from fleetctl.wall.server import ADDRESS, WallServer

LAYOUT, NOTE = 0x10, 0x11


class Controller:
    """Says these frames, and ends the wall then."""

    def __init__(self, frames: list[cluster.StatesFrame], ending: threading.Event) -> None:
        self._frames = frames
        self._ending = ending

    def stream(self, *_: Any, **__: Any) -> Iterator[cluster.StatesFrame]:
        yield from self._frames
        self._ending.set()


def feed_of(*frames: cluster.StatesFrame) -> Feed:
    ending = threading.Event()
    made: Any = Controller(list(frames), ending)
    return Feed(lambda: made, Questions(lambda: made, lambda _: {}), ending)


@pytest.mark.parametrize("encoding", [-1, LAYOUT, NOTE, 300])
def test_an_unknown_encoding_is_told_and_passes_for_nothing_else(encoding: int) -> None:
    made: Any = encoding
    frame = cluster.StatesFrame(encoding=made, cells=b"forged")
    (message,) = feed_of(frame).messages()
    assert message[0] == NOTE
    assert b"cannot read" in message and b"forged" not in message


def test_a_frame_without_a_change_is_passed_on() -> None:
    (message,) = feed_of(cluster.StatesFrame(number=3, after=3)).messages()
    assert message == bytes(5)


@pytest.mark.parametrize("target", ["http://[/", "http://evil.example/", "*", "/?", "/é"])
def test_whatever_is_asked_for_is_answered(target: str) -> None:
    with WallServer(feed_of()) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            client = http.client.HTTPConnection(ADDRESS, server.server_port, timeout=10)
            with closing(client):
                client.putrequest("GET", "/", skip_accept_encoding=True)
                client._buffer[0] = f"GET {target} HTTP/1.1".encode()  # type: ignore[attr-defined]
                client.endheaders()
                assert client.getresponse().status == 404
        finally:
            server.shutdown()
            thread.join()


class EndlessConsole:
    """A host that says on and on."""

    def __init__(self) -> None:
        self.wake, self._waker = os.pipe()
        os.write(self._waker, b".")
        self.said = 0

    def next_output(self) -> agent.ConsoleOutput:
        self.said += 1
        return agent.ConsoleOutput(data=b"x" * 4096)


def test_a_console_that_never_ends_keeps_nobody_from_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(questions, "_HOST_SECONDS", 0.05)
    endless: Any = EndlessConsole()
    with pytest.raises(NoAnswer, match="the host of spv-1 has not told its console"):
        questions._all_of(endless, "spv-1")
    assert endless.said
