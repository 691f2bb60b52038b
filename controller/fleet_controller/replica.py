"""One controller replica: stands by or leads, and knows which."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fleet_controller.announcements import Announcements
from fleet_controller.leader import Election, Leadership
from fleet_controller.operations import Operations
from fleet_controller.reign import Reign, Surroundings
from fleet_controller.relay import Relay
from fleet_controller.verdicts import Verdicts


class NotLeading(Exception):
    """This replica does not lead; `address` is the leader's, empty when none is known."""

    def __init__(self, message: str, address: str) -> None:
        super().__init__(message)
        self.address = address


class Leading:
    """All of one leadership."""

    def __init__(
        self, leadership: Leadership, around: Surroundings, uid: Callable[[], str]
    ) -> None:
        self.reign = Reign(leadership, around)
        self.operations = Operations(self.reign, uid)
        self.announcements = Announcements(self.reign)
        self.relay = Relay(self.reign)
        self.verdicts = Verdicts(self.reign, self.operations)

    async def run(self) -> None:
        """Until cancelled, or until leadership is lost."""
        async with asyncio.TaskGroup() as group:
            # First of all, so that it knows of the end before the connections are closed.
            group.create_task(self.relay.run())
            group.create_task(self.announcements.run())
            group.create_task(self.verdicts.run())
            group.create_task(self.reign.run())


class Replica:
    """Leads whenever the election says so."""

    def __init__(
        self, name: str, election: Election, around: Surroundings, new_uid: Callable[[], str]
    ) -> None:
        self.name = name
        self.around = around
        self._election = election
        self._new_uid = new_uid
        self._leading: Leading | None = None

    async def run(self) -> None:
        """Until cancelled."""
        await self._election.lead(self._lead)

    def leading(self) -> Leading:
        """What to ask. Raises NotLeading."""
        leading, leadership = self._leading, self._election.leadership
        if leading and leadership and leadership.valid() and leading.reign.ready.is_set():
            return leading
        if leadership:
            raise NotLeading("this controller has just become the leader and still reads", "")
        known = self._election.current_leader()
        if known and known[0] != self.name:
            raise NotLeading(f"this controller stands by; {known[1]} leads", known[1])
        raise NotLeading(
            f"no controller leads: {self.around.store.description} cannot be reached or has "
            "not chosen yet",
            "",
        )

    async def _lead(self, leadership: Leadership) -> None:
        self._leading = Leading(leadership, self.around, self._new_uid)
        try:
            await self._leading.run()
        finally:
            self._leading = None
