"""Bridges and their ports in memory: for tests of what keeps them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from fleet.template.bridges import vlan_interface
from fleet_agent.core.bridges import HostBridge, WantedBridge
from fleet_agent.drivers.ports.bridges import BridgeError, Interface


@dataclass
class MemoryBridges:
    """The Bridges port. `ports`: the bridge that each interface is in; empty: none."""

    bridges: dict[str, HostBridge] = field(default_factory=dict)
    ports: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)  # why a bridge cannot be made
    _index: int = 10

    def add(self, name: str, mtu: int = 1500, *, ours: bool = False) -> None:
        """As somebody else does, or the agent."""
        self._index += 1
        self.bridges[name] = HostBridge(name, self._index, ours, mtu)

    def take_away(self, name: str) -> None:
        """What was in it is in none."""
        self.bridges.pop(name)
        self.ports = {port: "" if at == name else at for port, at in self.ports.items()}

    async def listing(self) -> tuple[HostBridge, ...]:
        return tuple(sorted(self.bridges.values()))

    async def make(self, wanted: WantedBridge) -> None:
        if why := self.refused.get(wanted.name):
            raise BridgeError(why)
        if wanted.name not in self.bridges:
            self.add(wanted.name, wanted.mtu or 1500, ours=True)
        have = self.bridges[wanted.name]
        if not have.ours:
            return
        if wanted.over and wanted.over not in self.bridges:
            raise BridgeError(f"the bridge {wanted.over} is not on this host")
        leads = vlan_interface(wanted.over, wanted.vlan) if wanted.over else ""
        self.bridges[wanted.name] = replace(have, mtu=wanted.mtu or have.mtu, leads_to=leads)

    async def remove(self, name: str) -> bool:
        have = self.bridges.get(name)
        if have is None:
            return True
        if not have.ours or name in self.ports.values():
            return False
        del self.bridges[name]
        return True

    async def join(self, interface: Interface) -> None:
        if self.ports.get(interface.name) == "":
            if interface.bridge not in self.bridges:
                raise BridgeError(f"{interface.bridge} is not on this host")
            self.ports[interface.name] = interface.bridge
