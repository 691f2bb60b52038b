"""What follows from each record that changes in the store's mirror."""

from __future__ import annotations

from fleet.transport import Role
from fleet_controller.agents.links import Links
from fleet_controller.core.model import NOTHING, Assignment
from fleet_controller.core.passes import concerns_rest
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.store_trust import StoreTrust
from fleet_controller.leader.wake import PlannerWake
from fleet_controller.mirror.records import RecordChange, RecordKind


class RecordChanges:
    """Keeps observations, links and the planner in step with one leadership's mirror."""

    def __init__(
        self, memory: LeaderMemory, links: Links, trust: StoreTrust, wake: PlannerWake
    ) -> None:
        self._memory = memory
        self._links = links
        self._trust = trust
        self._wake = wake

    def changed(self, change: RecordChange) -> None:
        """One record is otherwise than it was."""
        match change.kind:
            case RecordKind.FREEZE:
                self._trust.freeze_changed()
                return
            case RecordKind.UPGRADE | RecordKind.SCHEDULE:
                return
            case RecordKind.META:
                self._trust.freeze_changed()
            case RecordKind.ASSIGNMENT:
                self._memory.observed.assigned(change.id, self._held(change.id))
                self._links.push(change.id)
                return
            case RecordKind.HOST:
                self._host_changed(change.id)
                if self._matters_to_few_passes(change.id):
                    self._memory.messages.forget()
                    self._wake.host_changed()
                    return
            case RecordKind.DENIED:
                role, _, name = change.id.partition("/")
                if role != Role.AGENT or name not in self._memory.state.hosts:
                    return
                self._host_changed(name)
        self._memory.messages.forget()
        self._wake.changed()

    def trusted_again(self) -> None:
        """The store was doubted without a reason: what waited meanwhile goes on."""
        self._links.push_all()
        self._wake.changed()

    def _host_changed(self, host_id: str) -> None:
        observed, record = self._memory.observed, self._memory.state.hosts.get(host_id)
        self._memory.host_records.beat()
        observed.declared_lost(host_id, record is not None and record.lost)
        expelled = self._memory.is_expelled(host_id)
        if record is None or record.awaits_approval or expelled:
            # Nothing is asked of it, and nothing believed.
            self._links.forget(host_id)
            observed.removed(host_id)
            self._memory.unproven.forget(host_id)
            self._memory.inventory.forget(host_id)
            self._memory.allowances.forget(host_id)
        else:
            self._links.add(host_id, record.address)
        if observed.host(host_id).assignment != self._held(host_id):
            observed.assigned(host_id, self._held(host_id))

    def _matters_to_few_passes(self, host_id: str) -> bool:
        record = self._memory.state.hosts.get(host_id)
        if record is None or record.awaits_approval or self._memory.is_expelled(host_id):
            return False
        return not concerns_rest(record)

    def _held(self, host_id: str) -> Assignment:
        """A removed host holds nothing: what it is still to release is not counted."""
        state = self._memory.state
        return state.assignment(host_id) if host_id in state.hosts else NOTHING
