"""Who fetches from whom, decided over a snapshot: two trees through all hosts that lack the image.

Chunks are in two stripes. Each host hands one of them on, to two others, and takes the other from
somebody as a leaf: so all upload about as much as they download, nobody uploads much more, and a
chunk reaches the last of n hosts after some log2(n) others had it. Hosts that have the whole image
begin each tree with one reader. What fetches already stays as it is, as long as its source does.
Near sources come first: those in the same rack, then those that have a chunk soonest.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

STRIPES = 2
# Readers of each stripe at once: of a host that has all of it, and of one that hands on a stripe.
OF_WHOLE = 1
OF_OWN_STRIPE = 2
# And of any other, where no better source has room.
OF_OTHER_STRIPE = 1
# Of each stripe, readers in other racks that one rack has while its own hosts wait.
OUT_OF_RACK = 2


class Reading(NamedTuple):
    """A host that fetches one stripe."""

    host: str
    stripe: int


@dataclass(frozen=True, slots=True)
class SpreadHost:
    """One that takes part. `holds`: all of it; `stripe`: which it hands on while it does not.
    `shuns`: sources that have failed it."""

    rack: str
    holds: bool
    stripe: int
    shuns: frozenset[str] = frozenset()


Sources = Mapping[Reading, str]


def sources(hosts: Mapping[str, SpreadHost], now: Sources, liars: frozenset[str]) -> Sources:
    """The source of every stripe that a host lacks, for those that find one. `hosts`: all that can
    be reached; `now`: as it was decided before; `liars`: they give nothing to anybody."""
    decided: dict[Reading, str] = {}
    busy: Counter[str] = Counter()  # with other stripes
    for stripe in range(STRIPES):
        tree = _Tree(hosts, stripe, liars, busy)
        tree.keep(now)
        for name in tree.waiting():
            tree.join(name)
        decided |= {Reading(reader, stripe): source for reader, source in tree.source.items()}
        busy.update(tree.source.values())
    return decided


def own_stripes(racks: Mapping[str, str], known: Mapping[str, int]) -> dict[str, int]:
    """Which stripe each host hands on: as before, and new ones so that both have as many, in
    each rack too."""
    found = {host: stripe for host, stripe in known.items() if host in racks}
    counts: defaultdict[str, Counter[int]] = defaultdict(Counter)
    total: Counter[int] = Counter(found.values())
    for host, stripe in found.items():
        counts[racks[host]][stripe] += 1
    for host in sorted(racks.keys() - found.keys(), key=lambda one: (racks[one], one)):
        here = counts[racks[host]]
        stripe = min(range(STRIPES), key=lambda one: (total[one], here[one], one))
        found[host] = stripe
        here[stripe] += 1
        total[stripe] += 1
    return found


@dataclass(slots=True)
class _Room:
    """Hosts that may have another reader, the soonest first."""

    heap: list[tuple[int, int, str]] = field(default_factory=list)

    def add(self, depth: int, busy: int, host: str) -> None:
        heapq.heappush(self.heap, (depth, busy, host))


class _Tree:
    """One stripe, while it is decided."""

    def __init__(
        self,
        hosts: Mapping[str, SpreadHost],
        stripe: int,
        liars: frozenset[str],
        busy: Mapping[str, int],
    ) -> None:
        self._hosts = hosts
        self._stripe = stripe
        self._liars = liars
        self._busy = busy
        self.source: dict[str, str] = {}
        self._depth = {name: 0 for name, one in hosts.items() if one.holds}
        self._readers: Counter[str] = Counter()
        self._near: defaultdict[str, _Room] = defaultdict(_Room)
        self._any = _Room()
        self._away: Counter[str] = Counter()  # readers that sources of a rack have in others

    def keep(self, now: Sources) -> None:
        """Of what was decided, whatever still leads to a host that has all."""
        readers: defaultdict[str, list[str]] = defaultdict(list)
        for reading, source in now.items():
            if reading.stripe == self._stripe and self._may(reading.host, source):
                readers[source].append(reading.host)
        reached = list(self._depth)
        while reached:
            source = reached.pop()
            for reader in readers[source]:
                self.source[reader] = source
                self._depth[reader] = self._depth[source] + 1
                self._readers[source] += 1
                rack = self._hosts[source].rack
                self._away[rack] += rack != self._hosts[reader].rack
                reached.append(reader)
        for name in self._depth:
            self._offer(name)

    def _may(self, reader: str, source: str) -> bool:
        one = self._hosts.get(reader)
        known = one is not None and not one.holds and source in self._hosts
        return known and source not in self._liars and source not in self._shunned(reader)

    def _shunned(self, reader: str) -> frozenset[str]:
        return self._hosts[reader].shuns

    def waiting(self) -> list[str]:
        """Those without a source, in the order in which they join: two of each rack that hand the
        stripe on, so that all racks are reached soon; then whoever else hands it on, since that
        makes room; then the leaves."""
        before: Counter[str] = Counter(
            self._hosts[name].rack for name in self._depth if self._hands_on(name)
        )
        found: list[tuple[int, str, str]] = []
        for name in sorted(self._hosts.keys() - self._depth.keys()):
            rack, turn = self._hosts[name].rack, 2
            if self._hands_on(name):
                turn = int(before[rack] >= 2)
                before[rack] += 1
            found.append((turn, rack, name))
        return [name for _, _, name in sorted(found)]

    def _hands_on(self, name: str) -> bool:
        return self._hosts[name].stripe == self._stripe

    def join(self, reader: str) -> None:
        """Give it the best source that has room, if there is one."""
        rack = self._hosts[reader].rack
        source = self._best(reader, self._near[rack])
        source = source or self._best(reader, self._any) or self._last_resort(reader)
        if source is None:
            return
        self._away[self._hosts[source].rack] += self._hosts[source].rack != rack
        self.source[reader] = source
        self._readers[source] += 1
        self._depth[reader] = self._depth[source] + 1
        self._offer(source)
        self._offer(reader)

    def _offer(self, name: str) -> None:
        if name not in self._liars and self._readers[name] < self._most(name):
            rack = self._hosts[name].rack
            self._near[rack].add(self._depth[name], self._busy.get(name, 0), name)
            if self._away[rack] < OUT_OF_RACK:
                self._any.add(self._depth[name], self._busy.get(name, 0), name)

    def _most(self, name: str) -> int:
        one = self._hosts[name]
        if one.holds:
            return OF_WHOLE
        return OF_OWN_STRIPE if self._hands_on(name) else 0

    def _best(self, reader: str, room: _Room) -> str | None:
        shunned = self._shunned(reader)
        passed: list[tuple[int, int, str]] = []
        found = None
        while room.heap and found is None:
            depth, busy, name = heapq.heappop(room.heap)
            if self._readers[name] >= self._most(name) or depth != self._depth[name]:
                continue  # filled meanwhile by way of the other heap
            if room is self._any and self._away[self._hosts[name].rack] >= OUT_OF_RACK:
                continue
            if name in shunned:
                passed.append((depth, busy, name))
            else:
                found = name
        for one in passed:
            heapq.heappush(room.heap, one)
        return found

    def _last_resort(self, reader: str) -> str | None:
        """One that has more readers than it should, rather than none."""
        shunned = self._shunned(reader)
        fit = [
            (self._readers[name] >= self._most(name), depth, name)
            for name, depth in self._depth.items()
            if name not in shunned
            and name not in self._liars
            and self._readers[name] < self._most(name) + OF_OTHER_STRIPE
        ]
        return min(fit)[2] if fit else None
