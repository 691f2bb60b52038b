"""QMP with one process of QEMU, by the library of its makers: what is asked, what is heard."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from qemu.qmp import EventListener, QMPClient, QMPError, Runstate
from qemu.qmp.qmp_client import ExecuteError

from fleet_agent.drivers.qemu.processes import OWN_TROUBLE, connected

# Seconds for one answer. A process that is busy restoring answers when it is done.
ANSWER_SECONDS = 30.0
# QEMU that begins may say an event before it greets whoever waited for it, or greet nobody (7.2,
# rarely, on busy hosts). It greets the next one, but not before it has seen that the last one has
# gone: until then it closes each. Seconds to one greeting, and before each further connection.
_GREETING_SECONDS = 10.0
_PAUSES = (0.02, 0.1, 0.5, 2.0)
_NOBODY_LISTENS = (ConnectionRefusedError, FileNotFoundError)
# What is read of QMP at most for one message.
_MESSAGE_BYTES = 1024 * 1024

# What it logs of an end is told by whoever asked.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)

Told = Callable[[str, Mapping[str, object]], None]


class MonitorError(Exception):
    """QEMU does not answer, or refuses; one sentence."""


class NotAsked(MonitorError):
    """QEMU was not reached for want of something of this process: nothing is known of it."""


class Monitor:
    """One connection. `told` hears of each event, and of the end as an event without a name."""

    def __init__(self, name: str, told: Told) -> None:
        self._name = name
        self._told = told
        self._listener = EventListener()
        self._client = self._new_client()
        self._hearing: asyncio.Task[None] | None = None

    @property
    def lost(self) -> bool:
        """Whether there is no connection any more."""
        return self._client.runstate is not Runstate.RUNNING

    async def connect(self, folder: Path, uuid: str) -> None:
        """And see that it is the VM's own. Raises MonitorError."""
        for pause in (*_PAUSES, None):
            try:
                await self._greeted(folder)
                break
            except (QMPError, OSError, TimeoutError) as error:
                if is_own_trouble(error):
                    why = f"QEMU of {self._name} cannot be asked now: {_why(error)}"
                    raise NotAsked(why) from error
                if pause is None or isinstance(error, _NOBODY_LISTENS):
                    why = f"QEMU of {self._name} does not answer: {_why(error)}"
                    raise MonitorError(why) from error
            await asyncio.sleep(pause)
            self._client = self._new_client()
        self._hearing = asyncio.get_running_loop().create_task(self._hear())
        found = cast(Mapping[str, object], await self.ask("query-uuid"))
        if found.get("UUID") != uuid:
            raise MonitorError(f"QEMU of {self._name} says that it is another VM's")

    def _new_client(self) -> QMPClient:
        client = QMPClient(readbuflen=_MESSAGE_BYTES)
        client.register_listener(self._listener)
        return client

    async def _greeted(self, folder: Path) -> None:
        """Raises QMPError, OSError, TimeoutError."""
        made: socket.socket | None = None
        try:
            async with asyncio.timeout(_GREETING_SECONDS):
                made = connected(folder, "monitor")
                await self._client.connect(made)
        except (QMPError, OSError, TimeoutError):
            if made is not None:
                made.close()
            raise

    async def ask(self, command: str, **arguments: object) -> object:
        """Raises MonitorError."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._client.execute(command, arguments)
        except ExecuteError as error:
            raise MonitorError(f"QEMU of {self._name} refuses {command}: {error}") from error
        except (QMPError, OSError, TimeoutError) as error:
            raise MonitorError(
                f"QEMU of {self._name} does not answer {command}: {_why(error)}"
            ) from error

    async def give_file(self, name: str, descriptor: int) -> None:
        """QEMU knows an open file by this name from now on. Raises MonitorError."""
        try:
            self._client.send_fd_scm(descriptor)
        except (QMPError, OSError) as error:
            raise MonitorError(f"QEMU of {self._name} takes no file: {_why(error)}") from error
        await self.ask("getfd", fdname=name)

    async def status(self) -> str:
        """Its run state. Raises MonitorError."""
        return str(cast(Mapping[str, object], await self.ask("query-status")).get("status"))

    async def close(self) -> None:
        if self._hearing is not None:
            self._hearing.cancel()
            await asyncio.wait([self._hearing])
        with contextlib.suppress(QMPError, OSError, EOFError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._client.disconnect()

    async def _hear(self) -> None:
        async for event in self._listener:
            data = event.get("data")
            self._told(str(event["event"]), data if isinstance(data, dict) else {})


def is_own_trouble(error: BaseException) -> bool:
    """Whether it says something of this process, and nothing of QEMU."""
    return isinstance(error, NotAsked) or (
        isinstance(error, OSError) and error.errno in OWN_TROUBLE
    )


def _why(error: BaseException) -> str:
    return str(error) or (
        "nothing came" if isinstance(error, TimeoutError) else type(error).__name__
    )
