"""How far the drain of a host is, and what must be true before a host's record is removed."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import structs

from fleet.ranges import EMPTY, IndexSet
from fleet_controller.core.model import Assignment, ClusterView, HostView, Tombstone
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.core.rollouts_and_drains.moves import move, moving_from

NO_BOUND = 2**31


class DrainProgress(msgspec.Struct, frozen=True):
    """Counts of VMs of one host that is drained. `left`: those it has, and those it is to release
    unless it is lost. Of these, `moving`: prepared elsewhere, or to be released; `releasing`: the
    latter alone; `unplaced`: of those that do not move, the ones that fit on no other host."""

    left: int
    moving: int
    unplaced: int
    releasing: int = 0


def drain_progress_of(
    host: HostView, staged: Mapping[str, IndexSet], unplaced: int = 0
) -> DrainProgress:
    """`staged`: what any host has staged, by fleet."""
    held = sum(len(shard.ranges) for shard in host.assignment.shards)
    stones = () if host.record.lost else host.pending_tombstones
    releasing = sum(len(tombstone.ranges) for tombstone in stones)
    moving = moving_from(host.assignment.shards, staged) + releasing
    return DrainProgress(held + releasing, moving, min(unplaced, held), releasing)


def is_empty(host: HostView) -> bool:
    """Whether the host has nothing any more that a drain would wait for."""
    return not drain_progress_of(host, {}).left


def planned_drain(view: ClusterView, host_id: str) -> DrainProgress:
    """What a drain of the host would do with all that it has: `moving` would move."""
    host = view.hosts[host_id]
    drained = structs.replace(
        host, record=structs.replace(host.record, draining=True, lost=False), reachable=True
    )
    would = structs.replace(view, hosts={**view.hosts, host_id: drained}, rebalances={})
    moves = move(would, {}, NO_BOUND)
    held = sum(len(s.ranges) for s in host.assignment.shards if not s.staged)
    stuck = moves.unplaced.get(host_id)
    unplaced = stuck.count if stuck else 0
    return DrainProgress(held, held - unplaced, unplaced)


def staged_everywhere(assignments: Mapping[str, Assignment]) -> dict[str, IndexSet]:
    """What hosts have staged, by fleet."""
    found: dict[str, list[IndexSet]] = {}
    for one in assignments.values():
        for shard in one.shards:
            if shard.staged:
                found.setdefault(shard.fleet, []).append(shard.ranges)
    return {fleet: IndexSet.union_of(sets) for fleet, sets in found.items()}


def check_removable(host_id: str, host: HostView) -> None:
    """Raises Refused while anything is assigned to the host, or not known to be gone."""
    held = sum(len(shard.ranges) for shard in host.assignment.shards)
    releasing = sum(len(tombstone.ranges) for tombstone in host.pending_tombstones)
    if held:
        raise Refused(
            Reason.HOST_IN_USE,
            f"{held:,} VMs are assigned to {host_id}: drain it first (fleetctl hosts drain "
            f"{host_id}), or, when it is gone for good, give them up with --force",
        )
    if releasing:
        raise Refused(
            Reason.HOST_IN_USE,
            f"{host_id} has not yet let go of {releasing:,} VMs: wait for it, or, when it is gone "
            "for good, give them up with --force",
        )
    off = sum(len(tombstone.off) for tombstone in host.assignment.tombstones)
    if off:
        raise Refused(
            Reason.HOST_IN_USE,
            f"{off:,} VMs that were stopped on {host_id} are placed nowhere yet, and would start "
            "once they are, if it were forgotten now: make room for them first",
        )


def check_may_be_given_up(host_id: str, host: HostView) -> None:
    """Raises Refused for a host that answers, which can be drained, and for one whose stopped
    VMs are placed nowhere else yet."""
    if host.reachable and not host.record.lost:
        raise Refused(
            Reason.HOST_NOT_LOST,
            f"{host_id} answers: its VMs run, and must not run elsewhere as well; drain it "
            f"(fleetctl hosts drain {host_id}), or throw it out if it is not to be trusted "
            f"(fleetctl hosts expel {host_id})",
        )
    off = sum(len(s.ranges) for s in host.assignment.shards if not s.power)
    off += sum(len(tombstone.off) for tombstone in host.assignment.tombstones)
    if off:
        raise Refused(
            Reason.HOST_IN_USE,
            f"{off:,} VMs of {host_id} are stopped, which would be forgotten with it: let them be "
            f"placed elsewhere first (fleetctl hosts declare-lost {host_id}, then fleetctl hosts "
            f"drain {host_id} --force)",
        )


def released_for_good(
    assignment: Assignment, acknowledged: frozenset[int], revision: int
) -> Assignment:
    """The assignment of a host that is given up: all that it has as tombstones, in case it comes
    back. They say which VMs were off, so that these stay off wherever they are placed."""
    kept = [t for t in assignment.tombstones if t.off or t.id not in acknowledged]
    first = max([revision << 16, *(tombstone.id for tombstone in kept)]) + 1
    released = [
        Tombstone(
            first + number, s.fleet, s.ranges, s.birth, EMPTY if s.power else s.ranges, s.staged
        )
        for number, s in enumerate(assignment.shards)
        if s.ranges
    ]
    return Assignment((), (*kept, *released))


def count_given_up(assignment: Assignment, acknowledged: frozenset[int]) -> int:
    """VMs that may still run on a host that was given up."""
    shards = sum(len(s.ranges) for s in assignment.shards if not s.staged)
    stones = (t for t in assignment.tombstones if not t.staged and t.id not in acknowledged)
    return shards + sum(len(stone.ranges) for stone in stones)
