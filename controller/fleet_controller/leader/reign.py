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
from fleet_controller.agents.assignment_messages import AssignmentMessages
from fleet_controller.agents.health_events import Sightings
from fleet_controller.agents.links import Links, LinkSettings
from fleet_controller.agents.port import AgentDialer
from fleet_controller.core.host_loss.loss import LossSettings
from fleet_controller.core.host_loss.quarantine import QuarantineSettings
from fleet_controller.core.model import (
    Assignment,
    ClusterView,
    Health,
    HostRecord,
    HostView,
    RolloutState,
)
from fleet_controller.core.passes import MOVES_AT_ONCE, Pass, decide
from fleet_controller.core.placement.placement import FleetPlan, Placement
from fleet_controller.core.recovery import freeze
from fleet_controller.core.recovery.inventory import Inventory
from fleet_controller.election.election import Leadership
from fleet_controller.events import EventLog
from fleet_controller.leader import snapshots
from fleet_controller.leader.completions import Endings
from fleet_controller.leader.doubts import Doubts
from fleet_controller.leader.freezing import Freezing
from fleet_controller.leader.strangers import Strangers
from fleet_controller.mirror.audit import Audit
from fleet_controller.mirror.committer import Committer, Outdated, Write
from fleet_controller.mirror.follower import Following
from fleet_controller.mirror.state import NOTHING, ClusterState
from fleet_controller.observed.reports import Observed
from fleet_controller.observed.standby_reachability import Vouching
from fleet_controller.pulse import Pulse
from fleet_controller.standbys import Standbys
from fleet_controller.store import keys
from fleet_controller.store.codec import encode
from fleet_controller.store.port import (
    Put,
    Store,
    StoreError,
    Unavailable,
)

Result = TypeVar("Result")


_NEVER = 2**63  # a revision that no report has


