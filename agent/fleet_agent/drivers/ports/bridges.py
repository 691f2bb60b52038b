"""The port to the host's bridges: which there are, making those of the agent's own, and removing
them.

A bridge of the agent's own bears its mark; every other one is left as it is. Acts look first, and
may be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fleet_agent.core.bridges import HostBridge, WantedBridge


class BridgeError(Exception):
    """A bridge could not be made, mended or removed; one sentence. Others are not concerned."""


@dataclass(frozen=True, slots=True)
class Interface:
    """The host's end of one interface of a VM of ours that runs, and the bridge it is to be in."""

    name: str
    bridge: str


class Bridges(Protocol):
    """The bridges of one host."""

    async def listing(self) -> tuple[HostBridge, ...]:
        """All of them, sorted by name. Raises DriverError."""

    async def make(self, wanted: WantedBridge) -> None:
        """A bridge of the agent's own that is up, as it is wanted; one of another maker that has
        the name is left as it is. Raises BridgeError, DriverError."""

    async def remove(self, name: str) -> bool:
        """No such bridge of the agent's own, and no interface of a VLAN that it had. One that
        others have joined stays, as does one of another maker; whether it is gone. Raises
        BridgeError, DriverError."""

    async def join(self, interface: Interface) -> None:
        """The interface is in its bridge; one that is in some bridge already stays where it is.
        Raises BridgeError, DriverError."""
