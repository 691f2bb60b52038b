"""What a planning pass finds to be over, written and told: rollouts, drains and deletions."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import structs

from fleet_controller.core.audit import BY_LEADER
from fleet_controller.core.changes import forgettable, without_tombstones
from fleet_controller.core.model import GoneFleet, HostRecord, HostView
from fleet_controller.core.passes import Pass
from fleet_controller.core.rollouts_and_drains.drain_progress import is_empty
from fleet_controller.core.rollouts_and_drains.rollout import described
from fleet_controller.events import EventLog
from fleet_controller.mirror.audit import Audit
from fleet_controller.mirror.committer import Committer, Write
from fleet_controller.mirror.state import ClusterState
from fleet_controller.observed.reports import Observed
from fleet_controller.store import keys
from fleet_controller.store.codec import encode
from fleet_controller.store.port import Delete, Put


class Endings:
    """Of one leadership. Each is in the store with its line of audit, so it is told once, whoever
    leads. All raise Outdated, StoreError."""

    def __init__(
        self, state: ClusterState, committer: Committer, audit: Audit, events: EventLog
    ) -> None:
        self._state = state
        self._committer = committer
        self._audit = audit
        self._events = events

    async def rollouts(self, decided: Pass) -> None:
        """Those that have ended or halted, each with the fleet that is another by it. That one is
        over is written before anything is decided from it."""
        for record in decided.rollouts:
            writes: list[Write] = [Put(keys.rollout(record.fleet), encode(record))]
            fleet = decided.fleets.get(record.fleet)
            if fleet:
                writes.append(Put(keys.fleet(fleet.name), encode(fleet)))
            known = fleet or self._state.fleet_by_uid(record.fleet)
            name = known.name if known else record.fleet
            kind, have = f"rollout_{record.state}", self._state.rollouts.get(record.fleet)
            writes.append(
                self._audit.entry(
                    kind, BY_LEADER, fleet=name,
                    before=have.state if have else "", after=described(record),
                )
            )  # fmt: skip
            await self._committer.write_one(writes)
            why = f": {record.why}" if record.why else ""
            what = f"the rollout of {name} to generation {record.to_generation} is"
            self._events.add(kind, f"{what} {record.state}{why}", fleet=name)

    async def drains(self, view_of: Callable[[str, HostRecord], HostView]) -> None:
        """Draining hosts that have nothing any more: they stay so until they are removed or
        taken back."""
        writes: list[Write] = []
        drained = []
        for host in sorted(self._state.draining):
            record = self._state.hosts[host]
            if not record.drained and is_empty(view_of(host, record)):
                writes.append(Put(keys.host(host), encode(structs.replace(record, drained=True))))
                writes.append(self._audit.entry("drained", BY_LEADER, host=host))
                drained.append(host)
        await self._committer.write(writes)
        for host in drained:
            self._events.add("host_drained", f"{host} is drained: it has no VMs left", host=host)

    async def deletions(self, observed: Observed) -> None:
        """Fleets that are deleted and that no host holds any more; and those that are forgotten,
        since no host has anything left to release of them."""
        for fleet in list(self._state.fleets.values()):
            held = observed.vectors[fleet.uid].placed
            if not fleet.deleting or held or observed.releasing[fleet.uid]:
                continue
            # The record goes last: no agent could be told what a tombstone without it means.
            await self._committer.write(self._last_traces(fleet.uid))
            known = GoneFleet(fleet.name, fleet.uid, fleet.number, fleet.site)
            await self._committer.write_one(
                [
                    Delete(keys.fleet(fleet.name)),
                    Put(keys.gone(fleet.uid), encode(known)),
                    self._audit.entry("fleet_deleted", BY_LEADER, fleet=fleet.name),
                ]
            )
            observed.forget_fleet(fleet.uid)
            self._events.add("fleet_deleted", f"fleet {fleet.name} is gone", fleet=fleet.name)
        if forgotten := forgettable(self._state.gone, self._state.assignments):
            await self._committer.write([Delete(keys.gone(uid)) for uid in forgotten])

    def _last_traces(self, uid: str) -> list[Write]:
        # What lost and removed hosts have still to release they will be told when they are back.
        there = {
            host: one
            for host, one in self._state.assignments.items()
            if host in self._state.hosts and host not in self._state.lost
        }
        cleared = without_tombstones(there, uid)
        return [
            *(Put(keys.assignment(host), encode(one)) for host, one in cleared.items()),
            *(Delete(keys.spec(*key)) for key in self._state.specs if key[0] == uid),
            *([Delete(keys.rollout(uid))] if uid in self._state.rollouts else []),
        ]