@dataclass(frozen=True, slots=True)
class ReignSettings:
    """Seconds."""

    # A new leader plans when every host was told its term, or after this long without.
    settle: float = 20.0
    # Between two passes that nobody waits for, so that a stream of reports costs few of them.
    pass_interval: float = 0.5
    store_retry: float = 1.0
    # VMs that hosts prepare at once for others that are drained; no seconds.
    moves_at_once: int = MOVES_AT_ONCE
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
    standbys: Standbys
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
        self.began = around.clock()
        self.events = around.events
        self.state = ClusterState(self._record_changed)
        self.audit = Audit(self.state, around.events.now)
        self.observed = Observed()
        self.committer = Committer(
            around.store, self.state, leadership.guard, leadership.raise_if_lost
        )
        self._following = Following(
            around.store, self.state, self.committer, around.events, around.settings.store_retry
        )
        self._endings = Endings(self.state, self.committer, self.audit, around.events)
        self._freezing = Freezing(self.state, self.committer, self.audit, around.events)
        self.links = Links(self, around.dialer, around.clock, around.random, around.settings.links)
        self.sightings = Sightings(around.events)
        self.changing = asyncio.Lock()  # held by whoever decides and writes
        self.plans: Mapping[str, FleetPlan] = {}
        self.last_pass = Pass()
        self.ready = asyncio.Event()  # the store has been read
        self._rolling: set[str] = set()  # uids of fleets that are being rolled out
        # Hosts whose announcement was refused: when last, on the leader's clock, and why.
        self.refused: dict[str, tuple[float, str]] = {}
        # What standbys said of hosts that this replica does not hear.
        self.vouching = Vouching()
        self._messages = AssignmentMessages(self.state)
        self._wake = Pulse()
        self._urgent = asyncio.Event()
        self._told = False
        self._outranked = False
        self.inventory = Inventory()  # what hosts have, while changes are frozen
        self._began_frozen = False
        # Changes are frozen from here on, or taken again: all of this reign is out of date.
        self.anew = asyncio.Event()
        self._doubts = Doubts(self)
        self.strangers = Strangers(self.state, self.committer)

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
    def settling(self) -> bool:
        """Whether this reign is so young that what it has not heard says nothing."""
        young = self.now() - self.began < self.settings.settle
        return young and not self.links.settled.is_set()

    @property
    def standbys(self) -> Standbys:
        """The other replicas that can be asked."""
        return self._around.standbys

    @property
    def durable(self) -> bool:
        """Whether what was acknowledged survives a restart of everything."""
        return self._around.store.durable

    async def run(self) -> None:
        """Lead until cancelled."""
        await self._begin()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.links.run())
            group.create_task(self._following.follow_for_ever())
            group.create_task(self._doubts.resolve_for_ever())
            if not self._began_frozen:
                group.create_task(self._plan_for_ever())
            group.create_task(self.sightings.summarise_for_ever())

    async def in_executor(self, work: Callable[[], Result]) -> Result:
        """Run a pure function off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._around.executor, work)

    def view(self) -> ClusterView:
        """A snapshot to decide from."""
        return snapshots.cluster_view(self.state, self.observed, self.links)

    def host_view(self, host_id: str, record: HostRecord) -> HostView:
        """One host of it."""
        return snapshots.host_view(host_id, record, self.state, self.observed, self.links)

    @property
    def duplicates(self) -> Mapping[str, Mapping[str, int]]:
        """VMs that may run twice, by host and fleet uid."""
        return self.last_pass.duplicates

    def wake(self) -> None:
        """Somebody waits: plan at once."""
        self._urgent.set()
        self._wake.beat()

    @property
    def plans_freely(self) -> bool:
        """Whether the term has been told, and the store is trusted: plans may be carried out."""
        return self._told and not self.frozen and not self._doubts.reason

    # ---- a store that came back older -----------------------------------------------------

    @property
    def frozen(self) -> freeze.Freeze | None:
        """Why nothing is changed; None while changes are taken."""
        return self.state.freeze

    def raise_if_frozen(self) -> None:
        """Raises Refused with CHANGES_FROZEN; while that is being looked into Unavailable, since
        another controller may turn out to lead."""
        if self.frozen:
            raise freeze.refusal(self.frozen.reason)
        if self._doubts.reason:
            raise Unavailable(f"it is being read anew: {self._doubts.reason}")
        if self.anew.is_set():  # the next reign may be deciding by now
            raise Unavailable("it is being read anew: changes are taken again")

    def ahead(self) -> frozenset[str]:
        """The hosts heard that hold a newer assignment than the store can have given them."""
        return frozenset(
            host
            for host, has in self.inventory.hosts.items()
            if freeze.is_ahead(has.epoch, self.state.meta.generation, self.known_revision(host))
        )

    async def read_as_leader(self) -> bool:
        """Read the store anew; whether it says that this replica leads. Raises StoreError."""
        found = (await self._around.store.read(keys.LEADER)).entries
        await self.committer.read_again()
        leads = {entry.create_revision for entry in found if entry.key == keys.LEADER}
        return self._leadership.term_revision in leads

    def trust(self) -> None:
        """The store was doubted without a reason: what waited meanwhile goes on."""
        for host_id in self.links.links:
            self.links.push(host_id)
        self._wake.beat()

    async def write_freeze(self, reason: str) -> None:
        """From here on nothing is changed. Raises StoreError, Outdated."""
        await self._freezing.freeze(reason)

    def known_revision(self, host_id: str) -> int:
        """That of the host's assignment, as freeze.is_ahead wants it."""
        return self.state.known_revision(keys.assignment(host_id))

    # ---- what links ask of their superior ------------------------------------------------

    def may_act(self) -> bool:
        return self._leadership.valid()

    def assignment_message(self, host_id: str) -> wire.AssignRequest | None:
        """What the host is to have, as the store says; None when it never was told anything."""
        return self._messages.request(host_id, self.term)

    def assignment_for(self, host_id: str) -> wire.AssignRequest | None:
        """Nothing is told while the store is in doubt."""
        if self._began_frozen or self._doubts.reason:
            return None
        return self.assignment_message(host_id)

    def reported(self, host_id: str, report: wire.Report) -> None:
        if self._began_frozen:
            self.inventory.take(host_id, report)
        else:
            self._doubts.look_at(host_id, report.epoch)
            if self.strangers.look_at(host_id, report.epoch):
                self._wake.beat()
        epoch = self.state.mod_revision(keys.assignment(host_id))
        if epoch and report.epoch.store_generation != self.state.meta.generation:
            epoch = _NEVER  # what it has carried out is not of this store
        matters = self.observed.reported(host_id, report, epoch)
        if matters or any(shard.fleet_uid in self._rolling for shard in report.shards):
            self._wake.beat()

    def lost_sight(self, host_id: str) -> None:
        self.observed.lost_sight(host_id)

    def health_changed(self, host_id: str, before: Health, after: Health, why: str) -> None:
        self.sightings.note(host_id, after, why)
        self.observed.pulse.beat()
        if Health.LIVE in (before, after):
            self._wake.beat()

    def outranked(self, why: str) -> None:
        if self._began_frozen:
            return
        self._doubts.outranked(why)
        if not self._outranked:  # every agent would say the same
            self._outranked = True
            self.events.add("leader_outranked", f"an agent has heard a newer leader: {why}")

    # ---- the loop ------------------------------------------------------------------------

    async def _begin(self) -> None:
        while True:
            try:
                self.state.load(await self._around.store.read())
                await self._freezing.claim_store()
                break
            except (StoreError, Outdated):
                await asyncio.sleep(self._around.settings.store_retry)
        if self.events.begin(self._leadership.term_revision):
            self.events.add("leader_elected", f"this controller leads, term {self.term.revision}")
        self._began_frozen = self.links.observe = self.frozen is not None
        self.ready.set()

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
                self._following.note_success()
            except Outdated:
                self._wake.beat()
            except StoreError as error:
                self._following.note_trouble(error)
                self._wake.beat()
                await self._following.read_when_possible()
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
        if not self.plans_freely:
            return
        if trimming := self.audit.trimming():
            await self.committer.write_one(trimming)
        await self.strangers.write()
        await self._endings.drains(self.host_view)
        if not self.state.fleets and not self.state.gone:
            return
        revision, view = self.state.revision, self.view()
        most = self._around.settings.moves_at_once
        decided = await self.in_executor(lambda: decide(view, most))
        self.last_pass, self.plans = decided, decided.plans
        self.observed.pulse.beat()
        self.committer.refuse_if_past(revision)
        if not self.plans_freely:
            return
        await self._endings.rollouts(decided)
        # All that lets go is written before anything that takes it over.
        first, rest = decided.in_order()
        await self.committer.write(assignment_writes(first))
        await self.committer.write(assignment_writes(rest))
        await self._endings.deletions(self.observed)

    def assignment_writes(self, placement: Placement) -> list[Write]:
        """The assignments a placement changes, as writes; whoever writes less than all takes
        them from the start, in one transaction."""
        return assignment_writes(placement.assignments)

    def _record_changed(self, kind: str, name: str) -> None:
        if kind == keys.FREEZE:
            if self.ready.is_set() and self._began_frozen != (self.frozen is not None):
                self.anew.set()
            return
        if kind == "assignments":
            self.observed.assigned(name, self._known_assignment(name))
            self.links.push(name)
            return
        if kind == "hosts":
            record = self.state.hosts.get(name)
            self.observed.declared_lost(name, record is not None and record.lost)
            if record:
                self.links.host(name, record.address)
            else:
                self.links.forget(name)
                self.observed.removed(name)
            if self.observed.host(name).assignment != self._known_assignment(name):
                self.observed.assigned(name, self._known_assignment(name))
        if kind == "rollouts":
            rollout = self.state.rollouts.get(name)
            rolls = rollout is not None and rollout.state is RolloutState.RUNNING
            (self._rolling.add if rolls else self._rolling.discard)(name)
        self._messages.forget()
        self._wake.beat()

    def _known_assignment(self, host_id: str) -> Assignment:
        """What a removed host is still to let go is nobody's to count: it holds nothing."""
        if host_id not in self.state.hosts:
            return NOTHING
        return self.state.assignments.get(host_id, NOTHING)


def assignment_writes(assignments: Mapping[str, Assignment]) -> list[Write]:
    """Assignments by host id, as writes."""
    return [Put(keys.assignment(host), encode(one)) for host, one in assignments.items()]
