"""One leadership: read the store, link to the hosts, decide, write, tell - until it ends.

Level-triggered: events only wake the loop, and each pass recomputes everything from the
mirror of the store and the reports. Changes asked for by people go through the same state
under the same lock, so that there is one writer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.agents import AgentDialer
from fleet_controller.assignments import AssignmentMessages
from fleet_controller.commit import Committer, Outdated, Write
from fleet_controller.core.changes import forgettable, without_tombstones
from fleet_controller.core.duplicates import duplicates
from fleet_controller.core.loss import LossSettings
from fleet_controller.core.model import (
    Assignment,
    ClusterView,
    GoneFleet,
    Health,
    HostView,
    Meta,
)
from fleet_controller.core.placement import FleetPlan, Placement, place
from fleet_controller.core.quarantine import QuarantineSettings
from fleet_controller.events import EventLog
from fleet_controller.leader import Leadership
from fleet_controller.links import Links, LinkSettings
from fleet_controller.observed import Observed
from fleet_controller.pulse import Pulse
from fleet_controller.sightings import Sightings
from fleet_controller.state import NOTHING, ClusterState
from fleet_controller.store import keys
from fleet_controller.store.codec import encode
from fleet_controller.store.port import (
    Compacted,
    Delete,
    Put,
    Store,
    StoreError,
)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ReignSettings:
    """Seconds."""

    # A new leader plans when every host was told its term, or after this long without.
    settle: float = 20.0
    # Between two passes that nobody waits for, so that a stream of reports costs few of them.
    pass_interval: float = 0.5
    store_retry: float = 1.0
    # Between two looks at which hosts are lost, are back, or fail too much.
    judge_interval: float = 1.0
    loss: LossSettings = field(default_factory=LossSettings)
    quarantine: QuarantineSettings = field(default_factory=QuarantineSettings)
    links: LinkSettings = field(default_factory=LinkSettings)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a reign is given: ports, clock, executor and randomness."""

    store: Store
    dialer: AgentDialer
    clock: Callable[[], float]
    random: Random
    executor: Executor
    events: EventLog
    settings: ReignSettings


