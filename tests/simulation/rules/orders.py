"""Every assignment that the store ever held, and what each of them takes away."""

from __future__ import annotations

from fleet.keys import Epoch, Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_controller.core.model import Assignment


class Orders:
    """Every assignment that the store ever held, by host and epoch."""

    def __init__(self) -> None:
        self._known: dict[str, dict[Epoch, Assignment]] = {}

    def note(self, host: str, epoch: Epoch, assignment: Assignment) -> None:
        self._known.setdefault(host, {})[epoch] = assignment

    def of(self, host: str, epoch: Epoch) -> Assignment | None:
        return self._known.get(host, {}).get(epoch)

    def released_before(self, host: str, epoch: Epoch, kin: Kin) -> IndexSet:
        """What of the kin tombstones of earlier orders of the same store have named, and these do
        not want."""
        known = self._known.get(host, {})
        named = IndexSet.union_of(
            stone.ranges
            for earlier, orders in known.items()
            if earlier[0] == epoch[0] and earlier < epoch
            for stone in orders.tombstones
            if stone.fleet == kin.fleet_uid and kin.birth <= stone.born_until
        )
        wanted = (
            shard.ranges
            for shard in known[epoch].shards
            if (shard.fleet, shard.birth) == (kin.fleet_uid, kin.birth)
        )
        return named - IndexSet.union_of(wanted)


def named_for_removal(orders: Assignment, kin: Kin, *, stop: bool) -> IndexSet:
    """What of the kin the orders take away: tombstones, newer births, and for a stop what is to
    be off or to be started anew."""
    found = EMPTY
    for stone in orders.tombstones:
        if stone.fleet == kin.fleet_uid and kin.birth <= stone.born_until:
            found = found | stone.ranges
    for shard in orders.shards:
        if shard.fleet != kin.fleet_uid:
            continue
        newer = shard.birth > kin.birth
        off = shard.birth == kin.birth and (not shard.power or shard.staged or shard.restart > 0)
        if newer or (stop and off):
            found = found | shard.ranges
        elif shard.birth == kin.birth:
            found = found - shard.ranges
    return found
