"""The disruption budget of each fleet: the one place that says how many VMs go down on purpose.

Drains, rollouts, restarts and whatever else takes a VM down that runs ask here, in the same pass
and of the same object, so that no two of them use the same room. A VM is down from the moment that
its host is to let it go, to restart it or to make it anew, until it runs again. VMs that are down
by themselves count too: what is done on purpose must not make a bad hour worse. Such a VM itself
may always be taken, since it costs nobody anything more: that is how it is mended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

import msgspec

from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import (
    Assignment,
    ClusterView,
    FleetRecord,
    ObservedFleet,
    Shard,
)


class Bounds(msgspec.Struct, frozen=True):
    """What a fleet's budget allows. `most`: VMs down at once. `per_minute`: VMs begun anew in any
    minute; 0: not bounded."""

    most: int
    per_minute: int = 0


class BudgetUse(msgspec.Struct, frozen=True):
    """A fleet's budget after a pass. `down`: VMs that are down or are taken down by the pass, by
    whatever cause; of these, `failed`: they have failed, or nothing is heard of their hosts.
    `begun`: VMs begun anew within the last minute, the pass included; -1: a new leader does not
    know. `waiting`: VMs that something would take down, and that the budget keeps."""

    bounds: Bounds
    down: int
    failed: int = 0
    begun: int = 0
    waiting: int = 0

    @property
    def why(self) -> str:
        """What keeps the waiting ones, and what to do, in one sentence; empty: nothing waits."""
        return _why(self)


def bounds_of(view: ClusterView, fleet: FleetRecord) -> Bounds | None:
    """The budget that the fleet's settings give it; None: it has none. At least one VM may always
    be down, or nothing would ever be done."""
    spec = view.specs.get((fleet.uid, fleet.generation))
    return bounds_of_spec(spec, fleet.total) if spec is not None else None


def bounds_of_spec(spec: types.FleetSpec, total: int) -> Bounds | None:
    """The same, for a spec and a total."""
    if not spec.HasField("disruption"):
        return None
    asked = spec.disruption
    bounds = [total]
    if asked.at_most:
        bounds.append(asked.at_most)
    if 0 < asked.share < 1:
        bounds.append(int(asked.share * total))
    per_minute = asked.per_minute if asked.per_minute < total else 0
    return Bounds(max(1, min(bounds)), per_minute)


class DisruptionBudget:
    """How many further VMs of each fleet may be taken down in one pass.

    Made once a pass, from the view and from what placement has decided of it. Whoever then wants
    VMs down calls `take` with those that are ready to go, writes what it returns, and leaves the
    others as they are: a later pass asks again. What was taken is down for all who ask after that.

    Who asks first would take everything, as long as he has anything to take. `giving_way`: fleets
    of which those who ask first get no VM that runs, in this pass: it is the turn of the others.
    """

    def __init__(
        self,
        view: ClusterView,
        decided: Mapping[str, Assignment],
        giving_way: Set[str] = frozenset(),
    ) -> None:
        self._view = view
        self._decided = decided
        self._giving_way = giving_way
        self._fleets = {fleet.uid: fleet for fleet in view.fleets.values()}
        self._rooms: dict[str, Room | None] = {}

    def take(
        self, uid: str, ranges: IndexSet, *, most: int | None = None, beyond: bool = False
    ) -> IndexSet:
        """Those of these VMs of the fleet that may be taken down now; from now on they are down.
        A fleet without a budget gives all. `most`: no more than so many are asked for, whichever.
        `beyond`: an operator has said that the budget does not count; it is used all the same, by
        all of them."""
        most = len(ranges) if most is None else most
        room = self._room(uid)
        if room is None or not ranges or most <= 0:
            return ranges.lowest(most)
        return room.take(ranges, most, beyond, uid in self._giving_way)

    def next_asker(self) -> None:
        """From here on others ask, and nobody gives way any more."""
        self._giving_way = frozenset()

    def taken(self) -> dict[str, int]:
        """How many VMs that ran were taken down in this pass, by uid of a fleet with a budget."""
        return {uid: room.begun for uid, room in self._rooms.items() if room and room.begun}

    def waiting(self) -> dict[str, int]:
        """How many VMs of each such fleet were asked for so far, and kept."""
        return {uid: len(room.waiting) for uid, room in self._rooms.items() if room}

    def uses(self) -> dict[str, BudgetUse]:
        """By uid, of the fleets with a budget of which anybody has asked for VMs in this pass."""
        return {uid: room.use() for uid, room in self._rooms.items() if room}

    def _room(self, uid: str) -> Room | None:
        if uid not in self._rooms:
            fleet = self._fleets.get(uid)
            bounds = bounds_of(self._view, fleet) if fleet else None
            self._rooms[uid] = (
                Room(self._view, self._decided, fleet, bounds) if fleet and bounds else None
            )
        return self._rooms[uid]


class Room:
    """Of one fleet, for one pass."""

    def __init__(
        self,
        view: ClusterView,
        decided: Mapping[str, Assignment],
        fleet: FleetRecord,
        bounds: Bounds,
    ) -> None:
        observed = view.observed.get(fleet.uid)
        if observed is None:  # then nothing is known to be down
            observed = ObservedFleet(EMPTY, EMPTY, fleet.wanted)
        off, changed = _off_and_changed(view, decided, fleet.uid)
        self.bounds = bounds
        runs = observed.running - observed.restarting - changed
        self.down = fleet.wanted - off - runs
        free = off | (IndexSet.span(0, 2**32) - fleet.wanted)
        may_run = observed.unknown | observed.restarting
        self.costless = (self.down - may_run) | free  # surely down, or not wanted
        self.lasting = self.down & (observed.failed | observed.unknown)
        self.before = None if view.begun_unknown else view.begun_anew.get(fleet.uid, 0)
        self.begun = 0
        self.waiting = EMPTY

    def take(self, ranges: IndexSet, most: int, beyond: bool, gives_way: bool = False) -> IndexSet:
        costless = ranges & self.costless
        others = ranges - costless
        running = others if beyond else EMPTY if gives_way else self.within(others)
        given = (costless | running).lowest(most)
        taken = given - costless
        self.begun += len(taken)
        self.down = self.down | taken
        kept = (others - taken).lowest(most - len(given))
        self.waiting = (self.waiting | kept) - taken
        return given

    def within(self, ranges: IndexSet) -> IndexSet:
        """Those of these that may go down. What counts as down already, and may run all the same,
        makes no more of them down."""
        left = self.bounds.most - len(self.down)
        if left < 0:
            return EMPTY
        chosen = (ranges & self.down) | (ranges - self.down).lowest(left)
        if self.bounds.per_minute:
            if self.before is None:
                return EMPTY
            chosen = chosen.lowest(max(0, self.bounds.per_minute - self.before - self.begun))
        return chosen

    def use(self) -> BudgetUse:
        begun = -1 if self.before is None else self.before + self.begun
        return BudgetUse(self.bounds, len(self.down), len(self.lasting), begun, len(self.waiting))


def _off_and_changed(
    view: ClusterView, decided: Mapping[str, Assignment], uid: str
) -> tuple[IndexSet, IndexSet]:
    """What is stopped; and what is otherwise than in the store by now: what was said of it is of an
    earlier life."""
    off: list[IndexSet] = []
    changed: list[IndexSet] = []
    for name, host in view.hosts.items():
        now = decided.get(name, host.assignment)
        off += [s.ranges for s in now.shards if s.fleet == uid and not s.power]
        if now is not host.assignment:
            had, has = _lives(host.assignment.shards, uid), _lives(now.shards, uid)
            for life in had.keys() | has.keys():
                before, after = had.get(life, EMPTY), has.get(life, EMPTY)
                changed += [before - after, after - before]
    return IndexSet.union_of(off), IndexSet.union_of(changed)


def _lives(shards: Iterable[Shard], uid: str) -> dict[tuple[Kin, int], IndexSet]:
    """What a host runs of a fleet, by birth and last restart."""
    found: dict[tuple[Kin, int], IndexSet] = {}
    for shard in shards:
        if shard.fleet == uid and not shard.staged:
            key = (shard.kin, shard.restart)
            found[key] = found.get(key, EMPTY) | shard.ranges
    return found


def _why(use: BudgetUse) -> str:
    if not use.waiting:
        return ""
    bounds = use.bounds
    waits = f"{use.waiting:,} VM{' waits' if use.waiting == 1 else 's wait'}"
    if use.down >= bounds.most:
        why = f"{waits}: {use.down:,} are down, and the budget is {bounds.most:,} at once"
        if use.failed < bounds.most:
            return why
        return (
            f"{why}. {use.failed:,} of these have failed or cannot be heard: nothing goes on "
            "before they run; mend them, raise disruption.at_most, or give --ignore-budget"
        )
    if use.begun < 0:
        return f"{waits}: a new leader begins no VM anew in its first minute"
    return (
        f"{waits}: {use.begun:,} were begun anew within a minute, of {bounds.per_minute:,} that "
        "the budget allows"
    )
