"""Which change an assignment follows from: what agents are told with it, for their logs.

It is a label. Where several changes have a part in what a host is to have, the most particular one
is named: of a drain before that of a rebalance, that before one of a rollout, and that before the
fleet's own last one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fleet_controller.core.model import (
    Assignment,
    ClusterView,
    FleetRecord,
    RolloutRecord,
    Shard,
    Tombstone,
)


def causes(view: ClusterView, assignments: Mapping[str, Assignment]) -> dict[str, str]:
    """The change's id for each of these assignments that differ from the view's, by host; empty
    where none is known."""
    fleets = {fleet.uid: fleet for fleet in view.fleets.values()}
    draining = [
        (one.record.drain_change, one.assignment)
        for one in view.hosts.values()
        if one.record.draining and one.record.drain_change
    ]
    return {
        host: _cause(view, host, _difference(view, host, after), fleets, draining)
        for host, after in assignments.items()
    }


def _difference(view: ClusterView, host: str, after: Assignment) -> list[Shard | Tombstone]:
    have = view.hosts.get(host)
    before = have.assignment if have else Assignment()
    shards = [one for one in after.shards if one not in before.shards]
    tombstones = [one for one in after.tombstones if one not in before.tombstones]
    return [*shards, *tombstones]


def _cause(
    view: ClusterView,
    host: str,
    fresh: Iterable[Shard | Tombstone],
    fleets: Mapping[str, FleetRecord],
    draining: Iterable[tuple[str, Assignment]],
) -> str:
    fresh = list(fresh)
    here = view.hosts.get(host)
    if here and here.record.draining and here.record.drain_change:
        return here.record.drain_change
    for one in fresh:
        if isinstance(one, Shard) and one.staged:
            for change, held in draining:
                if held.indices(one.fleet) & one.ranges:
                    return change
    uids = dict.fromkeys(one.fleet for one in fresh)
    moved = [view.rebalances[uid].change for uid in uids if uid in view.rebalances]
    rolling = [view.rollouts[uid].change for uid in uids if _rolls(view.rollouts.get(uid))]
    own = [fleets[uid].change for uid in uids if uid in fleets]
    return next((change for change in (*moved, *rolling, *own) if change), "")


def _rolls(rollout: RolloutRecord | None) -> bool:
    return rollout is not None and rollout.open
