"""How many VMs stand where their fleet no longer allows them: counted once for each state of the
store that is asked about.
"""

from __future__ import annotations

from collections import Counter

from fleet_controller.core.rebalance.bounds import Bounds
from fleet_controller.mirror.state import ClusterState


class MisplacedVms:
    """By fleet. What is on draining or lost hosts counts not: it moves by itself."""

    def __init__(self, state: ClusterState) -> None:
        self._state = state
        self._counted_at = -1
        self._counts: Counter[str] = Counter()

    def of_fleet(self, uid: str) -> int:
        """As the store is now."""
        if self._state.revision != self._counted_at:
            self._counts = self._counted()
            self._counted_at = self._state.revision
        return self._counts[uid]

    def _counted(self) -> Counter[str]:
        state, found = self._state, Counter[str]()
        bounds = {
            fleet.uid: known
            for fleet in state.fleets.values()
            if (spec := state.specs.get((fleet.uid, fleet.generation)))
            and (known := Bounds(spec.placement))
        }
        if not bounds:
            return found
        for host_id, assignment in state.assignments.items():
            host = state.hosts.get(host_id)
            if host is None or host.draining or host.lost:
                continue
            own: Counter[str] = Counter()
            for shard in assignment.shards:
                if shard.fleet in bounds and not shard.staged:
                    own[shard.fleet] += len(shard.ranges)
            for uid, count in own.items():
                found[uid] += max(0, count - bounds[uid].allowed(host.labels))
        return found
