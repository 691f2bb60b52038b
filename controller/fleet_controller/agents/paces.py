"""How often hosts report, and what they are told beside their orders: kept fit, and told a few at a
time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from fleet.v1 import agent_pb2 as wire
from fleet_controller.agents.link import Link
from fleet_controller.agents.link_table import LinkTable
from fleet_controller.agents.port import NO_GUIDANCE, Guidance, LinkError
from fleet_controller.core.host_loss.health import Pace, pace_for

# Thousands told in one turn of the loop hold up everybody else for seconds, and those told last
# seem not to listen.
TOLD_AT_ONCE = 32
# Seconds. A host that takes longer keeps the next ones waiting no more; in the end it does not
# listen, and its stream ends by that.
_WAITED_FOR = 0.2
LISTENS_WITHIN = 5.0


class Paces:
    """Of one leadership's links. `asked` says what hosts are to be told now."""

    def __init__(self, table: LinkTable, asked: Callable[[], Guidance]) -> None:
        self._table = table
        self._asked = asked
        self.pace: Pace = pace_for(1)
        self.guidance: Guidance = NO_GUIDANCE
        self._changed = asyncio.Event()

    @property
    def on_the_wire(self) -> wire.Pace:
        return wire.Pace(
            min_interval_ms=round(self.pace.min_interval * 1000),
            heartbeat_ms=round(self.pace.heartbeat * 1000),
        )

    def begin(self) -> None:
        """What whoever is dialled from now on is told at once."""
        self.guidance = self._asked()

    def look(self) -> None:
        """Whether hosts are to be told something else by now."""
        wanted, guidance = pace_for(_stage(len(self._table))), self._asked()
        if wanted != self.pace or guidance.adds_to(self.guidance):
            self.pace, self.guidance = wanted, guidance
            self._changed.set()

    async def tell_for_ever(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            links = iter([link for link in self._table.all() if link.live])
            async with asyncio.TaskGroup() as group:
                for _ in range(TOLD_AT_ONCE):
                    group.create_task(self._tell_each(links, group))

    async def _tell_each(self, links: Iterator[Link], group: asyncio.TaskGroup) -> None:
        for link in links:
            telling = group.create_task(self._tell(link))
            await asyncio.wait([telling], timeout=_WAITED_FOR)

    async def _tell(self, link: Link) -> None:
        try:
            async with asyncio.timeout(LISTENS_WITHIN):
                await link.repace(self.on_the_wire, self.pace.heartbeat, self.guidance)
        except (LinkError, TimeoutError) as error:
            link.error = str(error)  # its reader finds the same, or silence


def _stage(hosts: int) -> int:
    """Hosts rounded to a power of 4: the pace changes seldom while a fleet arrives."""
    stage = 1
    while stage * 2 < hosts:
        stage *= 4
    return stage
