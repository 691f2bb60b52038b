"""Sets of VM indices as sorted, disjoint, half-open ranges.

A shard of 250 VMs is one range: all set operations cost the number of ranges, never the
number of VMs. A few ranges against many cost the few, and those of the many that lie among them.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Ranges = tuple[tuple[int, int], ...]


class IndexSet:
    """An immutable set of indices >= 0. Compares and hashes by content."""

    __slots__ = ("_count", "ranges")

    ranges: tuple[tuple[int, int], ...]

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        """From (start, stop) pairs in any order; overlapping and touching ones merge.

        Raises ValueError for a negative start or an empty pair.
        """
        self.ranges = _merged(ranges)
        self._count = sum(stop - start for start, stop in self.ranges)

    @classmethod
    def span(cls, start: int, stop: int) -> IndexSet:
        """start, ..., stop-1; empty when stop <= start."""
        return cls(((start, stop),)) if stop > start else EMPTY

    @classmethod
    def of(cls, indices: Iterable[int]) -> IndexSet:
        """From single indices, in any order."""
        return cls((index, index + 1) for index in indices)

    @classmethod
    def union_of(cls, sets: Iterable[IndexSet]) -> IndexSet:
        """The union of many sets in one pass."""
        return cls(pair for one in sets for pair in one.ranges)

    def __len__(self) -> int:
        return self._count

    def __bool__(self) -> bool:
        return self._count > 0

    def __iter__(self) -> Iterator[int]:
        for start, stop in self.ranges:
            yield from range(start, stop)

    def __contains__(self, index: int) -> bool:
        low, high = _near(self.ranges, index, index + 1)
        return any(start <= index < stop for start, stop in self.ranges[low:high])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IndexSet) and self.ranges == other.ranges

    def __hash__(self) -> int:
        return hash(self.ranges)

    def __repr__(self) -> str:
        return f"IndexSet({self})"

    def __str__(self) -> str:
        """As people write it: "0-249,300"."""
        return ",".join(
            str(start) if stop == start + 1 else f"{start}-{stop - 1}"
            for start, stop in self.ranges
        )

    def __or__(self, other: IndexSet) -> IndexSet:
        if not other or not self:
            return self or other
        many, few = self, other
        if len(many.ranges) < len(few.ranges):
            many, few = few, many
        low, high = _near(many.ranges, few.ranges[0][0], few.ranges[-1][1])
        return many._with(low, high, _merged(many.ranges[low:high] + few.ranges))

    def __and__(self, other: IndexSet) -> IndexSet:
        if self.ranges == other.ranges:
            return self
        if _apart(self.ranges, other.ranges):
            return EMPTY
        pairs = []
        near = _those_near(self.ranges, other.ranges)
        if not near:
            return EMPTY
        mine, theirs = iter(near), iter(_those_near(other.ranges, near))
        a, b = next(mine, None), next(theirs, None)
        while a and b:
            start, stop = max(a[0], b[0]), min(a[1], b[1])
            if start < stop:
                pairs.append((start, stop))
            if a[1] <= b[1]:
                a = next(mine, None)
            else:
                b = next(theirs, None)
        return _trusted(pairs)

    def __sub__(self, other: IndexSet) -> IndexSet:
        if _apart(self.ranges, other.ranges):
            return self
        if self.ranges == other.ranges:
            return EMPTY
        low, high = _near(self.ranges, other.ranges[0][0], other.ranges[-1][1])
        near = self.ranges[low:high]
        if not near:
            return self
        pairs = []
        cuts = iter(_those_near(other.ranges, near))
        cut = next(cuts, None)
        for start, stop in near:
            while cut and cut[1] <= start:
                cut = next(cuts, None)
            while cut and cut[0] < stop:
                if start < cut[0]:
                    pairs.append((start, cut[0]))
                start = cut[1]
                if start >= stop:
                    break
                cut = next(cuts, None)
            if start < stop:
                pairs.append((start, stop))
        return self._with(low, high, tuple(pairs))

    def _with(self, low: int, high: int, between: Ranges) -> IndexSet:
        """The same, with others in place of the ranges at these positions; they touch none of the
        rest."""
        made = IndexSet.__new__(IndexSet)
        made.ranges = self.ranges[:low] + between + self.ranges[high:]
        made._count = self._count - _counted(self.ranges[low:high]) + _counted(between)
        return made

    def isdisjoint(self, other: IndexSet) -> bool:
        return not self & other

    def issubset(self, other: IndexSet) -> bool:
        return not self - other

    @property
    def first(self) -> int:
        """The lowest index. Raises IndexError when empty."""
        return self.ranges[0][0]

    @property
    def last(self) -> int:
        """The highest index. Raises IndexError when empty."""
        return self.ranges[-1][1] - 1

    def lowest(self, count: int) -> IndexSet:
        """The `count` lowest indices, or all when there are fewer."""
        if count >= self._count:
            return self
        pairs = []
        for start, stop in self.ranges:
            if count <= 0:
                break
            pairs.append((start, min(stop, start + count)))
            count -= stop - start
        return _trusted(pairs)

    def highest(self, count: int) -> IndexSet:
        """The `count` highest indices, or all when there are fewer."""
        return self - self.lowest(self._count - count) if count < self._count else self

    def batches(self, size: int) -> Iterator[IndexSet]:
        """Cut into sets of at most `size` indices, lowest first."""
        rest = self
        while rest:
            batch = rest.lowest(size)
            yield batch
            rest = rest - batch


def parse_ranges(text: str) -> IndexSet:
    """From "0-249,300". Raises ValueError saying which part is wrong."""
    pairs = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"'{part.strip()}' is not an index or a range such as 0-249")
        start, stop = int(first), int(last if dash else first) + 1
        if stop <= start:
            raise ValueError(f"'{part.strip()}' ends before it starts")
        pairs.append((start, stop))
    return IndexSet(pairs)


def _merged(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    pairs: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if start < 0 or stop <= start:
            raise ValueError(f"not a range of indices: {start}..{stop}")
        if pairs and start <= pairs[-1][1]:
            if stop > pairs[-1][1]:
                pairs[-1] = (pairs[-1][0], stop)
        else:
            pairs.append((start, stop))
    return tuple(pairs)


def _apart(mine: tuple[tuple[int, int], ...], theirs: tuple[tuple[int, int], ...]) -> bool:
    """Whether one is empty, or lies below the other: told without a look at each range."""
    return not mine or not theirs or mine[-1][1] <= theirs[0][0] or theirs[-1][1] <= mine[0][0]


def _near(ranges: Ranges, start: int, stop: int) -> tuple[int, int]:
    """From which position to which ranges have something of start..stop, or touch it."""
    low = bisect_left(ranges, (start, 0))
    if low and ranges[low - 1][1] >= start:
        low -= 1
    return low, bisect_right(ranges, (stop, math.inf), low)


def _those_near(ranges: Ranges, others: Ranges) -> Ranges:
    """The ranges between the ends of the others, of which there is one at least."""
    low, high = _near(ranges, others[0][0], others[-1][1])
    return ranges[low:high]


def _trusted(pairs: list[tuple[int, int]]) -> IndexSet:
    """From pairs known to be sorted, disjoint and not touching."""
    made = IndexSet.__new__(IndexSet)
    made.ranges = tuple(pairs)
    made._count = _counted(made.ranges)
    return made


def _counted(ranges: Ranges) -> int:
    count = 0
    for start, stop in ranges:
        count += stop - start
    return count


EMPTY = IndexSet()