class Reign:
    """The leader's whole state and work. `run` ends only by cancellation."""

    def __init__(self, leadership: Leadership, around: Surroundings) -> None:
        self._around = around
        self._leadership = leadership
        self.events = around.events
        self.state = ClusterState(self._record_changed)
        self.observed = Observed()
        self.committer = Committer(
            around.store, self.state, leadership.guard, leadership.raise_if_lost
        )
        self.links = Links(self, around.dialer, around.clock, around.random, around.settings.links)
        self.sightings = Sightings(around.events)
        self.changing = asyncio.Lock()  # held by whoever decides and writes
        self.plans: Mapping[str, FleetPlan] = {}
        # VMs that may run twice, by host and fleet uid.
        self.duplicates: Mapping[str, Mapping[str, int]] = {}
        self.ready = asyncio.Event()  # the store has been read
        # Hosts whose announcement was refused: when last, on the leader's clock, and why.
        self.refused: dict[str, tuple[float, str]] = {}
        self._messages = AssignmentMessages(self.state)
        self._wake = Pulse()
        self._urgent = asyncio.Event()
        self._told = False
        self._outranked = False
        self._trouble = ""  # with the store, as it was said last

    @property
    def term(self) -> types.Term:
        return types.Term(
            store_generation=self.state.meta.generation, revision=self._leadership.term_revision
        )

    @property
    def settings(self) -> ReignSettings:
        return self._around.settings

    def now(self) -> float:
        """The leader's monotonic clock, in seconds."""
        return self._around.clock()

    @property
    def durable(self) -> bool:
        """Whether what was acknowledged survives a restart of everything."""
        return self._around.store.durable

    async def run(self) -> None:
        """Lead until cancelled."""
        await self._begin()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.links.run())
            group.create_task(self._follow_store())
            group.create_task(self._plan_for_ever())
            group.create_task(self.sightings.summarise_for_ever())

    async def in_executor(self, work: Callable[[], Result]) -> Result:
        """Run a pure function off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._around.executor, work)

    def view(self) -> ClusterView:
        """A snapshot to decide from."""
        hosts = {}
        for host_id, record in self.state.hosts.items():
            seen = self.observed.host(host_id)
            assignment = self.state.assignments.get(host_id, NOTHING)
            hosts[host_id] = HostView(
                record, assignment, self._reachable(host_id), seen.released, seen.orphans
            )
        return ClusterView(
            self.state.revision,
            hosts,
            dict(self.state.fleets),
            dict(self.state.specs),
            frozenset(self.state.gone),
        )

    def wake(self) -> None:
        """Somebody waits: plan at once."""
        self._urgent.set()
        self._wake.beat()

    @property
    def plans_freely(self) -> bool:
        """Whether the term has been told, so that plans may be carried out."""
        return self._told

    # ---- what links ask of their superior ------------------------------------------------

    def may_act(self) -> bool:
        return self._leadership.valid()

    def assignment_for(self, host_id: str) -> wire.AssignRequest | None:
        return self._messages.request(host_id, self.term)

    def reported(self, host_id: str, report: wire.Report) -> None:
        epoch = self.state.mod_revision(keys.assignment(host_id))
        if self.observed.reported(host_id, report, epoch):
            self._wake.beat()

    def lost_sight(self, host_id: str) -> None:
        self.observed.lost_sight(host_id)

    def health_changed(self, host_id: str, before: Health, after: Health, why: str) -> None:
        self.sightings.note(host_id, after, why)
        self.observed.pulse.beat()
        if Health.LIVE in (before, after):
            self._wake.beat()

    def outranked(self, why: str) -> None:
        if not self._outranked:  # every agent would say the same
            self._outranked = True
            self.events.add("leader_outranked", f"an agent has heard a newer leader: {why}")

    # ---- the loop ------------------------------------------------------------------------

    async def _begin(self) -> None:
        while True:
            try:
                self.state.load(await self._around.store.read())
                if not self.state.mod_revision(keys.META):
                    await self.committer.write_one([Put(keys.META, encode(Meta()))])
                break
            except (StoreError, Outdated):
                await asyncio.sleep(self._around.settings.store_retry)
        self.ready.set()
        self.events.add("leader_elected", f"this controller leads, term {self.term.revision}")

    async def _follow_store(self) -> None:
        """Take over what others write, for as long as this leads."""
        while True:
            try:
                async for changes in self._around.store.watch("", self.state.revision):
                    self.state.take(changes)
            except Compacted:
                await self._read_when_possible()
            except StoreError as error:
                self._store_trouble(error)
            await asyncio.sleep(self._around.settings.store_retry)

    def _store_trouble(self, error: StoreError) -> None:
        """Said once, until it is another or over."""
        if str(error) != self._trouble:
            self._trouble = str(error)
            self.events.add("store_trouble", self._trouble)

    async def _plan_for_ever(self) -> None:
        await self._settle()
        seen = -1
        while True:
            seen = await self._wake.after(seen)
            self._urgent.clear()
            try:
                async with self.changing:
                    seen = self._wake.version
                    await self._pass()
                self._trouble = ""
            except Outdated:
                self._wake.beat()
            except StoreError as error:
                self._store_trouble(error)
                self._wake.beat()
                await self._read_when_possible()
            await self._pause()

    async def _settle(self) -> None:
        """Tell the term on every link before planning, but wait for no dead host."""
        try:
            async with asyncio.timeout(self._around.settings.settle):
                await self.links.settled.wait()
        except TimeoutError:
            self.events.add("hosts_unheard", "planning begins though some hosts do not answer")
        self._told = True
        self._wake.beat()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._around.settings.pass_interval):
                await self._urgent.wait()
        except TimeoutError:
            return

    async def _pass(self) -> None:
        if not self.state.fleets and not self.state.gone:
            return
        view = self.view()
        placement, twice = await self.in_executor(lambda: _decided(view))
        self.plans, self.duplicates = placement.fleets, twice
        self.observed.pulse.beat()
        self.committer.refuse_if_past(view.revision)
        writes = self.assignment_writes(placement)
        # All that lets go is written before anything that takes it over.
        cut = sum(host in placement.first for host in placement.assignments)
        await self.committer.write(writes[:cut])
        await self.committer.write(writes[cut:])
        await self._finish_deletions()

    def assignment_writes(self, placement: Placement) -> list[Write]:
        """The assignments a placement changes, as writes; whoever writes less than all takes
        them from the start, in one transaction."""
        return [
            Put(keys.assignment(host), encode(assignment))
            for host, assignment in placement.assignments.items()
        ]

    async def _finish_deletions(self) -> None:
        for fleet in list(self.state.fleets.values()):
            held = self.observed.vectors[fleet.uid].placed
            if not fleet.deleting or held or self.observed.releasing[fleet.uid]:
                continue
            # The record goes last: no agent could be told what a tombstone without it means.
            await self.committer.write(self._last_traces(fleet.uid))
            known = GoneFleet(fleet.name, fleet.uid, fleet.number, fleet.site)
            await self.committer.write_one(
                [Delete(keys.fleet(fleet.name)), Put(keys.gone(fleet.uid), encode(known))]
            )
            self.observed.forget_fleet(fleet.uid)
            self.events.add("fleet_deleted", f"fleet {fleet.name} is gone", fleet=fleet.name)
        if forgotten := forgettable(self.state.gone, self.state.assignments):
            await self.committer.write([Delete(keys.gone(uid)) for uid in forgotten])

    def _last_traces(self, uid: str) -> list[Write]:
        # What lost hosts have still to release they will be told when they are back.
        there = {
            host: one for host, one in self.state.assignments.items() if host not in self.state.lost
        }
        cleared = without_tombstones(there, uid)
        return [
            *(Put(keys.assignment(host), encode(one)) for host, one in cleared.items()),
            *(Delete(keys.spec(*key)) for key in self.state.specs if key[0] == uid),
        ]

    async def _read_when_possible(self) -> None:
        while True:
            try:
                return await self.committer.read_again()
            except StoreError:
                await asyncio.sleep(self._around.settings.store_retry)

    def _reachable(self, host_id: str) -> bool:
        link = self.links.links.get(host_id)
        return link is not None and (link.health is Health.LIVE or not link.tried)

    def _record_changed(self, kind: str, name: str) -> None:
        if kind == "assignments":
            self.observed.assigned(name, self.state.assignments.get(name, Assignment()))
            self.links.push(name)
            return
        if kind == "hosts":
            record = self.state.hosts.get(name)
            self.observed.declared_lost(name, record is not None and record.lost)
            if record:
                self.links.host(name, record.address)
            else:
                self.links.forget(name)
        self._messages.forget()
        self._wake.beat()


def _decided(view: ClusterView) -> tuple[Placement, Mapping[str, Mapping[str, int]]]:
    """What is to be written, and what may run twice then."""
    placement = place(view)
    return placement, duplicates(view, placement.assignments)
