"""One link per host: dialled at a pace, its reports read, its assignment pushed, its health.

The leader dials, so that a fleet of thousands never storms it. Every call carries the leader's
term, and nothing is sent once the lease may be gone.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from fleet.keys import Epoch
from fleet.v1 import agent_pb2 as wire
from fleet_controller.agents.link import Link, Superior
from fleet_controller.agents.port import (
    AgentDialer,
    EndedHere,
    LinkError,
    StaleTerm,
    Unreachable,
)
from fleet_controller.agents.pushes import Pushes
from fleet_controller.core.host_loss.health import HealthTimes, Pace, health, pace_for
from fleet_controller.core.model import Health


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Seconds, and how many at once. Dialling more than a few dozen at once only makes each
    handshake wait for the others; pushes are cheap and kept plentiful."""

    dial_timeout: float = 20.0
    call_timeout: float = 20.0
    parallel_dials: int = 64
    parallel_pushes: int = 96
    first_retry: float = 0.5
    last_retry: float = 15.0
    sweep_interval: float = 1.0
    times: HealthTimes = field(default_factory=HealthTimes)


class Links:
    """All links of one leadership; they live in the task group given to `run`."""

    def __init__(
        self,
        superior: Superior,
        dialer: AgentDialer,
        clock: Callable[[], float],
        random: Random,
        settings: LinkSettings,
    ) -> None:
        self._superior = superior
        self._dialer = dialer
        self._clock = clock
        self._random = random
        self._settings = settings
        self._dials = asyncio.Semaphore(settings.parallel_dials)
        self._group: asyncio.TaskGroup | None = None
        self._untried: set[str] = set()
        self._pace = pace_for(1)
        self._oldest = clock()
        self.observe = False  # look at hosts whatever term they have heard; set before `run`
        self.links: dict[str, Link] = {}
        self._pushes = Pushes(
            self.links, superior, clock, random,
            settings.call_timeout, settings.first_retry, settings.last_retry,
        )  # fmt: skip
        self.by_health: Counter[Health] = Counter()
        self.settled = asyncio.Event()  # every host known at the start was tried once

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for link in self.links.values():
                link.task = group.create_task(self._keep(link))
            if not self._untried:
                self.settled.set()
            for _ in range(self._settings.parallel_pushes):
                group.create_task(self._pushes.push_due())
            group.create_task(self._sweep())

    def host(self, host_id: str, address: str) -> None:
        """A host is known at this address: link to it, or dial it anew where it moved."""
        link = self.links.get(host_id)
        if link is None:
            link = Link(host_id, address, self._clock(), self._pace.heartbeat)
            self.links[host_id] = link
            self._untried.add(host_id)
            self.by_health[link.health] += 1
            if self._group:
                link.task = self._group.create_task(self._keep(link))
        elif link.address != address:
            link.address = address
            if link.reports:
                link.reports.cancel()
        link.redial.set()

    def forget(self, host_id: str) -> None:
        """The host is known no more."""
        link = self.links.pop(host_id, None)
        if link:
            self.by_health[link.health] -= 1
            self._untried.discard(host_id)
            self._pushes.settle(link)
            if link.task:
                link.task.cancel()

    def push(self, host_id: str) -> None:
        """The host's assignment is another; tell it as soon as there is a link."""
        self._pushes.push(host_id)

    @property
    def declining(self) -> set[str]:
        """Hosts that are there and do not take their assignment."""
        return self._pushes.declining

    def silence(self) -> float:
        """Seconds since the live host was heard that has been silent longest; 0 without any.

        As of the last sweep: it is asked with every status, and thousands of hosts are many.
        """
        return max(0.0, self._clock() - self._oldest) if self.by_health[Health.LIVE] else 0.0

    def age(self, host_id: str) -> float:
        """Seconds since the host was heard; negative when it never was."""
        link = self.links.get(host_id)
        return self._clock() - link.heard if link and link.ever_heard else -1.0

    async def _keep(self, link: Link) -> None:
        """Dial, read, and dial again, for as long as the host is known."""
        retry = self._settings.first_retry
        while True:
            link.redial.clear()
            try:
                await self._follow(link)
            except StaleTerm as error:
                self._superior.outranked(str(error))
                link.error = str(error)
            except EndedHere as error:
                link.error = link.error or str(error)  # whoever ended it has said why
            except LinkError as error:
                link.error = str(error)
            finally:
                await self._drop(link)
            if link.health is Health.LIVE:
                retry = self._settings.first_retry
                self._set_health(link, Health.UNREACHABLE, link.error)
                self._superior.lost_sight(link.host_id)
            await _event_within(link.redial, retry * self._random.uniform(0.75, 1.25))
            retry = min(retry * 2, self._settings.last_retry)

    async def _follow(self, link: Link) -> None:
        async with self._dials:
            try:
                async with asyncio.timeout(self._settings.dial_timeout):
                    report = await self._open(link)
            except TimeoutError as error:
                raise Unreachable(f"{link.host_id} at {link.address}: no answer") from error
            finally:
                self._tried(link)
        assert link.reports is not None
        self._opened(link, report)
        sequence = report.sequence
        while True:
            report = await link.reports.read()
            link.heard = self._clock()
            sequence += 1
            if report.sequence != sequence:
                raise Unreachable(f"{link.host_id}: a report is missing; asking for all again")
            self._take(link, report)

    async def _open(self, link: Link) -> wire.Report:
        link.connection = self._dialer.connect(link.host_id, link.address)
        link.heartbeat = self._pace.heartbeat
        first = wire.WatchRequest(
            term=self._superior.term,
            pace=_wire_pace(self._pace),
            observe=self.observe,
        )
        link.reports = link.connection.watch(first)
        return await link.reports.read()

    def _opened(self, link: Link, report: wire.Report) -> None:
        link.heard = self._clock()
        link.ever_heard = True
        link.error = ""
        link.acknowledged = Epoch.of(report.epoch)
        self._take(link, report)
        self._set_health(link, Health.LIVE, "")
        wanted = self._superior.assignment_for(link.host_id)
        if wanted and (Epoch.of(wanted.epoch) != link.acknowledged or report.awaits_assign):
            self.push(link.host_id)

    def _take(self, link: Link, report: wire.Report) -> None:
        try:
            self._superior.reported(link.host_id, report)
        except ValueError as error:
            message = f"{link.host_id} sends reports that make no sense: {error}"
            raise Unreachable(message) from error

    def _tried(self, link: Link) -> None:
        link.tried = True
        self._untried.discard(link.host_id)
        if not self._untried:
            self.settled.set()

    async def _drop(self, link: Link) -> None:
        connection, link.connection, link.reports = link.connection, None, None
        self._pushes.settle(link)
        if connection:
            await connection.close()

    async def _sweep(self) -> None:
        """Notice silence, and keep the pace fit for the number of hosts."""
        while True:
            await asyncio.sleep(self._settings.sweep_interval)
            now = self._oldest = self._clock()
            for link in list(self.links.values()):
                linked = link.health is Health.LIVE
                if linked and link.heard < self._oldest:
                    self._oldest = link.heard
                state = health(linked, now - link.heard, link.heartbeat, self._settings.times)
                if state is not link.health and linked and link.reports:
                    link.error = f"{link.host_id}: silent for {now - link.heard:.0f} s"
                    link.reports.cancel()
                elif state is not link.health and not linked:
                    self._set_health(link, state, link.error)
                if now >= link.push_at:
                    link.push_at = math.inf
                    self.push(link.host_id)
            await self._repace()

    async def _repace(self) -> None:
        wanted = pace_for(_stage(len(self.links)))
        if wanted == self._pace:
            return
        self._pace = wanted
        for link in list(self.links.values()):
            if link.reports and link.health is Health.LIVE:
                link.heartbeat = max(link.heartbeat, wanted.heartbeat)
                try:
                    async with asyncio.timeout(self._settings.sweep_interval):
                        await link.reports.repace(_wire_pace(wanted))
                    link.heartbeat = wanted.heartbeat
                except (LinkError, TimeoutError) as error:
                    link.error = str(error)  # its reader finds the same, or silence

    def _set_health(self, link: Link, after: Health, why: str) -> None:
        before, link.health = link.health, after
        self.by_health[before] -= 1
        self.by_health[after] += 1
        self._superior.health_changed(link.host_id, before, after, why)


def _stage(hosts: int) -> int:
    """Hosts rounded to a power of 4: the pace changes seldom while a fleet arrives."""
    stage = 1
    while stage * 2 < hosts:
        stage *= 4
    return stage


def _wire_pace(pace: Pace) -> wire.Pace:
    return wire.Pace(
        min_interval_ms=round(pace.min_interval * 1000), heartbeat_ms=round(pace.heartbeat * 1000)
    )


async def _event_within(event: asyncio.Event, seconds: float) -> None:
    """Until the event is set, at most this long."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
