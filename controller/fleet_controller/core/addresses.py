"""Whether VMs get addresses of their own: enough of them, and none of another fleet's.

Addresses follow from an index and a prefix alone, so this is decided before anything is placed.
Clusters that are wrong already go on: only what makes it worse is refused. Only current templates
are compared, not older ones that VMs may still run.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import FleetRecord
from fleet_controller.core.refusals import Reason, Refused

Specs = Mapping[tuple[str, int], types.FleetSpec]
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


def check_template(
    fleets: Mapping[str, FleetRecord], specs: Specs, name: str, spec: types.FleetSpec
) -> None:
    """Of a fleet that is to have this template from now on. Raises Refused."""
    have = fleets.get(name)
    before = specs.get((have.uid, have.generation)) if have else None
    if have is not None and _short(spec, have.total) > _short(before, have.total):
        raise _too_small(spec, have.total)
    for other in sorted(fleets.values(), key=lambda fleet: fleet.name):
        theirs = specs.get((other.uid, other.generation))
        if other.name == name or theirs is None:
            continue
        shared = _shared(spec, theirs)
        if shared and not (before and _shared(before, theirs)):
            mine, its, bridge = shared
            raise Refused(
                Reason.BAD_SPEC,
                f"{mine} overlaps with {its} of fleet {other.name} on the same bridge {bridge}: "
                "VMs of both would have the same addresses; give this fleet a prefix of its own",
            )


def check_total(specs: Specs, before: FleetRecord, total: int) -> None:
    """Of a fleet that is to have this total. Raises Refused where more VMs would be without an
    address than now."""
    spec = specs.get((before.uid, before.generation))
    if spec is not None and _short(spec, total) > _short(spec, before.total):
        raise _too_small(spec, total)


def _too_small(spec: types.FleetSpec, total: int) -> Refused:
    count, prefix = min(_rooms(spec))
    return Refused(
        Reason.BAD_TOTAL,
        f"{prefix} has addresses for {count:,} VMs, and {total:,} are wanted; scale to at most "
        f"{count:,}, or apply the fleet with a larger prefix",
        fits=str(count),
    )


def _short(spec: types.FleetSpec | None, total: int) -> int:
    """How many of so many VMs have no address."""
    rooms = list(_rooms(spec)) if spec is not None else []
    return max(0, total - min(rooms)[0]) if rooms else 0


def _rooms(spec: types.FleetSpec) -> Iterator[tuple[int, str]]:
    """How many VMs each network has addresses for: not its own, not the gateway's, nor IPv4's
    broadcast address (identity.Fleet.address)."""
    for network, _ in _networks(spec):
        yield max(0, network.num_addresses - (3 if network.version == 4 else 2)), str(network)


def _shared(
    mine: types.FleetSpec, theirs: types.FleetSpec
) -> tuple[IpNetwork, IpNetwork, str] | None:
    """The first two networks of theirs that overlap on one bridge."""
    for one, bridge in _networks(mine):
        for other, beside in _networks(theirs):
            if bridge == beside and one.version == other.version and one.overlaps(other):
                return one, other, bridge
    return None


def _networks(spec: types.FleetSpec) -> Iterator[tuple[IpNetwork, str]]:
    """Those that addresses come from, with their bridges. What is no network is told elsewhere."""
    for one in (spec.network, *spec.more_networks):
        try:
            network = ipaddress.ip_network(one.prefix)
        except ValueError:
            continue
        yield network, one.bridge
