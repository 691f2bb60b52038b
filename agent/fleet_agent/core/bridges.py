"""The host's bridges, decided: which of them the agent makes, mends and removes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fleet.template.bridges import joined_bridge, networks_of
from fleet.v1 import types_pb2 as types


@dataclass(frozen=True, slots=True, order=True)
class WantedBridge:
    """`mtu`: 0: whatever it has. `over`: the bridge of which it is the VLAN `vlan`; empty: it is
    of this host alone."""

    name: str
    mtu: int = 0
    over: str = ""
    vlan: int = 0


@dataclass(frozen=True, slots=True, order=True)
class HostBridge:
    """`index`: another one where it was removed and made again. `ours`: the agent has made it.
    `leads_to`: the interface of a VLAN of the agent's that is in it; empty: none."""

    name: str
    index: int
    ours: bool = False
    mtu: int = 1500
    leads_to: str = ""
    up: bool = True


@dataclass(frozen=True, slots=True)
class BridgePlan:
    """`make`: in this order; what is there and not as wanted is mended in the same way."""

    make: tuple[WantedBridge, ...]
    remove: tuple[str, ...]


def wanted_bridges(specs: Iterable[types.FleetSpec]) -> tuple[WantedBridge, ...]:
    """What the agent is to make where it is missing: those of VLANs come after those that have the
    VLAN. Of several MTUs the largest is taken."""
    plain: dict[str, int] = {}
    by_vlan: dict[str, WantedBridge] = {}
    for network in (one for spec in specs for one in networks_of(spec)):
        if network.create:
            plain[network.bridge] = max(plain.get(network.bridge, 0), network.mtu)
        if network.vlan:
            name = joined_bridge(network)
            mtu = max(by_vlan[name].mtu if name in by_vlan else 0, network.mtu)
            by_vlan[name] = WantedBridge(name, mtu, network.bridge, network.vlan)
    made = [WantedBridge(name, mtu) for name, mtu in sorted(plain.items())]
    return (*made, *sorted(by_vlan.values()))


def joined_by(specs: Iterable[types.FleetSpec]) -> frozenset[str]:
    """The bridges that VMs of these are in."""
    return frozenset(joined_bridge(network) for spec in specs for network in networks_of(spec))


def plan_bridges(wanted: Sequence[WantedBridge], found: Iterable[HostBridge]) -> BridgePlan:
    """Bridges of other makers are neither mended nor removed."""
    there = {bridge.name: bridge for bridge in found}
    make = tuple(one for one in wanted if _is_to_be_made(one, there))
    names = {one.name for one in wanted}
    remove = tuple(
        name for name, bridge in sorted(there.items()) if bridge.ours and name not in names
    )
    return BridgePlan(make, remove)


def _is_to_be_made(wanted: WantedBridge, there: Mapping[str, HostBridge]) -> bool:
    bridge = there.get(wanted.name)
    if bridge is None:
        return True
    wrong_mtu = bool(wanted.mtu) and bridge.mtu != wanted.mtu
    leads_nowhere = bool(wanted.over and not bridge.leads_to)
    return bridge.ours and (wrong_mtu or leads_nowhere or not bridge.up)
