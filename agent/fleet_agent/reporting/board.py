"""The board: every VM's state, one byte each, and what has changed since each reader looked.

Arrays are one per range of a kin. A change touches slices; readers note dirty ranges only and
build their report when they may speak, so that however much happens meanwhile it is one report.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from fleet.keys import NO_EPOCH, Epoch, Kin
from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_agent.core.model import VmState
from fleet_agent.core.plan.states import States


class Reader(Protocol):
    """What a board tells each of its readers: only what has become dirty."""

    def on_states(self, kin: Kin, indices: IndexSet) -> None: ...

    def on_gone(self, kin: Kin, indices: IndexSet) -> None: ...

    def on_released(self, ids: Iterable[int]) -> None: ...

    def on_problems(self) -> None: ...

    def on_orphans(self) -> None: ...

    def on_fallbacks(self) -> None: ...

    def on_facts(self) -> None: ...

    def on_booted(self, vms: int, seconds: float) -> None:
        """So many VMs have become ready, each so long after its start."""

    def on_standing(self, converged: bool) -> None:
        """The epoch, convergence, or whether an Assign is awaited has changed."""


class KinStates:
    """States of the VMs of one kin: `arrays[i]` belongs to the i-th range of `indices`."""

    __slots__ = ("arrays", "indices")

    def __init__(self, indices: IndexSet) -> None:
        self.indices = indices
        self.arrays = [bytearray(stop - start) for start, stop in indices.ranges]

    def set_state(self, indices: IndexSet, state: int) -> list[tuple[int, int]]:
        """Set the state of those that are here; the ranges in which that changed anything."""
        changed = []
        fill = bytes((state,))
        for position, _, low, high in _overlaps(self.indices, indices):
            array, start = self.arrays[position], self.indices.ranges[position][0]
            wanted = fill * (high - low)
            if array[low - start : high - start] != wanted:
                array[low - start : high - start] = wanted
                changed.append((low, high))
        return changed

    def resized(self, indices: IndexSet) -> KinStates:
        """The same states over other indices; those new here have none (0)."""
        made = KinStates(indices)
        for position, target, low, high in _overlaps(self.indices, indices):
            start, first = self.indices.ranges[position][0], indices.ranges[target][0]
            kept = self.arrays[position][low - start : high - start]
            made.arrays[target][low - first : high - first] = kept
        return made

    def having(self, state: int) -> IndexSet:
        """Which indices are in this state."""
        if all(array.count(state) == len(array) for array in self.arrays):
            return self.indices
        return IndexSet.of(
            start + offset
            for (start, _), array in zip(self.indices.ranges, self.arrays, strict=True)
            for offset, value in enumerate(array)
            if value == state
        )

    def runs(self, indices: IndexSet) -> list[wire.StateRun]:
        found = []
        for position, _, low, high in _overlaps(self.indices, indices):
            start = self.indices.ranges[position][0]
            states = bytes(self.arrays[position][low - start : high - start])
            found.append(wire.StateRun(start=low, states=states))
        return found


def _overlaps(mine: IndexSet, theirs: IndexSet) -> Iterator[tuple[int, int, int, int]]:
    """(position in mine, position in theirs, start, stop) of each stretch that both have."""
    i = j = 0
    while i < len(mine.ranges) and j < len(theirs.ranges):
        (start, stop), (first, last) = mine.ranges[i], theirs.ranges[j]
        low, high = max(start, first), min(stop, last)
        if low < high:
            yield i, j, low, high
        if stop <= last:
            i += 1
        else:
            j += 1


class Board:
    """All that a report can say of the host."""

    def __init__(self) -> None:
        self.kins: dict[Kin, KinStates] = {}
        self.epoch = NO_EPOCH
        self.epoch_seal = b""
        self.converged = False
        self.awaits_assign = False
        self.orders_refused = ""
        self.problems: Sequence[wire.Problem] = ()
        self.orphans: Mapping[Kin, IndexSet] = {}
        self.fallbacks: Sequence[wire.Fallback] = ()
        self.released: frozenset[int] = frozenset()
        self.facts = types.HostFacts()
        self._readers: list[Reader] = []

    def attach(self, reader: Reader) -> None:
        self._readers.append(reader)

    def detach(self, reader: Reader) -> None:
        self._readers.remove(reader)

    def describe(self, states: Mapping[Kin, States]) -> None:
        """Everything that exists or is wanted here; what is not named is gone."""
        for kin in [kin for kin in self.kins if kin not in states]:
            self._drop(kin, self.kins.pop(kin).indices)
        for kin, runs in states.items():
            members = runs[0][1] if len(runs) == 1 else IndexSet.union_of(run for _, run in runs)
            known = self.kins.get(kin)
            if known is None:
                self.kins[kin] = KinStates(members)
            elif known.indices != members:
                self.kins[kin] = known.resized(members)
                self._drop(kin, known.indices - members)
            for state, indices in runs:
                self.set_state(kin, indices, state)

    def set_state(self, kin: Kin, indices: IndexSet, state: VmState) -> None:
        """A step has moved these VMs; those not on the board stay off it."""
        known = self.kins.get(kin)
        changed = known.set_state(indices, state) if known else ()
        if changed:
            dirty = IndexSet(changed)
            for reader in self._readers:
                reader.on_states(kin, dirty)

    def booted(self, vms: int, seconds: float) -> None:
        """So many VMs have become ready, each so long after its start."""
        for reader in self._readers:
            reader.on_booted(vms, seconds)

    def having(self, kin: Kin, state: VmState) -> IndexSet:
        known = self.kins.get(kin)
        return known.having(state) if known else EMPTY

    def set_standing(
        self, epoch: Epoch, seal: bytes, *, converged: bool, awaits_assign: bool
    ) -> None:
        """`seal`: the epoch's."""
        self.epoch_seal = seal
        standing = (epoch, converged, awaits_assign)
        if standing != (self.epoch, self.converged, self.awaits_assign):
            reached = converged and (not self.converged or epoch != self.epoch)
            self.epoch, self.converged, self.awaits_assign = standing
            for reader in self._readers:
                reader.on_standing(reached)

    def set_orders_refused(self, why: str) -> None:
        """Why the host takes no orders; empty: it takes them."""
        if why != self.orders_refused:
            self.orders_refused = why
            for reader in self._readers:
                reader.on_standing(False)

    def set_problems(self, problems: Sequence[wire.Problem]) -> None:
        if list(problems) != list(self.problems):
            self.problems = problems
            for reader in self._readers:
                reader.on_problems()

    def set_fallbacks(self, fallbacks: Sequence[wire.Fallback]) -> None:
        if list(fallbacks) != list(self.fallbacks):
            self.fallbacks = fallbacks
            for reader in self._readers:
                reader.on_fallbacks()

    def set_orphans(self, orphans: Mapping[Kin, IndexSet]) -> None:
        if orphans != self.orphans:
            self.orphans = dict(orphans)
            for reader in self._readers:
                reader.on_orphans()

    def set_released(self, ids: Iterable[int]) -> None:
        """All tombstones of the assignment that are done."""
        done = frozenset(ids)
        news = done - self.released
        self.released = done
        if news:
            for reader in self._readers:
                reader.on_released(news)

    def set_facts(self, facts: types.HostFacts) -> None:
        if facts != self.facts:
            self.facts = facts
            for reader in self._readers:
                reader.on_facts()

    def _drop(self, kin: Kin, indices: IndexSet) -> None:
        if indices:
            for reader in self._readers:
                reader.on_gone(kin, indices)
