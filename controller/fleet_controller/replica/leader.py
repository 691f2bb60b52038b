"""All parts of one leadership: what is made, from what, in which order, and run.

It stands above the rooms whose parts it makes; none of them knows it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from fleet_controller.agents.health_events import HealthEvents
from fleet_controller.agents.links import Links
from fleet_controller.changes.announcements import Announcements
from fleet_controller.changes.denials import Denials
from fleet_controller.changes.fleets import FleetChanges
from fleet_controller.changes.host_claims import HostClaimChanges
from fleet_controller.changes.host_reset import HostReset
from fleet_controller.changes.hosts import HostChanges
from fleet_controller.changes.people import PeopleChanges
from fleet_controller.changes.rebalances import RebalanceChanges
from fleet_controller.changes.recovery import Recovery
from fleet_controller.changes.rollouts import RolloutChanges
from fleet_controller.changes.schedules import ScheduleChanges
from fleet_controller.changes.vms import VmChanges
from fleet_controller.election.election import LeaderLease
from fleet_controller.host_loss.absences import Absences
from fleet_controller.host_loss.failing_hosts import FailingHosts
from fleet_controller.host_loss.judge import Judge
from fleet_controller.host_loss.operator import OperatorVerdicts
from fleet_controller.host_loss.standby_poll import StandbyPoll
from fleet_controller.image_spread.spreads import ImageSpreads
from fleet_controller.joining.joins import Joins
from fleet_controller.joining.renewals import Renewals
from fleet_controller.joining.tokens import Tokens
from fleet_controller.leader.agent_events import AgentEvents
from fleet_controller.leader.assignment_audit import AssignmentAudit
from fleet_controller.leader.environment import LeaderEnvironment
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.off_loop import OffLoop
from fleet_controller.leader.planner import Planner
from fleet_controller.leader.planning import Planning
from fleet_controller.leader.record_changes import RecordChanges
from fleet_controller.leader.store_trust import StoreTrust
from fleet_controller.leader.wake import PlannerWake
from fleet_controller.leader.writer import ChangeWriter
from fleet_controller.mirror.audit import Audit
from fleet_controller.mirror.committer import Committer, Outdated
from fleet_controller.mirror.follower import StoreFollower
from fleet_controller.mirror.kept_events import KeptEvents
from fleet_controller.observed.failing_vms import FailingVms
from fleet_controller.pictures.states_frames import StatesFrames
from fleet_controller.relay.relay import Relay
from fleet_controller.schedules.follower import ScheduleFollower
from fleet_controller.store.port import StoreError
from fleet_controller.upgrades.changes import UpgradeChanges
from fleet_controller.upgrades.upgrader import Upgrader


class OwnDenial(Exception):
    """This controller is denied, and must not lead; one sentence."""


class Leader:
    """One leadership. `ready`: the store has been read, and it may be asked."""

    def __init__(
        self,
        lease: LeaderLease,
        environment: LeaderEnvironment,
        new_uid: Callable[[], str],
        name: str,
    ) -> None:
        """`name`: of this replica."""
        store, clock = environment.store, environment.clock
        issuer = environment.joining.issuer
        settings, events = environment.settings, environment.events
        self._lease = lease
        self._holder = environment.holder
        self._store = store
        self.ready = asyncio.Event()
        self.memory = memory = LeaderMemory.of_a_new_leader(
            name, lease.term_revision, clock, store.durable, settings, events,
            environment.own_certificates, environment.told_of_certificates,
            issuer.days if issuer else math.inf,
        )  # fmt: skip
        self.committer = committer = Committer(
            store, memory.state, lease.guard, lease.raise_if_lost, settings.max_writes
        )
        audit = Audit(memory.state.audit, events.now)
        self.trust = trust = StoreTrust(
            memory.state, store, committer, audit, events, lease.term_revision, memory.unproven,
            environment.make_seal_key,
        )  # fmt: skip
        wake = PlannerWake()
        self._health_events = HealthEvents(events)
        self.agent_events = AgentEvents(
            memory, lease, trust, wake, self._health_events, environment.joining
        )
        self._links = links = Links(
            memory.links, self.agent_events, environment.dialer, clock, environment.random,
            settings.links,
        )  # fmt: skip
        self._record_changes = RecordChanges(memory, links, trust, wake)
        memory.state.on_change(self._record_changes.changed)
        self._follower = StoreFollower(store, memory.state, committer, events, settings.store_retry)
        self.writer = writer = ChangeWriter(committer, audit, trust, clock)
        self._kept_events = KeptEvents(
            events,
            memory.state,
            committer,
            lambda once: writer.decide(once, while_frozen=True, attempts=1),
            clock,
            settings.store_retry,
        )
        self.off_loop = off_loop = OffLoop(environment.executor)
        self.planner = planner = Planner(
            memory, writer, trust, wake, audit, self._follower, off_loop
        )
        self._assignment_audit = AssignmentAudit(memory, writer, planner, links, off_loop)
        self.fleets = FleetChanges(memory, writer, planner, wake, off_loop, new_uid)
        self.hosts = HostChanges(memory, writer, wake, off_loop)
        self.host_claims = HostClaimChanges(memory, writer)
        self.host_reset = HostReset(memory, writer, environment.dialer, links)
        self.vms = VmChanges(memory, writer, wake, off_loop)
        self.rollouts = RolloutChanges(memory, writer, wake)
        self.rebalances = RebalanceChanges(memory, writer, wake, off_loop)
        self.recovery = Recovery(memory, writer, trust, off_loop)
        self.announcements = Announcements(memory, writer, links)
        self.joining = joining = environment.joining
        self.tokens = Tokens(memory, writer)
        self.joins = Joins(memory, writer, joining.issuer, joining.controllers, joining.settings)
        self.renewals = Renewals(memory, joining)
        self.absences, failing = Absences(memory), FailingHosts(memory)
        poll = StandbyPoll(memory, environment.standbys)
        self._judge = Judge(memory, writer, planner, trust, wake, poll, self.absences, failing)
        self.verdicts = OperatorVerdicts(memory, writer, wake, self.absences, failing)
        self.denials = Denials(
            memory, writer, wake, self.absences.declared_by_operator, environment.holder
        )
        self.people = PeopleChanges(memory, writer)
        self.relay = Relay(memory, lease, trust)
        self.states = StatesFrames(memory)
        self.image_spreads = ImageSpreads(memory, self.relay, off_loop)
        self.upgrades = UpgradeChanges(memory, writer)
        self._upgrader = Upgrader(memory, writer, self.relay)
        schedules = ScheduleChanges(memory, writer, self.fleets, wake)
        self._schedules = ScheduleFollower(memory, schedules)

    @property
    def planning(self) -> Planning:
        """What was decided last."""
        return self.planner.planning

    async def run(self) -> None:
        """Until cancelled, until leadership is lost, or until changes are frozen or taken again.
        Raises OwnDenial inside an ExceptionGroup."""
        async with asyncio.TaskGroup() as group:
            # First of all, so that it knows of the end before the connections are closed.
            tasks = [group.create_task(self.relay.run())]
            tasks.append(group.create_task(self.announcements.run()))
            tasks.append(group.create_task(self.joins.run()))
            tasks.append(group.create_task(self._judge.run()))
            tasks.append(group.create_task(self._lead()))
            await self.trust.anew.wait()
            for task in tasks:
                task.cancel()

    async def _lead(self) -> None:
        await self._begin()
        observes = self.trust.began_frozen
        async with asyncio.TaskGroup() as group:
            group.create_task(self._links.run(observe=observes))
            group.create_task(self._follower.follow_for_ever())
            group.create_task(self.trust.resolve_for_ever(self._record_changes.trusted_again))
            if not observes:
                group.create_task(self.planner.run())
                group.create_task(self._assignment_audit.run())
                group.create_task(self.image_spreads.run())
                group.create_task(self._upgrader.run())
                group.create_task(self._schedules.run())
            group.create_task(self._health_events.summarise_for_ever())
            group.create_task(self.memory.certificates.run())
            group.create_task(self._failing_vms().run())
            group.create_task(self._kept_events.run())

    def _failing_vms(self) -> FailingVms:
        memory = self.memory

        def name(uid: str) -> str:
            fleet = memory.state.fleet_by_uid(uid)
            return fleet.name if fleet else ""

        return FailingVms(
            memory.observed, memory.events, memory.clock, lambda: memory.settling, name
        )

    def _check_own_name(self) -> None:
        """Raises OwnDenial. What was denied as a standby does not lead when its turn comes."""
        denied = self.memory.state.denied.get(str(self._holder))
        if denied is not None:
            raise OwnDenial(
                f"{self._holder} is denied by {denied.actor or 'somebody'}: {denied.reason}; it "
                "does not lead"
            )

    async def _begin(self) -> None:
        """Read the store until that has worked."""
        memory = self.memory
        while True:
            try:
                memory.state.load(await self._store.read())
                self._check_own_name()
                await self.trust.claim_store()
                break
            except (StoreError, Outdated):
                await asyncio.sleep(memory.settings.store_retry)
        if memory.events.begin(memory.term_revision):
            memory.events.recall(memory.state.events.by_slot.values())
            text = f"this controller leads, term {memory.term_revision}"
            memory.events.add("leader_elected", text)
        self.trust.begin()
        self.ready.set()
