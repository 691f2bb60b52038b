"""Which bridge an interface joins, and what the agent's bridges of a VLAN are called.

An interface in a VLAN joins a bridge of the agent's own, to which a VLAN interface of the named
bridge leads: br0 with VLAN 100 is joined by way of br0.100 and br0-v100.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from fleet.v1 import types_pb2 as types

MAX_LENGTH = 15  # IFNAMSIZ of linux/if.h, less the zero byte
MAX_VLAN = 4094


def joined_bridge(network: types.Network) -> str:
    """The bridge that a VM's interface is a port of."""
    return f"{network.bridge}-v{network.vlan}" if network.vlan else network.bridge


def vlan_interface(bridge: str, vlan: int) -> str:
    """What leads from the bridge of a VLAN to the bridge that has the VLAN."""
    return f"{bridge}.{vlan}"


def networks_of(spec: types.FleetSpec) -> Iterator[types.Network]:
    """Of each interface, the first one first."""
    if spec.HasField("network"):
        yield spec.network
    yield from spec.more_networks


def maker_of(ledger: Path) -> str:
    """What tells the bridges of a machine's agents apart: each has a ledger of its own."""
    return hashlib.sha256(os.fsencode(ledger.resolve())).hexdigest()[:8]


def mark_of(maker: str) -> str:
    """The alias of what an agent makes: a bridge, or the interface of a VLAN."""
    return f"megafleet {maker}: made by its agent, removed with the last VM"
