"""How many VMs run twice, or may: what hosts say that they run, and what the last pass knows of
hosts that say nothing."""

from __future__ import annotations

from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.planning import Planning


def of_fleet(memory: LeaderMemory, planning: Planning, uid: str) -> int:
    """VMs of the fleet that one host too many runs, or may run."""
    hosts = {host for host, counts in planning.duplicates.items() if uid in counts}
    hosts |= memory.observed.running.twice(uid).keys()
    return sum(_of(memory, planning, host, uid) for host in hosts)


def of_host(memory: LeaderMemory, planning: Planning, host_id: str) -> int:
    """VMs that the host runs, or may run, and another one is to run."""
    uids = planning.duplicates.get(host_id, {}).keys() | memory.observed.running.fleets(host_id)
    return sum(_of(memory, planning, host_id, uid) for uid in uids)


def _of(memory: LeaderMemory, planning: Planning, host_id: str, uid: str) -> int:
    """What a host is told to let go and what it says it runs are the same VMs as a rule: the
    greater of the two."""
    running = memory.observed.running.twice(uid).get(host_id)
    return max(planning.duplicates.get(host_id, {}).get(uid, 0), len(running) if running else 0)
