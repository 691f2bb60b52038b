"""QMP's first words: QEMU that begins does not always greet whoever waited for it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from fleet_agent.drivers.qemu.monitor import Monitor, MonitorError

UUID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
EVENT = {"event": "RESUME", "timestamp": {"seconds": 1, "microseconds": 0}}
GREETING = {"QMP": {"version": {"qemu": {}, "package": ""}, "capabilities": []}}


class Peer:
    """Says the words, one for each connection, and then answers as QEMU does."""

    def __init__(self, words: list[object]) -> None:
        self.words = words
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        word = self.words[min(self.connections, len(self.words) - 1)]
        self.connections += 1
        writer.write(json.dumps(word).encode() + b"\n")
        while said := await reader.read(65536):  # it waits for each answer
            asked = json.loads(said)
            found = {"UUID": UUID} if asked["execute"] == "query-uuid" else {}
            answer = {"return": found} | {key: asked[key] for key in asked if key == "id"}
            writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()


@pytest.mark.parametrize("before", [0, 1, 2])
async def test_an_event_before_the_greeting_is_answered_by_another_connection(
    tmp_path: Path, before: int
) -> None:
    peer = Peer([EVENT] * before + [GREETING])
    async with await asyncio.start_unix_server(peer.serve, str(tmp_path / "monitor.sock")):
        monitor = Monitor("spv-5", lambda event, data: None)
        await monitor.connect(tmp_path, UUID)
        assert peer.connections == before + 1 and not monitor.lost
        await monitor.close()


async def test_one_that_closes_connections_for_a_while_is_waited_for(tmp_path: Path) -> None:
    peer, until = Peer([GREETING]), asyncio.get_running_loop().time() + 0.3
    closed = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal closed
        if asyncio.get_running_loop().time() >= until:
            return await peer.serve(reader, writer)
        closed += 1
        writer.close()

    async with await asyncio.start_unix_server(serve, str(tmp_path / "monitor.sock")):
        monitor = Monitor("spv-5", lambda event, data: None)
        await monitor.connect(tmp_path, UUID)
        assert closed > 1 and not monitor.lost
        await monitor.close()


async def test_one_that_has_ended_is_not_waited_for(tmp_path: Path) -> None:
    began = asyncio.get_running_loop().time()
    with pytest.raises(MonitorError, match="QEMU of spv-5 does not answer"):
        await Monitor("spv-5", lambda event, data: None).connect(tmp_path, UUID)
    assert asyncio.get_running_loop().time() - began < 2


async def test_one_that_never_greets_is_named(tmp_path: Path) -> None:
    peer = Peer([EVENT])
    async with await asyncio.start_unix_server(peer.serve, str(tmp_path / "monitor.sock")):
        with pytest.raises(MonitorError, match="QEMU of spv-5 does not answer"):
            await Monitor("spv-5", lambda event, data: None).connect(tmp_path, UUID)
