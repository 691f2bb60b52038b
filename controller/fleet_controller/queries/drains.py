"""How far drains are and what keeps them, from the leader's memory alone: no I/O, no waiting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.core.model import Assignment, Health, HostView
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
from fleet_controller.leader.reign import Reign
from fleet_controller.mirror.state import NOTHING

# Of a status, which is asked several times a second.
_SHOWN = 10
_NONE = Stuck(0, "")


class Staging(msgspec.Struct, frozen=True):
    """What hosts prepare for others: their assignments, and of all of them together by fleet."""

    takers: Mapping[str, Assignment]
    ranges: Mapping[str, IndexSet]


def staging_of(reign: Reign) -> Staging:
    """Of all drains."""
    names = sorted({name for hosts in reign.observed.staging.values() for name in hosts})
    takers = {name: reign.state.assignments.get(name, NOTHING) for name in names}
    return Staging(takers, staged_everywhere(takers))


def departure_of(reign: Reign, host_id: str, staging: Staging | None = None) -> DrainProgress:
    """How far the drain of a known host is."""
    staged = (staging or staging_of(reign)).ranges
    stuck = reign.last_pass.unplaced.get(host_id, _NONE)
    return drain_progress_of(_view(reign, host_id), staged, stuck.count)


def hindrance_of(
    reign: Reign, host_id: str, now: DrainProgress, staging: Staging | None = None
) -> str:
    """What keeps the host from being empty; empty when nothing does."""
    staging = staging or staging_of(reign)
    host = _view(reign, host_id)
    seen = DrainFacts(
        silent_seconds=reign.links.age(host_id),
        why_unplaced=reign.last_pass.unplaced.get(host_id, _NONE).why,
        paused=_paused(reign),
        trouble=_trouble(reign, host_id, {stone.fleet for stone in host.pending_tombstones}),
        takers=list(_takers(reign, host, staging)),
        prepared=sum(map(len, staging.ranges.values())),
        most=reign.settings.moves_at_once,
    )
    return drain_blockers(host_id, host, now, seen)


def progress_of(
    reign: Reign, host_id: str, begun: int = 0, staging: Staging | None = None
) -> cluster.DrainProgress:
    """`begun`: VMs that were left when the caller began to look."""
    staging = staging or staging_of(reign)
    now = departure_of(reign, host_id, staging)
    return cluster.DrainProgress(
        moved=max(0, begun - now.left),
        left=now.left,
        moving=now.moving,
        unplaced=now.unplaced,
        releasing=now.releasing,
        message=hindrance_of(reign, host_id, now, staging),
        done=not now.left,
    )


def statuses(reign: Reign) -> tuple[list[cluster.DrainStatus], int]:
    """Of draining hosts that are not empty: the first few, those with the plainest trouble
    before others; and how many more there are."""
    if not reign.state.draining:
        return [], 0
    under_way = [host for host in reign.state.draining if not is_empty(_view(reign, host))]
    under_way.sort(key=lambda host: (not _stands_out(reign, host), host))
    staging = staging_of(reign)
    shown = [
        cluster.DrainStatus(host=host, progress=progress_of(reign, host, staging=staging))
        for host in under_way[:_SHOWN]
    ]
    return shown, len(under_way) - len(shown)


def _stands_out(reign: Reign, host_id: str) -> bool:
    """Whether it is stuck for all that can be seen at a glance."""
    link = reign.links.links.get(host_id)
    return (
        host_id in reign.last_pass.unplaced
        or host_id in reign.links.declining
        or host_id in reign.state.lost
        or link is None
        or link.health is not Health.LIVE
    )


def _view(reign: Reign, host_id: str) -> HostView:
    return reign.host_view(host_id, reign.state.hosts[host_id])


def _paused(reign: Reign) -> str:
    if reign.frozen:
        return "changes are frozen, and nothing moves: see 'fleetctl recover --plan'"
    if reign.settling:
        return (
            "the controller that leads has just begun, and moves nothing before it has heard hosts"
        )
    return ""


def _takers(reign: Reign, host: HostView, staging: Staging) -> Iterable[Taker]:
    """The hosts that have VMs of this one staged, and not yet prepared."""
    held: dict[str, IndexSet] = {}
    for shard in host.assignment.shards:
        if not shard.staged:
            held[shard.fleet] = held.get(shard.fleet, EMPTY) | shard.ranges
    for name, assignment in staging.takers.items():
        ready = reign.observed.host(name).prepared
        vms, fleets = 0, set()
        for shard in assignment.shards:
            wanted = shard.ranges & held.get(shard.fleet, EMPTY) if shard.staged else EMPTY
            have = ready.get(shard.kin, EMPTY)
            if waiting := wanted - have:
                vms += len(waiting)
                fleets.add(shard.fleet)
        if vms:
            yield Taker(name, vms, _trouble(reign, name, fleets))


def _trouble(reign: Reign, host_id: str, fleets: Iterable[str]) -> str:
    """Why a host does not do what it is told about these fleets; empty where nothing is known."""
    link = reign.links.links.get(host_id)
    if link is None or link.health is not Health.LIVE:
        return "cannot be reached"
    if host_id in reign.links.declining:
        return f"does not take its assignment: {link.error}"
    meant = {"", *fleets}
    for problem in reign.observed.host(host_id).problems:
        if fleets and problem.fleet_uid in meant:
            return f"reports {problem.kind}: {problem.example_message}"
    return ""
