"""udev's queue is held while volumes are made, and let go whatever becomes of the agent."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleet_agent.drivers.zfs.udev_queue import UdevQueue

DEADLINE = 20.0
AGENT = """
import asyncio
from fleet_agent.drivers.zfs.udev_queue import UdevQueue
async def main():
    async with UdevQueue(fewest=1).held(1):
        print("inside", flush=True)
        await asyncio.sleep(3600)
asyncio.run(main())
"""


STOP, START = b"--stop-exec-queue\n", b"--start-exec-queue\n"


class Udevadm:
    """A udevadm on the path that says what it was told through a pipe."""

    def __init__(self, folder: Path) -> None:
        pipe = folder / "told"
        os.mkfifo(pipe)
        program = folder / "udevadm"
        program.write_text(f'#!/bin/sh\necho "$2" >> {pipe}\n')
        program.chmod(0o755)
        # Open for both, so that it neither waits for a writer nor ends with one.
        self._end = open(os.open(pipe, os.O_RDWR | os.O_NONBLOCK), "rb", buffering=0)
        self._told = asyncio.StreamReader()

    async def listen(self) -> None:
        loop = asyncio.get_running_loop()
        protocol = asyncio.StreamReaderProtocol(self._told)
        self._pipe, _ = await loop.connect_read_pipe(lambda: protocol, self._end)

    async def was_told(self, *words: bytes) -> None:
        """These, next and in this order."""
        async with asyncio.timeout(DEADLINE):
            for word in words:
                assert await self._told.readline() == word

    def close(self) -> None:
        self._pipe.close()


@pytest.fixture
async def udevadm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Udevadm]:
    made = Udevadm(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    await made.listen()
    yield made
    made.close()


async def test_it_is_held_inside_and_let_go_outside(udevadm: Udevadm) -> None:
    async with UdevQueue().held(250):
        await udevadm.was_told(STOP)
    await udevadm.was_told(START)


async def test_few_volumes_are_not_worth_it(udevadm: Udevadm) -> None:
    async with UdevQueue(fewest=16).held(15):
        pass
    async with UdevQueue(fewest=16).held(16):
        pass
    await udevadm.was_told(STOP, START)


async def test_the_last_one_out_lets_go(udevadm: Udevadm) -> None:
    queue = UdevQueue()
    async with queue.held(20):
        async with queue.held(20):
            pass
        await (await asyncio.create_subprocess_exec("udevadm", "control", "inside")).wait()
    await udevadm.was_told(STOP, b"inside\n", START)
    async with queue.held(20):
        await udevadm.was_told(STOP)


async def test_it_is_let_go_when_cloning_fails_or_is_cancelled(udevadm: Udevadm) -> None:
    with pytest.raises(RuntimeError):
        async with UdevQueue().held(20):
            raise RuntimeError
    await udevadm.was_told(STOP, START)
    with pytest.raises(TimeoutError):
        async with UdevQueue().held(20), asyncio.timeout(0):
            await asyncio.Event().wait()
    await udevadm.was_told(STOP, START)


async def test_it_is_never_held_longer_than_a_bound(udevadm: Udevadm) -> None:
    async with UdevQueue(longest=1).held(20):
        await udevadm.was_told(STOP, START)


async def test_it_is_let_go_when_the_agent_is_killed(udevadm: Udevadm) -> None:
    agent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", AGENT, stdout=asyncio.subprocess.PIPE
    )
    assert agent.stdout is not None
    async with asyncio.timeout(DEADLINE):
        assert await agent.stdout.readline() == b"inside\n"
    agent.send_signal(signal.SIGKILL)
    await agent.wait()
    await udevadm.was_told(STOP, START)


def put_first(udevadm: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "udevadm").write_text(udevadm)
    (folder / "udevadm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


async def test_a_udev_that_does_not_obey_is_none_the_worse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_first("#!/bin/sh\nexit 1\n", tmp_path, monkeypatch)
    async with UdevQueue().held(20):
        pass


async def test_nor_is_a_host_without_a_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    async with UdevQueue().held(20):
        pass
