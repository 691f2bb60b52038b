"""Hosts with guests 0 to 3 that run and 4 that does not, to ask commands of: one for each adapter
of the GuestCommands port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fleet.ranges import IndexSet
from fleet_agent.api.console_commands import ConsoleCommands
from fleet_agent.api.console_sessions import Desk
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.guest_commands import HollowGuestCommands
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.ports.guest_commands import GuestCommands
from tests.contracts.hypervisor.hypervisor_hosts import FLEET, batch, gather
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
        yield ConsoleCommands(Desk(made))
    finally:
        await made.close()


HOSTS: dict[str, Host] = {"hollow": hollow, "consoles": consoles}
