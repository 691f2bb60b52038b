"""Since when VMs have been amiss without a break."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fleet.keys import Kin
from fleet.ranges import IndexSet

# Sets of one kin that are disjoint, with the second since which each is amiss.
Spans = list[tuple[int, IndexSet]]


class FailingSince:
    """Of one host. Seconds since 1970: people read them elsewhere."""

    def __init__(self) -> None:
        self._spans: dict[Kin, Spans] = {}

    def note(self, failing: Mapping[Kin, IndexSet], now: int) -> None:
        """These are amiss now, and no others."""
        self._spans = {
            kin: self._continued(kin, indices, now) for kin, indices in failing.items() if indices
        }

    def _continued(self, kin: Kin, indices: IndexSet, now: int) -> Spans:
        spans = [
            (since, still)
            for since, before in self._spans.get(kin, ())
            if (still := before & indices)
        ]
        new = indices - IndexSet.union_of(still for _, still in spans)
        return [*spans, (now, new)] if new else spans

    def ranges(self, kin: Kin, indices: IndexSet) -> Iterator[tuple[int, int, int]]:
        """(start, stop, since) of each stretch of these that are amiss for as long."""
        for since, span in self._spans.get(kin, ()):
            for start, stop in (span & indices).ranges:
                yield start, stop, since
