"""Whether there is room for all VMs of a fleet, told without placing them.

It is told for a cluster in which every other fleet has what it is to have, and nothing is on its
way: there the hosts' rooms are all that counts, and a sum is a tenth of the work of a placement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import ClusterView, FleetRecord
from fleet_controller.core.placement.conditions import Wanted, candidates, rooms
from fleet_controller.core.placement.draft import Draft, draft_of, footprints


@dataclass(frozen=True, slots=True)
class _Settled:
    """What hosts have, while nothing is on its way. `counts`: VMs by fleet uid; `lasts`: the
    highest index of each."""

    drafts: Sequence[Draft]
    counts: Mapping[str, int]
    lasts: Mapping[str, int]


class EnoughRoom:
    """Of one view, for as many fleets as are asked for: the hosts are walked once."""

    def __init__(self, view: ClusterView) -> None:
        self._view = view

    def is_sure(self, fleet: FleetRecord, spec: types.FleetSpec | None) -> bool:
        """Whether a placement of the view with the fleet as it is here would leave none of its VMs
        over. False: it would, or only the placement itself can say. `fleet`: with its total."""
        settled, fleets = self._settled, self._view.fleets.values()
        if settled is None:
            return False
        totals = {one.uid: one.total for one in fleets} | {fleet.uid: fleet.total}
        if any(last >= totals.get(uid, 0) for uid, last in settled.lasts.items()):
            return False
        others = (one for one in fleets if one.uid != fleet.uid)
        if any(settled.counts.get(one.uid, 0) != one.total for one in others):
            return False
        key, spec = (fleet.uid, fleet.generation), spec or types.FleetSpec()
        wanted = Wanted(fleet.uid, spec, footprints({key: spec})[key])
        missing = fleet.total - settled.counts.get(fleet.uid, 0)
        return missing <= 0 or sum(rooms(candidates(settled.drafts, wanted), wanted)) >= missing

    @cached_property
    def _settled(self) -> _Settled | None:
        """None where any VMs are on their way, or in the way."""
        view = self._view
        if view.gone or view.held_back or any(host.record.lost for host in view.hosts.values()):
            return None
        prints = footprints(view.specs)
        drafts, counts, lasts = list[Draft](), dict[str, int](), dict[str, int]()
        for host in view.hosts.values():
            draft = draft_of(host, prints)
            if host.orphans or draft.tombstones:
                return None
            for shard in draft.shards:
                if shard.staged or not shard.ranges:
                    return None
                if lasts.get(shard.fleet, -1) < shard.ranges.last:
                    lasts[shard.fleet] = shard.ranges.last
            for uid, count in draft.own.items():
                counts[uid] = counts.get(uid, 0) + count
            drafts.append(draft)
        return _Settled(drafts, counts, lasts)
