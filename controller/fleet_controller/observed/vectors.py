"""One fleet's observed states: one byte a VM, and counts kept as they change.

A million VMs take about 14 MB. Setting a host's share of 250 costs some 20 us, reading the
counts nothing, a filter over all of them 1-2 ms.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from fleet.ranges import IndexSet
from fleet_controller.core.vm_states import DEFINED, RUNNING, UNKNOWN, UNPLACED
from fleet_controller.observed.lifetimes import Lifetimes

STATES = 16  # room for VmState values in the counting key
NO_HOST = -1


class FleetVector:
    """States, generations, power and hosts by index. Hosts are numbers given by the caller."""

    def __init__(self) -> None:
        self.states: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self.hosts: NDArray[np.int32] = np.zeros(0, np.int32)
        self._slots: NDArray[np.uint16] = np.zeros(0, np.uint16)
        # A slot is one generation with one power: what counts are kept by.
        self._kinds: list[tuple[int, bool]] = []
        self._slot_of: dict[tuple[int, bool], int] = {}
        self._counts: NDArray[np.int64] = np.zeros(0, np.int64)
        self.placed = 0
        self.lifetimes = Lifetimes()

    def place(
        self, host: int, indices: IndexSet, generation: int, state: int, now: float = 0.0
    ) -> None:
        """The host now holds these indices, wanted on; the earlier holder, if any, no longer
        does."""
        if not indices:
            return
        self._reserve(indices.last + 1)
        slot = self._slot(generation, True)
        for start, stop in indices.ranges:
            self.placed += int(np.count_nonzero(self.hosts[start:stop] == NO_HOST))
            self._uncount(slice(start, stop))
            self.hosts[start:stop] = host
            self._slots[start:stop] = slot
            self.states[start:stop] = state
            self.lifetimes.begin(slice(start, stop), state, now)
            self._counts[slot * STATES + state] += stop - start

    def clear(self, host: int, indices: IndexSet) -> None:
        """The host no longer holds these; those that another holds by now are left alone."""
        for start, stop in indices.ranges:
            own = np.flatnonzero(self.hosts[start:stop] == host) + start
            self._uncount(own)
            self.hosts[own] = NO_HOST
            self.states[own] = UNPLACED
            self.lifetimes.begin(own, UNKNOWN, 0.0)
            self.placed -= len(own)

    def set_power(self, host: int, indices: IndexSet, on: bool) -> None:
        """Set, for the indices that this host holds, whether they are wanted on."""
        for start, stop in self.held(host, indices).ranges:
            where = slice(start, stop)
            self._uncount(where)
            for slot in np.unique(self._slots[where]):
                part = np.flatnonzero(self._slots[where] == slot) + start
                self._slots[part] = self._slot(self._kinds[int(slot)][0], on)
            self._counts += np.bincount(self._keys(where), minlength=len(self._counts))

    def held(self, host: int, indices: IndexSet) -> IndexSet:
        """Those of these that the host holds; with NO_HOST, that nobody does."""
        pairs: list[tuple[int, int]] = []
        for start, stop in indices.ranges:
            if stop > len(self.hosts):
                self._reserve(stop)
            pairs += stretches(self.hosts[start:stop] == host, start)
        return IndexSet(pairs)

    def having(self, state: int) -> IndexSet:
        """All indices in this state."""
        return IndexSet(stretches(self.states == state, 0))

    def running_since(self, then: float, heard: Sequence[float]) -> IndexSet:
        """All that have run since then at least, on hosts that were heard all the while. `heard`:
        since when each host is, by its number; both on the leader's clock."""
        steady = (self.states == RUNNING) & self.lifetimes.so_since(then)
        steady &= np.append(np.array(heard) <= then, False)[self.hosts]  # NO_HOST is the last
        return IndexSet(stretches(steady, 0))

    def set_states(
        self, host: int, start: int, states: NDArray[np.uint8], told: float | None = None
    ) -> None:
        """What the host reports of start, start+1, ...; only what it holds is taken over. `told`:
        when, on the leader's clock; None: nobody has, as of a host that is not heard."""
        stop = min(start + len(states), len(self.states))
        if stop <= start:
            return
        part = slice(start, stop)
        new = np.minimum(states[: stop - start], STATES - 1)
        new[(new == 0) | (new > UNKNOWN)] = UNKNOWN
        mine = self.hosts[part] == host
        all_mine = bool(mine.all())
        if told is not None:
            own = part if all_mine else np.flatnonzero(mine) + start
            self.lifetimes.tell(own, new if all_mine else new[mine], told)
        if not all_mine:
            new = np.where(mine, new, self.states[part])
            held = np.flatnonzero(self.hosts[part] != NO_HOST)
            self._count(np.arange(start, stop)[held], new[held])
        else:
            self._count(part, new)
        self.states[part] = new

    def set_state(self, host: int, indices: IndexSet, state: int) -> None:
        """The same state for all of these that the host holds."""
        for start, stop in indices.ranges:
            self.set_states(host, start, np.full(stop - start, state, np.uint8))

    def counts(self) -> list[int]:
        """VMs in each state, by VmState value."""
        if not len(self._counts):
            return [0] * STATES
        return [int(n) for n in self._counts.reshape(-1, STATES).sum(axis=0)]

    def by_generation(self) -> dict[int, tuple[int, int]]:
        """Generation -> (placed, running), for generations that any VM has."""
        found: dict[int, tuple[int, int]] = {}
        for (generation, _), counts in zip(self._kinds, self._table(), strict=True):
            placed, running = found.get(generation, (0, 0))
            if counts.any():
                found[generation] = (placed + int(counts.sum()), running + int(counts[RUNNING]))
        return found

    def by_host(self) -> NDArray[np.int64]:
        """How many VMs each host holds, by its number; shorter where the last ones hold none."""
        return np.bincount(self.hosts[self.hosts != NO_HOST])

    def of_generation(self, generation: int, state: int) -> int:
        """How many of it are in the state, among those wanted on."""
        slot = self._slot_of.get((generation, True))
        return 0 if slot is None else int(self._table()[slot, state])

    def off_of_generation(self, generation: int) -> int:
        """How many of it are wanted off and defined."""
        slot = self._slot_of.get((generation, False))
        return 0 if slot is None else int(self._table()[slot, DEFINED])

    @property
    def powered_off(self) -> int:
        """How many are wanted off."""
        return sum(int(counts.sum()) for counts in self._rows(False))

    @property
    def as_wanted(self) -> int:
        """How many are as they are to be: running, or wanted off and defined."""
        running = sum(int(counts[RUNNING]) for counts in self._rows(True))
        return running + sum(int(counts[DEFINED]) for counts in self._rows(False))

    def generation_of(self, index: int) -> int:
        """0 for an unplaced index."""
        if index >= len(self.hosts) or self.hosts[index] == NO_HOST:
            return 0
        return self._kinds[int(self._slots[index])][0]

    def generations(self) -> NDArray[np.int64]:
        """Of each index; 0 for an unplaced one."""
        by_slot = np.array([generation for generation, _ in self._kinds] or [0], np.int64)
        return np.where(self.hosts == NO_HOST, 0, by_slot[self._slots])

    def holder(self, index: int) -> int:
        """The number of the host that holds the index; NO_HOST where none does."""
        return int(self.hosts[index]) if index < len(self.hosts) else NO_HOST

    def is_off(self, index: int) -> bool:
        """Whether it is placed, and wanted off."""
        if index >= len(self.hosts) or self.hosts[index] == NO_HOST:
            return False
        return not self._kinds[int(self._slots[index])][1]

    def count_within(self, indices: IndexSet, state: int) -> int:
        """How many of these are in the state."""
        return sum(
            int(np.count_nonzero(self.states[start:stop] == state))
            for start, stop in indices.ranges
        )

    def select(
        self,
        total: int,
        state: int | None,
        hosts: Collection[int] | None,
        within: IndexSet | None,
        *,
        off_only: bool = False,
    ) -> NDArray[np.int64]:
        """Indices below `total` that match all filters given, ascending."""
        self._reserve(total)  # unplaced ones are listed too
        size = total
        chosen = np.ones(size, bool) if within is None else np.zeros(size, bool)
        for start, stop in within.ranges if within is not None else ():
            chosen[start:stop] = True
        if state is not None:
            chosen &= self.states[:size] == state
        if hosts is not None:
            chosen &= np.isin(self.hosts[:size], list(hosts))
        if off_only:
            off = np.array([not on for _, on in self._kinds], bool)
            chosen &= self.hosts[:size] != NO_HOST
            chosen[chosen] = off[self._slots[:size][chosen]] if len(off) else False
        return np.flatnonzero(chosen)

    def _slot(self, generation: int, on: bool) -> int:
        kind = (generation, on)
        if kind not in self._slot_of:
            self._slot_of[kind] = len(self._kinds)
            self._kinds.append(kind)
            self._counts = np.append(self._counts, np.zeros(STATES, np.int64))
        return self._slot_of[kind]

    def _table(self) -> NDArray[np.int64]:
        return self._counts.reshape(-1, STATES)

    def _rows(self, on: bool) -> list[NDArray[np.int64]]:
        table = self._table()
        return [table[slot] for (_, power), slot in self._slot_of.items() if power is on]

    def _keys(self, where: slice | NDArray[np.int64]) -> NDArray[np.int64]:
        return self._slots[where].astype(np.int64) * STATES + self.states[where]

    def _count(self, where: slice | NDArray[np.int64], new: NDArray[np.uint8]) -> None:
        slots = self._slots[where].astype(np.int64) * STATES
        size = len(self._counts)
        self._counts += np.bincount(slots + new, minlength=size)
        self._counts -= np.bincount(slots + self.states[where], minlength=size)

    def _uncount(self, where: slice | NDArray[np.int64]) -> None:
        """Take placed VMs at these positions out of the counts."""
        keys = self._keys(where)[self.hosts[where] != NO_HOST]
        if len(keys):
            self._counts -= np.bincount(keys, minlength=len(self._counts))

    def _reserve(self, size: int) -> None:
        have = len(self.states)
        if size <= have:
            return
        size = max(size, have + have // 4)
        self.states = np.concatenate([self.states, np.zeros(size - have, np.uint8)])
        self._slots = np.concatenate([self._slots, np.zeros(size - have, np.uint16)])
        self.hosts = np.concatenate([self.hosts, np.full(size - have, NO_HOST, np.int32)])
        self.lifetimes.reserve(size)


def stretches(chosen: NDArray[np.bool_], first: int) -> list[tuple[int, int]]:
    """(start, stop) of each stretch that is true; positions count from `first`."""
    edges = np.flatnonzero(np.diff(chosen.astype(np.int8), prepend=0, append=0)) + first
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
