"""Whether there is room for all VMs of a fleet, told without placing them.

It is told for a cluster in which every other fleet has what it is to have, and nothing is on its
way: there the hosts' rooms are all that counts, and a sum is a tenth of the work of a placement.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import ClusterView, FleetRecord
from fleet_controller.core.placement.conditions import Wanted, candidates, rooms
from fleet_controller.core.placement.draft import GUEST, Draft, draft_of, footprints


def has_surely_room(view: ClusterView, fleet: FleetRecord) -> bool:
    """Whether a placement of the view with the fleet as it is here would leave none of its VMs
    over. False: it would, or only the placement itself can say. `fleet`: with its total."""
    if view.gone or view.held_back or any(host.record.lost for host in view.hosts.values()):
        return False
    prints = footprints(view.specs)
    drafts = [draft_of(host, prints) for host in view.hosts.values()]
    totals = {one.uid: one.total for one in view.fleets.values()} | {fleet.uid: fleet.total}
    held = _held(drafts, totals)
    if held is None:
        return False
    others = (one for one in view.fleets.values() if one.uid != fleet.uid)
    if any(held[one.uid] != one.total for one in others):
        return False
    key = (fleet.uid, fleet.generation)
    spec = view.specs.get(key, types.FleetSpec())
    wanted = Wanted(fleet.uid, spec, prints.get(key, GUEST))
    missing = fleet.total - held[fleet.uid]
    return missing <= 0 or sum(rooms(candidates(drafts, wanted), wanted)) >= missing


def _held(drafts: Iterable[Draft], totals: Mapping[str, int]) -> Mapping[str, int] | None:
    """How many VMs hosts have, by fleet uid; None where any are on their way, or in the way."""
    counts = dict.fromkeys(totals, 0)
    for draft in drafts:
        if draft.view.orphans or draft.tombstones:
            return None
        for shard in draft.shards:
            total = totals.get(shard.fleet, 0)
            if shard.staged or not shard.ranges or shard.ranges.last >= total:
                return None
        for uid, count in draft.own.items():
            counts[uid] += count
    return counts
