"""Hosts where too many VMs fail, and since when."""

from __future__ import annotations

from fleet_controller.core.host_loss.quarantine import FailureCount, Patient, sick
from fleet_controller.leader.memory import LeaderMemory


class FailingHosts:
    """What one leadership remembers of them."""

    def __init__(self, memory: LeaderMemory) -> None:
        self._memory = memory
        self._since: dict[str, float] = {}  # by host, on the leader's monotonic clock

    def __bool__(self) -> bool:
        """Whether any host fails too much."""
        return bool(self._since)

    def due(self) -> dict[str, str]:
        """Hosts to put in quarantine, and why: those that have failed for long enough."""
        settings, now = self._memory.settings.quarantine, self._memory.clock()
        found = sick(self._patients(), self._memory.observed.users, settings)
        since = {host: self._since.get(host, now) for host in found}
        self._since = since
        return {host: why for host, why in found.items() if now - since[host] >= settings.after}

    def forget(self, host_id: str) -> None:
        """It was let out of quarantine: what it fails with counts from now."""
        self._since.pop(host_id, None)

    def _patients(self) -> list[Patient]:
        observed, state = self._memory.observed, self._memory.state
        return [
            Patient(
                host,
                sum(len(shard.ranges) for shard in observed.hosts[host].assignment.shards),
                tuple(
                    FailureCount(one.fleet_uid, one.kind, one.count, one.example_message)
                    for one in observed.hosts[host].problems
                ),
            )
            for host in sorted(observed.troubled)
            if self._memory.is_live(host)
            and (record := state.hosts.get(host)) is not None
            and not (record.quarantine or record.lost)
        ]
