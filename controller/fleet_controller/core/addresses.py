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

FIRST_VM = 2  # after the network's own address and the first, the gateway's


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
    broadcast address (identity.Fleet.address), and none from that of a server on."""
    for network, one in _networks(spec):
        ends = network.num_addresses - (1 if network.version == 4 else 0)
        servers = (_offset(address, network) for address in (one.gateway, *one.dns))
        first = min([ends, *(offset for offset in servers if offset >= FIRST_VM)])
        yield max(0, first - FIRST_VM), str(network)


def _offset(address: str, network: IpNetwork) -> int:
    """Of an address in a network; below 0 outside."""
    try:
        number = ipaddress.ip_address(address)
    except ValueError:
        return -1
    return int(number) - int(network[0]) if number in network else -1


def _shared(
    mine: types.FleetSpec, theirs: types.FleetSpec
) -> tuple[IpNetwork, IpNetwork, str] | None:
    """The first two networks of theirs that overlap on one bridge."""
    for one, first in _networks(mine):
        for other, second in _networks(theirs):
            if (
                first.bridge == second.bridge
                and one.version == other.version
                and one.overlaps(other)
            ):
                return one, other, first.bridge
    return None


def _networks(spec: types.FleetSpec) -> Iterator[tuple[IpNetwork, types.Network]]:
    """Those that addresses come from. What is no network is told elsewhere."""
    for one in (spec.network, *spec.more_networks):
        try:
            yield ipaddress.ip_network(one.prefix), one
        except ValueError:
            continue
