"""Whether VMs whose template gives a base for their MAC addresses get addresses of their own.

As for network addresses: decided before anything is placed, by current templates and totals, and
only what makes it worse is refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from fleet.identity import MAC_BASE_ROOM, MAC_PATTERN
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import FleetRecord
from fleet_controller.core.refusals import Reason, Refused

Specs = Mapping[tuple[str, int], types.FleetSpec]


class _Range(NamedTuple):
    """The addresses of one interface of all VMs of a fleet."""

    first: int
    stop: int
    base: str
    bridge: str

    def meets(self, other: _Range) -> bool:
        apart = self.stop <= other.first or other.stop <= self.first
        return self.bridge == other.bridge and not apart


def check_macs(
    fleets: Mapping[str, FleetRecord],
    specs: Specs,
    name: str,
    spec: types.FleetSpec | None,
    total: int,
) -> None:
    """Of a fleet that is to have this template and total. Raises Refused."""
    if spec is None:
        return
    have = fleets.get(name)
    before = specs.get((have.uid, have.generation)) if have else None
    was = _ranges(before, have.total) if have else []
    wanted = _ranges(spec, total)
    _check_room(wanted, was)
    if twice := _met(itertools.combinations(wanted, 2)):
        if not _met(itertools.combinations(was, 2)):
            raise _same(*twice, "of another interface of the same fleet")
    for other in sorted(fleets.values(), key=lambda fleet: fleet.name):
        theirs = _ranges(specs.get((other.uid, other.generation)), other.total)
        if other.name == name or _met(itertools.product(was, theirs)):
            continue
        if shared := _met(itertools.product(wanted, theirs)):
            raise _same(*shared, f"of fleet {other.name}")


def _check_room(wanted: Iterable[_Range], was: Iterable[_Range]) -> None:
    over = max((_over(one) for one in was), default=0)
    for one in wanted:
        if _over(one) > max(over, 0):
            count = MAC_BASE_ROOM - one.first % MAC_BASE_ROOM
            raise Refused(
                Reason.BAD_TOTAL,
                f"mac_base {one.base} has addresses for {count:,} VMs, and "
                f"{one.stop - one.first:,} are wanted; scale to at most {count:,}, or apply the "
                "fleet with a lower mac_base",
                fits=str(count),
            )


def _over(one: _Range) -> int:
    """How many VMs have no address, since the last three octets are at their end."""
    return one.first % MAC_BASE_ROOM + (one.stop - one.first) - MAC_BASE_ROOM


def _met(pairs: Iterable[tuple[_Range, _Range]]) -> tuple[_Range, _Range] | None:
    return next(((one, other) for one, other in pairs if one.meets(other)), None)


def _same(mine: _Range, theirs: _Range, whose: str) -> Refused:
    return Refused(
        Reason.BAD_SPEC,
        f"the MAC addresses from mac_base {mine.base} on overlap with those from {theirs.base} on "
        f"{whose}, on the same bridge {mine.bridge}; give them bases further apart",
    )


def _ranges(spec: types.FleetSpec | None, total: int) -> list[_Range]:
    """Of a fleet without VMs too: the address that its first would have."""
    return list(_each_range(spec, max(1, total))) if spec is not None else []


def _each_range(spec: types.FleetSpec, count: int) -> Iterator[_Range]:
    """What is no address is told elsewhere."""
    for network in (spec.network, *spec.more_networks):
        if not MAC_PATTERN.fullmatch(network.mac_base):
            continue
        first = int(network.mac_base.replace(":", ""), 16)
        yield _Range(first, first + count, network.mac_base, network.bridge)
