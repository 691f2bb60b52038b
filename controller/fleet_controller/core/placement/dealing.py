"""How the VMs of a shard are divided among the hosts that have room for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from msgspec import structs

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import Shard
from fleet_controller.core.placement.draft import Draft, take
from fleet_controller.core.placement.leveling import level, pack


def by_policy(
    rule: types.Placement,
    uid: str,
    candidates: Sequence[Draft],
    rooms: Sequence[int],
    amount: int,
) -> list[int]:
    """How many each candidate gets, as the fleet's policy has it."""
    if rule.policy == types.Placement.POLICY_PACK:
        order = sorted(range(len(rooms)), key=lambda i: (-candidates[i].used[0], i))
        return _in_order(order, rooms, amount)
    groups: dict[str, list[int]] = defaultdict(list)
    for position, draft in enumerate(candidates):
        groups[draft.view.record.labels.get(rule.spread_label, "")].append(position)
    names = sorted(groups)
    per_group = level(
        [sum(candidates[i].own.get(uid, 0) for i in groups[name]) for name in names],
        [min(amount, sum(rooms[i] for i in groups[name])) for name in names],
        amount,
    ) if names else []  # fmt: skip
    shares = [0] * len(rooms)
    for name, part in zip(names, per_group, strict=True):
        members = groups[name]
        loads = [candidates[i].used[0] for i in members]
        leveled = level(loads, [min(part, rooms[i]) for i in members], part)
        for position, share in zip(members, leveled, strict=True):
            shares[position] = share
    return shares


def packed(
    rule: types.Placement,
    uid: str,
    candidates: Sequence[Draft],
    rooms: Sequence[int],
    amount: int,
) -> list[int]:
    """On as few hosts as will do: those with the most room, so that few have to be told."""
    order = sorted(range(len(rooms)), key=lambda i: (-rooms[i], i))
    return _in_order(order, rooms, amount)


def _in_order(order: Sequence[int], rooms: Sequence[int], amount: int) -> list[int]:
    """Packed in this order of positions."""
    shares = [0] * len(rooms)
    for position, share in zip(order, pack([rooms[i] for i in order], amount), strict=True):
        shares[position] = share
    return shares


def deal(
    kind: Shard,
    off: IndexSet,
    candidates: Sequence[Draft],
    shares: Sequence[int],
    size: Sequence[int],
) -> tuple[dict[str, int], IndexSet]:
    """Give each candidate its share of a shard, lowest indices first; VMs in `off` without power.
    How many VMs each got, by host id, and those that are left over."""
    added = {}
    deck = _Deck(kind.ranges)
    for draft, share in zip(candidates, shares, strict=True):
        if share:
            dealt = deck.deal(share)
            for ranges, power in ((dealt - off, kind.power), (dealt & off, False)):
                if ranges:
                    draft.shards.append(structs.replace(kind, ranges=ranges, power=power))
            draft.own[kind.fleet] = draft.own.get(kind.fleet, 0) + share
            draft.changed = True
            take(draft, size, share)
            added[draft.view.record.id] = share
    return added, deck.rest()


class _Deck:
    """Deals indices from a set in order, in time proportional to the ranges dealt."""

    def __init__(self, indices: IndexSet) -> None:
        self._ranges = list(reversed(indices.ranges))

    def deal(self, count: int) -> IndexSet:
        pairs = []
        while count and self._ranges:
            start, stop = self._ranges.pop()
            cut = min(stop, start + count)
            pairs.append((start, cut))
            count -= cut - start
            if cut < stop:
                self._ranges.append((cut, stop))
        return IndexSet(pairs)

    def rest(self) -> IndexSet:
        return IndexSet(self._ranges)
