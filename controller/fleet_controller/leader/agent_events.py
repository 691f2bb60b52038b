"""What links to hosts tell the leader, and what it has them say."""

from __future__ import annotations

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.agents.health_events import HealthEvents
from fleet_controller.agents.port import Guidance
from fleet_controller.core.model import Health
from fleet_controller.election.election import LeaderLease
from fleet_controller.leader.environment import JoiningEnvironment
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.store_trust import StoreTrust
from fleet_controller.leader.wake import PlannerWake
from fleet_controller.observed.report_bounds import Allowance, bounded

_NEVER = 2**63  # a revision that no report has


class AgentEvents:
    """The listener of one leadership's links."""

    def __init__(
        self,
        memory: LeaderMemory,
        lease: LeaderLease,
        trust: StoreTrust,
        wake: PlannerWake,
        health_events: HealthEvents,
        joining: JoiningEnvironment,
    ) -> None:
        self._joining = joining
        self._memory = memory
        self._lease = lease
        self._trust = trust
        self._wake = wake
        self._health_events = health_events

    @property
    def term(self) -> types.Term:
        return self._memory.term

    def may_act(self) -> bool:
        return self._lease.valid()

    def guidance(self) -> Guidance:
        trust = self._joining.trust(len(self._memory.state.hosts))
        return Guidance(tuple(self._joining.controllers()), trust)

    def assignment_for(self, host_id: str) -> wire.AssignRequest | None:
        """Nothing is sent while the store is in doubt."""
        if not self._trust.tells_assignments:
            return None
        return self._memory.assignment_message(host_id)

    def most_report_bytes(self, host_id: str) -> int:
        return self._allowance(host_id).most_bytes

    def reported(self, host_id: str, report: wire.Report) -> None:
        allowance = self._allowance(host_id)
        report = bounded(report, allowance)
        if report.boots:
            self._memory.boots.add(
                host_id, report.boots, report.boot_seconds, allowance.vms, self._memory.clock()
            )
        if self._trust.began_frozen:
            self._memory.inventory.apply_report(host_id, report)
        elif self._trust.claimed(host_id, report.epoch):
            self._wake.changed()
        matters = self._memory.observed.reported(host_id, report, self._revision(host_id, report))
        if matters or self._waited_for(report):
            self._wake.changed()

    def _waited_for(self, report: wire.Report) -> bool:
        """Whether a rollout, an order or a drain may go on for what has become of VMs."""
        state, waits = self._memory.state, self._memory.budget_waits
        if report.converged and state.orders:
            return True
        return any(
            shard.fleet_uid in state.rolling
            or shard.fleet_uid in state.orders
            or shard.fleet_uid in waits
            for shard in report.shards
        )

    def lost_sight(self, host_id: str) -> None:
        self._memory.observed.lost_sight(host_id)

    def health_changed(self, host_id: str, before: Health, after: Health, why: str) -> None:
        self._health_events.note(host_id, after, why)
        self._memory.observed.pulse.beat()
        if Health.LIVE in (before, after):
            self._wake.host_changed()

    def misbehaved(self, host_id: str, why: str) -> None:
        self._memory.events.add("host_misbehaves", why, host=host_id, alike=host_id, free=1)
        self._memory.observed.pulse.beat()

    def outranked(self, host_id: str, term: types.Term, why: str) -> None:
        if not self._trust.outranked(host_id, term, why):
            self._wake.changed()

    def _allowance(self, host_id: str) -> Allowance:
        """Where the store does not say what they have, hosts may speak of any fleet."""
        any_fleet = self._trust.began_frozen or host_id in self._memory.state.unread
        return self._memory.allowances.of(host_id, any_fleet=any_fleet)

    def _revision(self, host_id: str, report: wire.Report) -> int:
        """That of the host's assignment, as the report is held against it."""
        state = self._memory.state
        revision = state.assignment_revision(host_id)
        if revision and report.epoch.store_generation != state.meta.generation:
            return _NEVER  # what it has carried out is not of this store
        return revision
