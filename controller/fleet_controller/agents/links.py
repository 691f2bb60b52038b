"""One link per host: dialled at a pace, its reports read, its assignment pushed, its health.

The leader dials, so that a fleet of thousands never storms it. Every call carries the leader's
term, and nothing is sent once the lease may be gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

import structlog

from fleet.keys import Epoch
from fleet.v1 import agent_pb2 as wire
from fleet_controller.agents.conduct import ConductSettings
from fleet_controller.agents.link import Link, LinkListener
from fleet_controller.agents.link_table import LinkTable
from fleet_controller.agents.paces import Paces
from fleet_controller.agents.port import (
    AgentDialer,
    Declined,
    EndedHere,
    LinkError,
    Misbehaved,
    Reports,
    StaleTerm,
    Unreachable,
)
from fleet_controller.agents.pushes import Pushes
from fleet_controller.core.host_loss.health import HealthTimes, health
from fleet_controller.core.model import Health
from fleet_controller.observed.report_bounds import Misbehaves
from fleet_controller.waiting import within

# A fraction of a millisecond's work: an answer takes several turns of the loop.
_SWEPT_AT_ONCE = 100
# Defects of ours that what one host says has come upon: other hosts are heard all the same.
_OF_OURS = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError)
_log = structlog.get_logger(__name__)


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
    conduct: ConductSettings = field(default_factory=ConductSettings)


class Links:
    """All links of one leadership; they live in the task group given to `run`. What it knows of
    them is in the table."""

    def __init__(
        self,
        table: LinkTable,
        listener: LinkListener,
        dialer: AgentDialer,
        clock: Callable[[], float],
        random: Random,
        settings: LinkSettings,
    ) -> None:
        self._table = table
        self._listener = listener
        self._dialer = dialer
        self._clock = clock
        self._random = random
        self._settings = settings
        self._dials = asyncio.Semaphore(settings.parallel_dials)
        self._group: asyncio.TaskGroup | None = None
        self._untried: set[str] = set()
        self._observe = False
        self._paces = Paces(table, listener.guidance)
        self._pushes = Pushes(
            table, listener, clock, random,
            settings.call_timeout, settings.first_retry, settings.last_retry,
        )  # fmt: skip

    async def run(self, *, observe: bool = False) -> None:
        """Until cancelled. `observe`: look at hosts whatever term they have heard."""
        self._observe = observe
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                for link in self._table.all():
                    link.task = group.create_task(self._keep(link))
                if not self._untried:
                    self._table.settled.set()
                for _ in range(self._settings.parallel_pushes):
                    group.create_task(self._pushes.push_due())
                group.create_task(self._paces.tell_for_ever())
                await self._sweep()
            finally:
                # A write that ends as the leadership does may still bring hosts.
                self._group = None

    def add(self, host_id: str, address: str) -> None:
        """A host is known at this address: link to it, or dial it again where it moved."""
        link = self._table.get(host_id)
        if link is None:
            link = Link(host_id, address, self._clock(), self._paces.pace.heartbeat)
            self._table.add(link)
            self._untried.add(host_id)
            if self._group:
                link.task = self._group.create_task(self._keep(link))
        elif link.address != address:
            link.address = address
            link.end_stream()
        link.redial.set()

    def forget(self, host_id: str) -> None:
        """The host is known no more."""
        link = self._table.remove(host_id)
        if link:
            self._untried.discard(host_id)
            link.forget_push()
            if link.task:
                link.task.cancel()

    def push(self, host_id: str) -> None:
        """The host's assignment is another; tell it as soon as there is a link."""
        self._pushes.push(host_id)

    def push_all(self) -> None:
        """Tell every host its assignment: what was to be pushed meanwhile was not."""
        for link in self._table.all():
            self._pushes.push(link.host_id)

    def ask_anew(self, host_id: str) -> None:
        """Have a live host report all that it has."""
        link = self._table.get(host_id)
        if link and link.live:
            link.end_stream(f"{host_id}: asked for all again")

    def redial(self, host_id: str) -> None:
        """The host has said where it is: dial it now, unless it is live."""
        link = self._table.get(host_id)
        if link and not link.live:
            link.redial.set()

    async def _keep(self, link: Link) -> None:
        """Dial, read, and dial again, for as long as the host is known."""
        retry = self._settings.first_retry
        while True:
            link.redial.clear()
            try:
                await self._follow(link)
            except StaleTerm as error:
                self._listener.outranked(link.host_id, error.heard, str(error))
                link.fail(str(error))
            except EndedHere as error:
                link.fail(link.error or str(error))  # whoever ended it has said why
            except Misbehaved as error:
                self._accuse(link, str(error))
            except Declined as error:
                link.fail(str(error))
                link.heard = self._clock()  # a host that answers is not silent, whatever it says
            except LinkError as error:
                link.fail(str(error))
            finally:
                await self._drop(link)
            if link.live:
                # A link that ends as soon as it stands is dialled no sooner than none.
                if self._clock() - link.since >= self._settings.last_retry:
                    retry = self._settings.first_retry
                self._set_health(link, Health.UNREACHABLE, link.error)
                self._listener.lost_sight(link.host_id)
            await self._rest(link, retry * self._random.uniform(0.75, 1.25))
            retry = min(retry * 2, self._settings.last_retry)

    async def _rest(self, link: Link, retry: float) -> None:
        """Until the host is to be dialled again. Who misbehaves is not asked sooner for saying
        where it is."""
        if link.conduct.left_alone:
            await asyncio.sleep(link.conduct.wait)
        else:
            await within(retry, link.redial.wait())

    def _accuse(self, link: Link, why: str) -> None:
        link.conduct.accuse(why, self._clock(), self._settings.conduct)
        link.error = f"{why}; it is left alone for {link.conduct.wait:.0f} s"
        self._table.note_conduct(link)
        self._listener.misbehaved(link.host_id, why)

    async def _follow(self, link: Link) -> None:
        async with self._dials:
            try:
                async with asyncio.timeout(self._settings.dial_timeout):
                    reports = self._connect(link)
                    report = await reports.read()
            except TimeoutError as error:
                raise Unreachable(f"{link.host_id} at {link.address}: no answer") from error
            finally:
                self._tried(link)
        self._opened(link, report)
        sequence, awaits = report.sequence, report.awaits_assign
        while True:
            report = await reports.read()
            link.heard = self._clock()
            sequence += 1
            if report.sequence != sequence:
                raise Unreachable(f"{link.host_id}: a report is missing; asking for all again")
            self._hand_over(link, report)
            if report.awaits_assign and not awaits and self._listener.assignment_for(link.host_id):
                self.push(link.host_id)  # it has found out only now that its ledger is an older one
            awaits = report.awaits_assign

    def _connect(self, link: Link) -> Reports:
        first = wire.WatchRequest(
            term=self._listener.term,
            pace=self._paces.on_the_wire,
            observe=self._observe,
            **self._listener.guidance()._asdict(),
        )
        connection = self._dialer.connect(link.host_id, link.address)
        return link.connected(connection, first, self._paces.pace.heartbeat)

    def _opened(self, link: Link, report: wire.Report) -> None:
        link.opened(self._clock(), Epoch.of(report.epoch))
        self._hand_over(link, report)
        self._set_health(link, Health.LIVE, "")
        wanted = self._listener.assignment_for(link.host_id)
        # What it was told by a leader of a release before seals is sealed by being told again.
        known = Epoch.of(wanted.epoch) == link.acknowledged if wanted else True
        if wanted and (not known or report.awaits_assign or not report.epoch.seal):
            self.push(link.host_id)

    def _hand_over(self, link: Link, report: wire.Report) -> None:
        """Raises Misbehaved."""
        host, most = link.host_id, self._listener.most_report_bytes(link.host_id)
        interval, now = self._paces.pace.min_interval, self._clock()
        if why := link.conduct.too_fast(report.ByteSize(), most, interval, now):
            raise Misbehaved(f"{host} {why}")
        try:
            self._listener.reported(host, report)
        except Misbehaves as error:
            raise Misbehaved(f"{host} {error}") from error
        except ValueError as error:
            message = f"{host} sends reports that make no sense: {error}"
            raise Misbehaved(message) from error
        except _OF_OURS as error:
            _log.exception("a report", host=host)
            message = f"{host} sends reports that this controller cannot handle: see its log"
            raise Misbehaved(message) from error

    def _tried(self, link: Link) -> None:
        link.tried = True
        self._untried.discard(link.host_id)
        if not self._untried:
            self._table.settled.set()

    async def _drop(self, link: Link) -> None:
        link.forget_push()
        self._table.note_declining(link)
        await link.drop()

    async def _sweep(self) -> None:
        """Notice silence, and keep the pace fit for the number of hosts, and hosts told of what
        they are told beside their orders."""
        self._paces.begin()
        while True:
            await asyncio.sleep(self._settings.sweep_interval)
            live = [link.heard for link in self._table.all() if link.live]
            self._table.note_longest_silent(min(live, default=self._clock()))
            links = list(self._table.all())
            for first in range(0, len(links), _SWEPT_AT_ONCE):
                self._sweep_some(links[first : first + _SWEPT_AT_ONCE])
                await asyncio.sleep(0)  # a turn for whoever asks meanwhile
            self._paces.look()

    def _sweep_some(self, links: Iterable[Link]) -> None:
        now = self._clock()
        for link in links:
            if self._table.get(link.host_id) is not link:
                continue  # it was forgotten while others were looked at
            self._judge(link, now)
            if link.live and link.conduct.forgive(link.since, now, self._settings.conduct):
                self._table.note_conduct(link)
            if link.push_is_due(now):
                self.push(link.host_id)

    def _judge(self, link: Link, now: float) -> None:
        silent = now - link.heard
        found = health(link.live, silent, link.heartbeat, self._settings.times)
        if found is link.health:
            return
        if link.live:
            link.end_stream(f"{link.host_id}: silent for {silent:.0f} s")
        else:
            self._set_health(link, found, link.error)

    def _set_health(self, link: Link, after: Health, why: str) -> None:
        before = link.health
        self._table.set_health(link, after)
        self._listener.health_changed(link.host_id, before, after, why)
