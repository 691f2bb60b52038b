"""Hosts with guests 0 to 3 that run and 4 that does not, to ask commands of: one for each adapter
of the GuestCommands port."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fleet.ranges import IndexSet
from fleet_agent.api.console_commands import ConsoleCommands
from fleet_agent.api.console_sessions import Desk
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.guest_commands import HollowGuestCommands
from fleet_agent.drivers.hollow.guest_files import HollowGuestFiles, content_of
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.libvirt.guests.guest_agents import LibvirtGuestAgents
from fleet_agent.drivers.libvirt.guests.guest_files import LibvirtGuestFiles
from fleet_agent.drivers.ports.guest_commands import GuestCommands
from fleet_agent.drivers.ports.guest_files import GuestFiles
from tests.contracts.hypervisor.hypervisor_hosts import FLEET, batch, gather
from tests.doubles.agent_guests import AgentGuest, AgentLink, ask
from tests.doubles.shell_consoles import ShellConsoles

RUNNING, OFF = IndexSet.span(0, 4), IndexSet.span(4, 5)
UID = FLEET.uid
Host = Callable[[], AbstractAsyncContextManager[GuestCommands]]


@asynccontextmanager
async def hollow() -> AsyncIterator[GuestCommands]:
    behaviour = Behaviour.of()
    hypervisor = HollowHypervisor(behaviour)

    def no_disk(*_: object) -> None:
        return None

    await gather(hypervisor.define(batch(RUNNING | OFF), no_disk))  # type: ignore[arg-type]
    await gather(hypervisor.start(batch(RUNNING)))
    yield HollowGuestCommands(hypervisor, behaviour)


@asynccontextmanager
async def consoles() -> AsyncIterator[GuestCommands]:
    made = ShellConsoles(UID, *RUNNING, *OFF)
    for index in RUNNING:
        made.guests[index].start()
    try:
        for index in RUNNING:
            await made.guests[index].has_printed(b"/ # ")
        yield ConsoleCommands(Desk(made))
    finally:
        await made.close()


@asynccontextmanager
async def agents() -> AsyncIterator[GuestCommands]:
    """Each guest that runs has an agent, and a console on which nothing answers."""
    made = ShellConsoles(UID, *RUNNING, *OFF)
    with tempfile.TemporaryDirectory() as folder:
        guests = {index: AgentGuest(Path(folder), index) for index in RUNNING}
        driver = LibvirtGuestAgents(AgentLink(guests), ask)  # type: ignore[arg-type]
        try:
            for guest in guests.values():
                guest.start()
            yield ConsoleCommands(Desk(made), driver)
        finally:
            await driver.close()
            for guest in guests.values():
                guest.end()


@dataclass(frozen=True, slots=True)
class FilesHost:
    """`folder`: one that guests have; `held`: mode and digest of what a guest has at a path;
    `content`: of a guest's file at a path whose name says how many bytes it has."""

    files: GuestFiles
    folder: str
    held: Callable[[int, str], tuple[int, bytes] | None]
    content: Callable[[int, str], bytes]


@asynccontextmanager
async def hollow_files() -> AsyncIterator[FilesHost]:
    behaviour = Behaviour.of()
    hypervisor = HollowHypervisor(behaviour)

    def no_disk(*_: object) -> None:
        return None

    await gather(hypervisor.define(batch(RUNNING | OFF), no_disk))  # type: ignore[arg-type]
    await gather(hypervisor.start(batch(RUNNING)))
    files = HollowGuestFiles(hypervisor, behaviour)

    def content(index: int, path: str) -> bytes:
        line, size = content_of(UID, index, path)
        return (line * (size // len(line) + 1))[:size]

    yield FilesHost(files, "/tmp", lambda index, path: files.held(UID, index, path), content)


@asynccontextmanager
async def agents_files() -> AsyncIterator[FilesHost]:
    """The guests are processes of one machine, so they share its files."""
    with tempfile.TemporaryDirectory() as folder:
        guests = {index: AgentGuest(Path(folder), index) for index in RUNNING}
        driver = LibvirtGuestAgents(AgentLink(guests), ask)  # type: ignore[arg-type]
        inside = Path(folder) / "inside"
        inside.mkdir()

        def held(_: int, path: str) -> tuple[int, bytes] | None:
            there = Path(path)
            if not there.is_file():
                return None
            digest = hashlib.sha256(there.read_bytes()).digest()
            return there.stat().st_mode & 0o777, digest

        def content(_: int, path: str) -> bytes:
            made = (bytes(range(256)) * (int(Path(path).name) // 256 + 1))[: int(Path(path).name)]
            Path(path).write_bytes(made)
            return made

        try:
            for guest in guests.values():
                guest.start()
            yield FilesHost(LibvirtGuestFiles(driver), str(inside), held, content)
        finally:
            await driver.close()
            for guest in guests.values():
                guest.end()


HOSTS: dict[str, Host] = {"hollow": hollow, "consoles": consoles, "agents": agents}
FILES_HOSTS: dict[str, Callable[[], AbstractAsyncContextManager[FilesHost]]] = {
    "hollow": hollow_files,
    "agents": agents_files,
}
