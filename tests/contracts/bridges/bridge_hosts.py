"""Hosts whose bridges are looked at: one in memory, and one that is a network namespace."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from fleet_agent.drivers.iproute.bridges import IpBridges
from fleet_agent.drivers.ports.bridges import Bridges
from tests.contracts.bridges.memory_bridges import MemoryBridges


class BridgeHost(Protocol):
    """What others than the agent do on the host."""

    @property
    def bridges(self) -> Bridges: ...

    @property
    def has_vlans(self) -> bool: ...

    def add_bridge(self, name: str) -> None: ...

    def take_away(self, name: str) -> None: ...

    def add_port(self, name: str, bridge: str, mtu: int = 1500) -> None:
        """An interface, as of a VM. `bridge`: it is in; empty: in none."""

    def remove_port(self, name: str) -> None: ...

    def bridge_of(self, port: str) -> str: ...


class MemoryHost:
    has_vlans = True

    def __init__(self) -> None:
        self.bridges = MemoryBridges()

    def add_bridge(self, name: str) -> None:
        self.bridges.add(name)

    def take_away(self, name: str) -> None:
        self.bridges.take_away(name)

    def add_port(self, name: str, bridge: str, mtu: int = 1500) -> None:
        self.bridges.ports[name] = bridge

    def remove_port(self, name: str) -> None:
        del self.bridges.ports[name]

    def bridge_of(self, port: str) -> str:
        return self.bridges.ports[port]


class NamespaceHost:
    """A network namespace of its own; what is in it goes with it."""

    def __init__(self, name: str) -> None:
        self.namespace = name
        self.bridges = IpBridges("test", name)
        self.has_vlans = self._can("link", "add", "br-x", "type", "bridge") and self._can(
            "link", "add", "link", "br-x", "name", "br-x.7", "type", "vlan", "id", "7"
        )
        self._can("link", "delete", "br-x")

    def add_bridge(self, name: str) -> None:
        self.ip("link", "add", name, "type", "bridge")
        self.ip(
            "link", "set", "dev", name, "up"
        )  # as a site's is: no VLAN leads over one that is down

    def take_away(self, name: str) -> None:
        self.ip("link", "delete", name)

    def add_port(self, name: str, bridge: str, mtu: int = 1500) -> None:
        self.ip("tuntap", "add", name, "mode", "tap")
        self.ip("link", "set", name, "mtu", str(mtu))
        if bridge:
            self.ip("link", "set", name, "master", bridge)

    def remove_port(self, name: str) -> None:
        self.ip("link", "delete", name)

    def bridge_of(self, port: str) -> str:
        return str(self.link(port).get("master", ""))

    def link(self, name: str) -> dict[str, Any]:
        found = json.loads(self.ip("-d", "-j", "link", "show", "dev", name))[0]
        assert isinstance(found, dict)
        return found

    def ip(self, *arguments: str) -> str:
        command = ["ip", "-n", self.namespace, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def _can(self, *arguments: str) -> bool:
        command = ["ip", "-n", self.namespace, *arguments]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def namespaces_can_be_made() -> bool:
    """As root on a machine that has iproute2, and is not too confined."""
    if os.geteuid() or not shutil.which("ip"):
        return False
    name = f"mf-try-{uuid.uuid4().hex[:6]}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    return made.returncode == 0


@contextmanager
def namespace_host() -> Iterator[NamespaceHost]:
    name = f"mf-bridges-{uuid.uuid4().hex[:6]}"
    subprocess.run(["ip", "netns", "add", name], check=True, capture_output=True)
    try:
        yield NamespaceHost(name)
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
