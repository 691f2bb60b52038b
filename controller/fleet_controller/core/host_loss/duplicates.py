"""VMs that may run twice, whatever their hosts say: on a host that is no longer to have them, and
on one that is.

There are two kinds: VMs of a host that was declared lost, until it is back and has released them;
and orphans whose index another host has.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fleet.ranges import EMPTY, IndexSet
from fleet_controller.core.model import Assignment, ClusterView, HostView

# By fleet uid.
Sets = dict[str, IndexSet]


def duplicates(view: ClusterView, changed: Mapping[str, Assignment]) -> dict[str, dict[str, int]]:
    """Host id -> fleet uid -> how many VMs, once the assignments in `changed` are written. A host
    without any is not in it."""
    hosts = {
        name: msgspec.structs.replace(host, assignment=changed[name]) if name in changed else host
        for name, host in view.hosts.items()
    }
    left = {name: sets for name, host in hosts.items() if (sets := _left_behind(host))}
    twice = _held_elsewhere(hosts, left)
    found: dict[str, dict[str, int]] = {}
    for name, sets in left.items():
        for uid, indices in sets.items():
            if uid not in twice:
                continue
            if count := len((indices & twice[uid]) - _held(hosts[name], uid)):
                found.setdefault(name, {})[uid] = count
    return found


def _held_elsewhere(hosts: Mapping[str, HostView], left: Mapping[str, Sets]) -> Sets:
    """What one host may still run and another one is to have, by fleet uid."""
    held: Sets = {}
    for uid in {uid for sets in left.values() for uid in sets}:
        behind = IndexSet.union_of(sets[uid] for sets in left.values() if uid in sets)
        both = behind & IndexSet.union_of(_held(host, uid) for host in hosts.values())
        if both:
            held[uid] = both
    return held


def _left_behind(host: HostView) -> Sets:
    """What the host may still run although it is not to have it."""
    found: Sets = {}
    for stone in host.pending_tombstones:
        if stone.staged:
            continue
        found[stone.fleet] = found.get(stone.fleet, EMPTY) | stone.ranges
    for uid, _, indices in host.orphans:
        found[uid] = found.get(uid, EMPTY) | indices
    return found


def _held(host: HostView, uid: str) -> IndexSet:
    """What the host is to have of the fleet, without what is staged: that is still another's."""
    shards = host.assignment.shards
    return IndexSet.union_of(s.ranges for s in shards if s.fleet == uid and not s.staged)
