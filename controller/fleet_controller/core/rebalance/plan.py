"""A rebalance planned: what breaks a bound leaves first, then loads are made level.

It is a pure function of the hosts as they are, and is made anew at each pass: what is left of a
rebalance follows from it. It ends, since each move that it plans makes something better and nothing
of the same or a higher rank worse: first VMs within the bounds, then each fleet's VMs among the
values of its `spread_label`, then all VMs among hosts. So when it has been carried out, and nothing
has changed meanwhile, the next one is empty.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import ClusterView, FleetRecord
from fleet_controller.core.placement.conditions import Wanted, candidates
from fleet_controller.core.placement.draft import GUEST, Draft, Footprint, draft_of, footprints
from fleet_controller.core.placement.unplaced import no_room
from fleet_controller.core.rebalance.bounds import Bounds
from fleet_controller.core.rebalance.filling import Counts, fill, first_of, packed
from fleet_controller.core.rebalance.hosts_as_arrays import HostsAsArrays
from fleet_controller.core.rebalance.model import FleetRebalance

# Fleets that share hosts are leveled in turns, until no turn changes anything. Two or three do.
_MOST_TURNS = 40


def plan_rebalance(view: ClusterView, fleets: Collection[FleetRecord], *, only_bounds: bool) -> (
    list[FleetRebalance]
):  # fmt: skip
    """Of these fleets together, in the order of their numbers."""
    prints = footprints(view.specs)
    drafts = {name: draft_of(host, prints) for name, host in sorted(view.hosts.items())}
    asked = {fleet.uid: only_bounds for fleet in fleets}
    return list(rebalance_of(view, drafts, asked).values())


def rebalance_of(
    view: ClusterView, drafts: Mapping[str, Draft], asked: Mapping[str, bool]
) -> dict[str, FleetRebalance]:
    """By fleet uid. `drafts`: all hosts, in the order of their ids; they are left as they are.
    `asked`: by uid, whether bounds alone are kept. Fleets that are being deleted, or of which
    something is not known, are left out."""
    hosts = HostsAsArrays(drafts)
    parts = [
        _Part(view, hosts, fleet, spec, asked[fleet.uid])
        for fleet in sorted(view.fleets.values(), key=lambda one: one.number)
        if fleet.uid in asked and not fleet.deleting and fleet.uid not in view.held_back
        if (spec := view.specs.get((fleet.uid, fleet.generation))) is not None
    ]
    for part in parts:
        part.keep_bounds()
    _level([part for part in parts if part.leveled], hosts)
    return {part.fleet.uid: part.planned() for part in parts}


def _level(parts: Iterable[_Part], hosts: HostsAsArrays) -> None:
    """In the first turn each fleet gives by its share of what a host has, so that no fleet alone
    goes to new hosts."""
    parts = list(parts)
    for turn in range(_MOST_TURNS):
        movable = sum((part.own for part in parts), np.zeros(len(hosts.names), np.int64))
        changed = False
        for part in parts:
            own = part.own
            changed |= part.level(None if turn else movable)
            movable = movable - own
        if not changed:
            return


class _Part:
    """One fleet, while it is planned."""

    def __init__(
        self,
        view: ClusterView,
        hosts: HostsAsArrays,
        fleet: FleetRecord,
        spec: types.FleetSpec,
        only_bounds: bool,
    ) -> None:
        self.fleet = fleet
        self._view, self._hosts, self._placement = view, hosts, spec.placement
        self._packs = spec.placement.policy == types.Placement.POLICY_PACK
        self.leveled = not (only_bounds or self._packs)
        bounds = Bounds(spec.placement)
        count = len(hosts.names)
        self._selected = np.fromiter(
            (bounds.selects(record.labels) for record in hosts.records), bool, count
        )
        self._allowed: Counts = np.fromiter(
            (bounds.allowed(record.labels) for record in hosts.records), np.int64, count
        )
        generations = sorted(hosts.generations.get(fleet.uid, ())) or [fleet.generation]
        self._wanted = [_wanted(view, fleet.uid, one) for one in generations]
        # Room is counted for the largest generation, and hosts take what may have each of them.
        self._size: Footprint = tuple(
            map(max, zip(*(one.size for one in self._wanted), strict=True))
        )
        able = list(hosts.drafts)
        for wanted in self._wanted:
            admitted = {id(draft) for draft in candidates(hosts.drafts, wanted)}
            able = [draft for draft in able if id(draft) in admitted]
        self._able = hosts.masked(able)
        values = [record.labels.get(spec.placement.spread_label, "") for record in hosts.records]
        numbers = {value: number for number, value in enumerate(sorted(set(values)))}
        self._group: Counts = np.fromiter((numbers[one] for one in values), np.int64, count)
        hosts.own.setdefault(fleet.uid, np.zeros(count, np.int64))
        self._before: Counts = self.own
        self._excess: Counts = np.maximum(self.own - self._allowed, 0)
        self._must: Counts = np.zeros(count, np.int64)
        self._unplaced, self._why = 0, ""

    @property
    def own(self) -> Counts:
        """Its VMs on each host."""
        return self._hosts.own[self.fleet.uid]

    def keep_bounds(self) -> None:
        """What breaks a bound goes where placement would put it."""
        leaving = np.where(self._hosts.lets_go, self._excess, 0)
        amount = int(leaving.sum())
        if not amount:
            return
        takes = self._divided(amount)
        placed = int(takes.sum())
        self._must = first_of(leaving, placed)
        if rest := amount - placed:
            views = [draft.view for draft in self._hosts.drafts]
            nowhere = IndexSet.span(0, rest)
            self._unplaced, self._why = rest, no_room(self._wanted[-1], views, nowhere).why
        self._move(self._must, takes)

    def level(self, movable: Counts | None) -> bool:
        """Whether anything moves. `movable`: what fleets that are still to be leveled have on each
        host; this one moves its share of what is too much of that. None: all that it can."""
        at = np.flatnonzero(self._able & (self.own <= self._allowed))
        own, load, room = self.own[at], self._hosts.load[at], self._room()[at]
        total = int(own.sum())
        if not total:
            return False
        _, group = np.unique(self._group[at], return_inverse=True)
        have = _summed(group, own)
        most = _summed(group, own + np.minimum(room, total))
        per_group = fill(np.zeros_like(have), most, have, total)
        gives, takes = np.zeros_like(own), np.zeros_like(own)
        shares = movable is not None and bool((per_group == have).all())
        whole = movable[at] if movable is not None and shares else own
        for number, amount in enumerate(per_group):
            here = group == number
            give, take = _downhill(
                load[here], whole[here], room[here], int(whole[here].sum() if shares else amount)
            )
            if shares:
                give = -(-give * own[here] // np.maximum(whole[here], 1))
                take = fill(load[here], take, np.zeros_like(take), int(give.sum()))
            gives[here], takes[here] = give, take
        if not gives.any():
            return False
        self._move(_everywhere(gives, at, len(self.own)), _everywhere(takes, at, len(self.own)))
        return True

    def planned(self) -> FleetRebalance:
        """What becomes of the fleet."""
        names, change = self._hosts.names, self.own - self._before
        away = ~self._hosts.lets_go
        return FleetRebalance(
            self.fleet,
            _named(names, -change),
            _named(names, change),
            _named(names, self._must),
            off_selector=int(self._excess[~self._selected].sum()),
            above_per_host=int(self._excess[self._selected].sum()),
            unplaced=self._unplaced,
            waiting=int(self._excess[away].sum()),
            why=self._why,
            packed=self._packs,
        )

    def _divided(self, amount: int) -> Counts:
        """As the fleet's policy has it, among the hosts that may have more."""
        room = np.minimum(self._room(), amount)
        if self._packs:
            return packed(room, self._hosts.used_guests(), amount)
        at = np.flatnonzero(self._able)
        takes = np.zeros_like(room)
        if not len(at):
            return takes
        values, group = np.unique(self._group[at], return_inverse=True)
        nothing = np.zeros(len(values), np.int64)
        own = _summed(group, self.own[at])
        for number, share in enumerate(fill(own, _summed(group, room[at]), nothing, amount)):
            members = at[group == number]
            empty = np.zeros_like(members)
            takes[members] = fill(self._hosts.load[members], room[members], empty, int(share))
        return takes

    def _room(self) -> Counts:
        """How many more of its VMs each host may have."""
        room = np.minimum(self._hosts.room(self._size), np.maximum(self._allowed - self.own, 0))
        return np.where(self._able, room, 0)

    def _move(self, gives: Counts, takes: Counts) -> None:
        self._hosts.move(self.fleet.uid, gives, takes, self._size)


def _downhill(load: Counts, have: Counts, room: Counts, amount: int) -> tuple[Counts, Counts]:
    """How many go from where, and to where, so that these hosts are level with `amount` of what
    they have now."""
    target = fill(load - have, have + np.minimum(room, amount), have, amount)
    return np.maximum(have - target, 0), np.maximum(target - have, 0)


def _wanted(view: ClusterView, uid: str, generation: int) -> Wanted:
    spec = view.specs.get((uid, generation), types.FleetSpec())
    return Wanted(uid, spec, footprints({(uid, generation): spec}).get((uid, generation), GUEST))


def _summed(group: Counts, counts: Counts) -> Counts:
    sums = np.zeros(int(group.max()) + 1, np.int64)
    np.add.at(sums, group, counts)
    return sums


def _everywhere(some: Counts, at: Counts, count: int) -> Counts:
    whole = np.zeros(count, np.int64)
    whole[at] = some
    return whole


def _named(names: tuple[str, ...], counts: Counts) -> dict[str, int]:
    return {names[number]: int(counts[number]) for number in np.flatnonzero(counts > 0)}
