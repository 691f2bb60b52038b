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
from typing import Protocol

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.agents import (
    AgentConnection,
    AgentDialer,
    Declined,
    LinkError,
    Reports,
    StaleTerm,
    Unreachable,
)
from fleet_controller.core.health import HealthTimes, Pace, health, pace_for
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


class Superior(Protocol):
    """What a link needs of the leader."""

    @property
    def term(self) -> types.Term: ...

    def may_act(self) -> bool:
        """Whether the lease still holds."""

    def assignment_for(self, host_id: str) -> wire.AssignRequest | None:
        """The request that tells the host its assignment; None when it never had one."""

    def reported(self, host_id: str, report: wire.Report) -> None:
        """Raises ValueError for a report that makes no sense."""

    def lost_sight(self, host_id: str) -> None: ...

    def health_changed(self, host_id: str, before: Health, after: Health, why: str) -> None: ...

    def outranked(self, why: str) -> None:
        """An agent has heard a newer leader."""


@dataclass(slots=True, eq=False)
class Link:
    """One host as the leader reaches it. Times are of the injected monotonic clock."""

    host_id: str
    address: str
    heard: float
    heartbeat: float
    health: Health = Health.UNREACHABLE
    tried: bool = False
    ever_heard: bool = False
    error: str = ""
    connection: AgentConnection | None = None
    reports: Reports | None = None
    acknowledged: tuple[int, int] = (0, 0)  # the epoch the agent has confirmed
    push_wait: float = 0.0  # seconds between the last two pushes that the agent declined
    push_at: float = math.inf  # when to try again
    redial: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


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
        self._due: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()
        self._group: asyncio.TaskGroup | None = None
        self._untried: set[str] = set()
        self._pace = pace_for(1)
        self._oldest = clock()
        self.observe = False  # look at hosts whatever term they have heard; set before `run`
        self.links: dict[str, Link] = {}
        self.declining: set[str] = set()  # hosts that are there and do not take their assignment
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
                group.create_task(self._push_due())
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
            self._settle_push(link)
            if link.task:
                link.task.cancel()

    def push(self, host_id: str) -> None:
        """The host's assignment is another; tell it as soon as there is a link."""
        link = self.links.get(host_id)
        if link and link.connection and host_id not in self._queued:
            self._queued.add(host_id)
            self._due.put_nowait(host_id)

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
        link.acknowledged = (report.epoch.store_generation, report.epoch.revision)
        self._take(link, report)
        self._set_health(link, Health.LIVE, "")
        wanted = self._superior.assignment_for(link.host_id)
        if wanted and (_pair(wanted.epoch) != link.acknowledged or report.awaits_assign):
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
        self._settle_push(link)
        if connection:
            await connection.close()

    async def _push_due(self) -> None:
        while True:
            host_id = await self._due.get()
            self._queued.discard(host_id)
            link = self.links.get(host_id)
            if link and link.connection and self._superior.may_act():
                await self._push_to(link, link.connection)

    async def _push_to(self, link: Link, connection: AgentConnection) -> None:
        request = self._superior.assignment_for(link.host_id)
        if request is None:
            return
        try:
            await connection.assign(request, self._settings.call_timeout)
            link.acknowledged = _pair(request.epoch)
            link.error = ""
            self._settle_push(link)
        except StaleTerm as error:
            self._superior.outranked(str(error))
        except Declined as error:
            self._put_off_push(link, str(error))
        except LinkError as error:
            link.error = str(error)
            if link.connection is connection and link.reports:
                link.reports.cancel()  # the link is made anew, and the push with it

    def _settle_push(self, link: Link) -> None:
        link.push_wait, link.push_at = 0.0, math.inf
        self.declining.discard(link.host_id)

    def _put_off_push(self, link: Link, why: str) -> None:
        """The link is good and what was asked of it was not: its reports are still worth having."""
        link.error = why
        link.push_wait = min(
            max(self._settings.first_retry, link.push_wait * 2), self._settings.last_retry
        )
        link.push_at = self._clock() + link.push_wait * self._random.uniform(0.75, 1.25)
        self.declining.add(link.host_id)

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


def _pair(epoch: types.Epoch) -> tuple[int, int]:
    return (epoch.store_generation, epoch.revision)


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
