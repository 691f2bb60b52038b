"""VMs that two hosts are to have, as no plan makes them: an assignment was written by hand, or
brought back. The newest birth stays, and the others are released.

One sweep over all ranges of a fleet: some milliseconds for a million VMs on 4,480 hosts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from msgspec import structs

from fleet.ranges import IndexSet
from fleet_controller.core.model import Assignment, ClusterView, Shard
from fleet_controller.core.placement.draft import Draft, Tombstoner, draft_of
from fleet_controller.core.shards import had_by_an_earlier_one


@dataclass(frozen=True, slots=True)
class Loss:
    """What one host has of a shard that another one keeps."""

    host: str
    shard: Shard
    indices: IndexSet


def double_assignments(assignments: Mapping[str, Assignment]) -> list[Loss]:
    """What each host is to give up, by host id. What is staged stands beside its holder."""
    held: dict[str, list[tuple[str, Shard]]] = defaultdict(list)
    for host, assignment in sorted(assignments.items()):
        for shard in assignment.shards:
            if not shard.staged:
                held[shard.fleet].append((host, shard))
    losses = []
    for mine in held.values():
        mine.sort(key=lambda one: -one[1].birth)
        losing = had_by_an_earlier_one([shard.ranges for _, shard in mine])
        losses += [
            Loss(host, shard, indices)
            for (host, shard), indices in zip(mine, losing, strict=True)
            if indices
        ]
    return losses


def healed(view: ClusterView, losses: list[Loss]) -> dict[str, Assignment]:
    """The assignments that change, by host id: what is given up has a tombstone."""
    tombstoner, drafts = Tombstoner(view.revision), dict[str, Draft]()
    for loss in losses:
        if loss.host not in view.hosts:
            continue
        draft = drafts.setdefault(loss.host, draft_of(view.hosts[loss.host], {}))
        tombstoner.add_tombstone(draft, loss.shard, loss.indices)
        draft.shards = [
            structs.replace(one, ranges=left) if one == loss.shard else one
            for one in draft.shards
            if one != loss.shard or (left := one.ranges - loss.indices)
        ]
    return {host: draft.assignment() for host, draft in drafts.items()}
