"""How far drains are and what keeps them, from the leader's memory and planning: no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.core.model import Assignment, HostView
from fleet_controller.core.names import counted
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.core.rollouts_and_drains.drain_blockers import (
    DrainFacts,
    Taker,
    drain_blockers,
)
from fleet_controller.core.rollouts_and_drains.drain_progress import (
    DrainProgress,
    drain_progress_of,
    is_empty,
    staged_everywhere,
)
from fleet_controller.core.rollouts_and_drains.moves import Stuck
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.planning import Planning

_SHOWN = 10  # drains in one status, which is asked several times a second
_NONE = Stuck(0, "")


class StagedElsewhere(msgspec.Struct, frozen=True):
    """What hosts prepare for others: their assignments, and of all of them together by fleet."""

    takers: Mapping[str, Assignment]
    ranges: Mapping[str, IndexSet]


def staging_of(memory: LeaderMemory) -> StagedElsewhere:
    """Of all drains."""
    names = sorted({name for hosts in memory.observed.staging.values() for name in hosts})
    takers = {name: memory.state.assignment(name) for name in names}
    return StagedElsewhere(takers, staged_everywhere(takers))


def drain_of(
    memory: LeaderMemory, planning: Planning, host_id: str, staging: StagedElsewhere | None = None
) -> DrainProgress:
    """How far the drain of a host is. Raises Refused."""
    staged = (staging or staging_of(memory)).ranges
    stuck = planning.last_pass.unplaced.get(host_id, _NONE)
    return drain_progress_of(memory.host_view(host_id), staged, stuck.count)


def blockers_of(
    memory: LeaderMemory,
    planning: Planning,
    host_id: str,
    now: DrainProgress,
    staging: StagedElsewhere | None = None,
) -> str:
    """What keeps the host from being empty; empty when nothing does."""
    staging = staging or staging_of(memory)
    host = memory.host_view(host_id)
    seen = DrainFacts(
        silent_seconds=memory.links.age(host_id),
        why_unplaced=planning.last_pass.unplaced.get(host_id, _NONE).why,
        paused=paused(memory),
        trouble=_trouble(memory, host_id, {stone.fleet for stone in host.pending_tombstones}),
        takers=list(_takers(memory, host, staging)),
        prepared=sum(map(len, staging.ranges.values())),
        most=memory.settings.moves_at_once,
        budget=_held_by_budgets(memory, planning, host),
    )
    return drain_blockers(host_id, host, now, seen)


def progress_of(
    memory: LeaderMemory,
    planning: Planning,
    host_id: str,
    begun: int = 0,
    staging: StagedElsewhere | None = None,
) -> cluster.DrainProgress:
    """`begun`: VMs that were left when the caller began to look."""
    staging = staging or staging_of(memory)
    now = drain_of(memory, planning, host_id, staging)
    return cluster.DrainProgress(
        moved=max(0, begun - now.left),
        left=now.left,
        moving=now.moving,
        unplaced=now.unplaced,
        releasing=now.releasing,
        message=blockers_of(memory, planning, host_id, now, staging),
        done=not now.left,
    )


def statuses(memory: LeaderMemory, planning: Planning) -> tuple[list[cluster.DrainStatus], int]:
    """Of draining hosts that are not empty: the first few, those with the plainest trouble
    before others; and how many more there are."""
    if not memory.state.draining:
        return [], 0
    under_way = [host for host in memory.state.draining if not is_empty(memory.host_view(host))]
    under_way.sort(key=lambda host: (not _stands_out(memory, planning, host), host))
    staging = staging_of(memory)
    shown = [
        cluster.DrainStatus(
            host=host, progress=progress_of(memory, planning, host, staging=staging)
        )
        for host in under_way[:_SHOWN]
    ]
    return shown, len(under_way) - len(shown)


def check_draining(memory: LeaderMemory, planning: Planning, host_id: str) -> None:
    """Raises Refused once the host is not drained any more, for a caller that waits for it."""
    if not memory.host(host_id).draining:
        left = drain_of(memory, planning, host_id).left
        raise Refused(
            Reason.DRAIN_CANCELLED,
            f"the drain of {host_id} was cancelled, or its deadline has passed: "
            f"{counted(left, 'VM')} {'is' if left == 1 else 'are'} left there",
        )


def blocker_ahead(memory: LeaderMemory, host_id: str, force: bool) -> str:
    """What would keep a drain of the host from beginning; empty where nothing would. Raises
    Refused."""
    host = memory.host_view(host_id)
    if host.record.lost and not force:
        return (
            f"{host_id} is declared lost, and is not drained: its VMs are placed elsewhere "
            "without it; --force gives up those that wait for it"
        )
    if host.reachable or host.record.lost:
        return ""
    return (
        f"{host_id} cannot be reached (silent for {memory.links.age(host_id):.0f} s): "
        "they move when it is back, or are replaced when it is declared lost"
    )


def _stands_out(memory: LeaderMemory, planning: Planning, host_id: str) -> bool:
    """Whether it is stuck for all that can be seen at a glance."""
    return (
        host_id in planning.last_pass.unplaced
        or host_id in memory.links.declining
        or host_id in memory.state.lost
        or not memory.is_live(host_id)
    )


def _held_by_budgets(memory: LeaderMemory, planning: Planning, host: HostView) -> str:
    """Of the fleets that the host has VMs of, why these must stay up for now; empty: they need
    not."""
    if host.record.drain_ignores_budget:
        return ""
    uses = planning.last_pass.budgets
    held = dict.fromkeys(s.fleet for s in host.assignment.shards if not s.staged)
    told = [
        f"of fleet {fleet.name}, {uses[uid].why}"
        for uid in held
        if uid in uses and uses[uid].waiting and (fleet := memory.state.fleet_by_uid(uid))
    ]
    return "; ".join(told)


def paused(memory: LeaderMemory) -> str:
    """Why nothing is moved for now, as a sentence; empty where it is."""
    if memory.state.freeze:
        return "changes are frozen, and nothing moves: see 'fleetctl recover --plan'"
    if memory.settling:
        return (
            "the controller that leads has just begun, and moves nothing before it has heard hosts"
        )
    return ""


def _takers(memory: LeaderMemory, host: HostView, staging: StagedElsewhere) -> Iterable[Taker]:
    """The hosts that have VMs of this one staged, and not yet prepared."""
    held: dict[str, IndexSet] = {}
    for shard in host.assignment.shards:
        if not shard.staged:
            held[shard.fleet] = held.get(shard.fleet, EMPTY) | shard.ranges
    for name, assignment in staging.takers.items():
        ready = memory.observed.host(name).prepared
        vms, fleets = 0, set()
        for shard in assignment.shards:
            wanted = shard.ranges & held.get(shard.fleet, EMPTY) if shard.staged else EMPTY
            have = ready.get(shard.kin, EMPTY)
            if waiting := wanted - have:
                vms += len(waiting)
                fleets.add(shard.fleet)
        if vms:
            yield Taker(name, vms, _trouble(memory, name, fleets))


def _trouble(memory: LeaderMemory, host_id: str, fleets: Iterable[str]) -> str:
    """Why a host does not do what is asked of it for these fleets; empty where nothing is
    known."""
    if not memory.is_live(host_id):
        return "cannot be reached"
    if host_id in memory.links.declining:
        return f"does not take its assignment: {memory.links.error(host_id)}"
    meant = {"", *fleets}
    for problem in memory.observed.host(host_id).problems:
        if fleets and problem.fleet_uid in meant:
            return f"reports {problem.kind}: {problem.example_message}"
    return ""
