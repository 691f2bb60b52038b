"""Sets of indices on the wire: repeated fleet.v1.IndexRange."""

from __future__ import annotations

from collections.abc import Iterable

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types


def from_wire(ranges: Iterable[types.IndexRange]) -> IndexSet:
    """Raises ValueError for an empty range."""
    return IndexSet((one.start, one.stop) for one in ranges)


def to_wire(indices: IndexSet) -> list[types.IndexRange]:
    """Sorted and disjoint."""
    return [types.IndexRange(start=start, stop=stop) for start, stop in indices.ranges]
