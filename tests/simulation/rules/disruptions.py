"""A fleet's disruption budget: no more VMs are down on purpose than it allows, whoever asks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.model import Batch, StepKind
from fleet_controller.core.model import Assignment, Shard
from fleet_controller.core.rollouts_and_drains.disruption import Bounds, bounds_of_spec
from tests.simulation.doubles.liars import Liars
from tests.simulation.doubles.machine import Machine
from tests.simulation.doubles.witness import Witness
from tests.simulation.engine.trace import Fail
from tests.simulation.rules.store_view import StoreView

# A leader has heard by then that a VM runs, or does not hear its host. While drivers do not answer,
# their agent knows of no VM.
KNOWN_AFTER = 25.0
# Less than a minute: what is written arrives some seconds after it was decided.
WITHIN = 50.0


@dataclass(frozen=True, slots=True)
class _Taken:
    """A VM that ran and was taken down. It is up again once a life of it has been started that was
    born later, or on the same host once more."""

    host: str
    birth: int
    restarted: bool

    def ends_with(self, host: str, kin: Kin) -> bool:
        return kin.birth > self.birth or (self.restarted and host == self.host)


class Disruptions(Witness):
    """Hears what hosts are assigned, after the view of the store has, and every start of a VM."""

    def __init__(
        self,
        clock: Callable[[], float],
        machines: Mapping[str, Machine],
        store: StoreView,
        liars: Liars,
        fail: Fail,
    ) -> None:
        self._clock = clock
        self._machines = machines
        self._store = store
        self._liars = liars
        self._fail = fail
        self._down: dict[str, dict[int, _Taken]] = defaultdict(dict)  # by uid and index
        self._times: dict[str, list[float]] = defaultdict(list)  # when VMs were taken, by uid
        self._up_since: dict[tuple[str, str, int], float] = {}  # by host, uid and index

    def vms_started(self, host: str, kin: Kin, indices: IndexSet) -> None:
        down = self._down[kin.fleet_uid]
        for index in indices:
            self._up_since[host, kin.fleet_uid, index] = self._clock()
            if (taken := down.get(index)) and taken.ends_with(host, kin):
                del down[index]

    def step_faked(self, host: str, kind: StepKind, batch: Batch, indices: IndexSet) -> None:
        """As far as anybody can know they are up."""
        for index in indices:
            self._down[batch.kin.fleet_uid].pop(index, None)

    def changes_thawed(self) -> None:
        """What hosts have now is what a recovery has given them."""
        self._down.clear()

    def look(self) -> None:
        """Of hosts that lie, or do not do what they are told, nobody knows what is up."""
        odd = {
            host
            for host, machine in self._machines.items()
            if host in self._liars.since or not machine.behaviour.well
        }
        if odd:
            for uid, down in self._down.items():
                held = self._held_by(odd, uid)
                for index in [i for i, one in down.items() if one.host in odd or i in held]:
                    del down[index]

    def hosts_reassigned(self, moved: Mapping[str, tuple[Assignment, Assignment]]) -> None:
        for uid in {s.fleet for pair in moved.values() for one in pair for s in one.shards}:
            bounds = self._bounds(uid)
            if bounds is not None:
                self._check(uid, bounds, moved)

    def _check(
        self, uid: str, bounds: Bounds, moved: Mapping[str, tuple[Assignment, Assignment]]
    ) -> None:
        counts = False
        for host, (before, after) in moved.items():
            record = self._store.hosts.get(host)
            for index, taken in self._taken(host, uid, before, after):
                self._down[uid][index] = taken
                self._times[uid].append(self._clock())
                counts = counts or (record is not None and not record.drain_ignores_budget)
        if not counts:
            return
        self.look()
        off = self._ranges(uid, lambda shard: not shard.power)
        fleet = self._store.fleet(uid)
        wanted = (fleet.wanted if fleet else EMPTY) - off
        down = [index for index in self._down[uid] if index in wanted]
        if len(down) > bounds.most:
            self._fail(
                "budget", f"{len(down)} VMs of {uid} are down on purpose, more than {bounds.most}"
            )
        recent = [at for at in self._times[uid] if at > self._clock() - WITHIN]
        self._times[uid] = recent
        if bounds.per_minute and len(recent) > bounds.per_minute:
            self._fail(
                "budget",
                f"{len(recent)} VMs of {uid} were begun anew within {WITHIN:.0f} s, more "
                f"than {bounds.per_minute} in a minute",
            )

    def _taken(
        self, host: str, uid: str, before: Assignment, after: Assignment
    ) -> list[tuple[int, _Taken]]:
        """VMs that ran, as the leader could know, and whose life on the host is over."""
        if self._store.is_lost(host, uid) or host in self._liars.since:
            return []
        fleet, active = self._store.fleet(uid), self._machines[host].hypervisor.all_active()
        if fleet is None or self._machines[host].behaviour.well_for < KNOWN_AFTER:
            return []
        found = []
        off = IndexSet.union_of(s.ranges for s in after.shards if s.fleet == uid and not s.power)
        lives = _lives(after, uid)
        for (kin, restart), ranges in _lives(before, uid).items():
            gone = (ranges - lives.get((kin, restart), EMPTY) - off) & fleet.wanted
            again = IndexSet.union_of(have for (one, _), have in lives.items() if one == kin)
            for index in gone & active.get(kin, EMPTY):
                since = self._up_since.get((host, uid, index), self._clock())
                if self._clock() - since >= KNOWN_AFTER:
                    found.append((index, _Taken(host, kin.birth, index in again)))
        return found

    def _bounds(self, uid: str) -> Bounds | None:
        fleet = self._store.fleet(uid)
        spec = self._store.specs.get((uid, fleet.generation)) if fleet else None
        return bounds_of_spec(spec, fleet.total) if fleet and spec is not None else None

    def _held_by(self, hosts: set[str], uid: str) -> IndexSet:
        return IndexSet.union_of(
            shard.ranges
            for host in hosts
            for shard in self._store.assignments.get(host, Assignment()).shards
            if shard.fleet == uid
        )

    def _ranges(self, uid: str, which: Callable[[Shard], bool]) -> IndexSet:
        return IndexSet.union_of(
            shard.ranges
            for one in self._store.assignments.values()
            for shard in one.shards
            if shard.fleet == uid and which(shard)
        )


def _lives(assignment: Assignment, uid: str) -> dict[tuple[Kin, int], IndexSet]:
    found: dict[tuple[Kin, int], IndexSet] = {}
    for shard in assignment.shards:
        if shard.fleet == uid and not shard.staged and shard.power:
            key = (shard.kin, shard.restart)
            found[key] = found.get(key, EMPTY) | shard.ranges
    return found
