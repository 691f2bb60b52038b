"""What a planning pass finds to be over, written and told: rollouts and drains."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import structs

from fleet_controller.audit import Audit
from fleet_controller.commit import Committer, Write
from fleet_controller.core.audit import BY_LEADER
from fleet_controller.core.departures import is_empty
from fleet_controller.core.model import HostRecord, HostView
from fleet_controller.core.passes import Pass
from fleet_controller.core.rollout import described
from fleet_controller.events import EventLog
from fleet_controller.state import ClusterState
from fleet_controller.store import keys
from fleet_controller.store.codec import encode
from fleet_controller.store.port import Put


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
