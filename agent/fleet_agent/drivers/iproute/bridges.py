"""The Bridges port over `ip` and `bridge` of iproute2, which every dom0 has: Xen's scripts call it.

A bridge or an interface of a VLAN is made under a name that nothing else has, marked, and only
then given its own: one that bears no mark was never made by an agent. The mark is the interface's
alias, and says which agent it was: two may run on one machine.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import msgspec

from fleet.template.bridges import mark_of, vlan_interface
from fleet_agent.core.bridges import HostBridge, WantedBridge
from fleet_agent.drivers.ports.bridges import BridgeError, Interface
from fleet_agent.drivers.ports.errors import DriverError

CALL_SECONDS = 20.0

Link = dict[str, Any]


class IpBridges:
    """`agent`: at most 8 characters, no other agent's on this machine. `namespace`: of the network,
    by name; empty: the agent's own."""

    def __init__(self, agent: str, namespace: str = "") -> None:
        self.mark = mark_of(agent)
        self.unfinished = f"mf-new-{agent}"
        self._in = ("-n", namespace) if namespace else ()
        self._turn = asyncio.Lock()  # one unfinished bridge at a time

    async def listing(self) -> tuple[HostBridge, ...]:
        bridges = await self._links("type", "bridge")
        bridges += await self._links("type", "openvswitch")
        leads = {
            link.get("master", ""): str(link["ifname"])
            for link in await self._links("type", "vlan")
            if self._is_ours(link)
        }
        return tuple(
            sorted(
                HostBridge(
                    name,
                    link.get("ifindex", 0),
                    self._is_ours(link),
                    link.get("mtu", 0),
                    leads.get(name, ""),
                    "UP" in link.get("flags", ()),
                )
                for link in bridges
                if (name := str(link["ifname"])) != self.unfinished
            )
        )

    async def make(self, wanted: WantedBridge) -> None:
        async with self._turn:
            have = await self._link(wanted.name)
            if have is not None and not self._is_ours(have):
                return
            if wanted.over:  # before VMs find a bridge that leads nowhere
                await self._make_vlan_interface(wanted)
            if have is None:
                await self._make(wanted)
            elif wanted.mtu and have.get("mtu") != wanted.mtu:
                await self._set_mtu(wanted, have)
            cannot = f"cannot make the bridge {wanted.name}"
            await self._ip(cannot, "link", "set", "dev", wanted.name, "up")
            if wanted.over:
                await self._lead(wanted)

    async def remove(self, name: str) -> bool:
        have = await self._link(name)
        if have is None or not self._is_ours(have):
            return have is None
        ports = await self._links("master", name)
        own = [str(link["ifname"]) for link in ports if self._is_ours(link)]
        if len(own) < len(ports):
            return False
        for link in (*own, name):
            await self._ip(f"cannot remove {link}", "link", "delete", "dev", link)
        return True

    async def join(self, interface: Interface) -> None:
        have = await self._link(interface.name)
        if have is None or have.get("master"):
            return
        await self._ip(
            f"{interface.name} cannot join {interface.bridge}",
            "link", "set", "dev", interface.name, "master", interface.bridge,
        )  # fmt: skip

    async def _make(self, wanted: WantedBridge) -> None:
        """It has no address: the host takes no part in what its VMs say to one another."""
        cannot = f"cannot make the bridge {wanted.name}"
        await self._remove_unfinished()
        await self._ip(cannot, "link", "add", "name", self.unfinished, "type", "bridge")
        for change in (
            ("alias", self.mark),
            ("type", "bridge", "forward_delay", "0", "stp_state", "0"),
            ("addrgenmode", "none"),
            # Only an MTU that was changed to stays when ports come and go.
            *((("mtu", str(wanted.mtu - 1)), ("mtu", str(wanted.mtu))) if wanted.mtu else ()),
            ("name", wanted.name),
        ):
            await self._ip(cannot, "link", "set", "dev", self.unfinished, *change)

    async def _remove_unfinished(self) -> None:
        """Of an agent that was killed."""
        if await self._link(self.unfinished) is not None:
            cannot = f"cannot remove {self.unfinished}"
            await self._ip(cannot, "link", "delete", "dev", self.unfinished)

    async def _set_mtu(self, wanted: WantedBridge, have: Link) -> None:
        for link in await self._links("master", wanted.name):
            if self._is_ours(link):
                await self._mtu(str(link["ifname"]), wanted.mtu)
        await self._mtu(str(have["ifname"]), wanted.mtu)

    async def _mtu(self, link: str, mtu: int) -> None:
        cannot = f"{link} cannot have an MTU of {mtu}"
        await self._ip(cannot, "link", "set", "dev", link, "mtu", str(mtu))

    async def _make_vlan_interface(self, wanted: WantedBridge) -> None:
        """And the VLAN among those that the other bridge lets through to it, where that minds VLANs
        at all."""
        name, cannot = vlan_interface(wanted.over, wanted.vlan), _cannot_lead(wanted)
        over = await self._link(wanted.over)
        if over is None:
            raise BridgeError(f"{cannot}: the bridge {wanted.over} is not on this host")
        have = await self._link(name)
        if have is None:
            vlan = ("type", "vlan", "id", str(wanted.vlan))
            await self._remove_unfinished()
            made = ("link", wanted.over, "name", self.unfinished)
            await self._ip(cannot, "link", "add", *made, *vlan)
            for change in (("alias", self.mark), ("name", name)):
                await self._ip(cannot, "link", "set", "dev", self.unfinished, *change)
        elif not self._is_ours(have):
            raise BridgeError(f"{cannot}: {name} is there already, and is not the agent's")
        if wanted.mtu:
            await self._mtu(name, wanted.mtu)
        if over.get("linkinfo", {}).get("info_data", {}).get("vlan_filtering"):
            let_through = ("vlan", "add", "dev", wanted.over, "vid", str(wanted.vlan), "self")
            await self._call(cannot, "bridge", *self._in, *let_through)

    async def _lead(self, wanted: WantedBridge) -> None:
        name = vlan_interface(wanted.over, wanted.vlan)
        joined = ("link", "set", "dev", name, "master", wanted.name, "up")
        await self._ip(_cannot_lead(wanted), *joined)

    # ---- calls -------------------------------------------------------------------------------

    async def _link(self, name: str) -> Link | None:
        """None: there is none of this name."""
        try:
            found = await self._links("dev", name)
        except DriverError as error:
            if "does not exist" in str(error):
                return None
            raise
        return found[0] if found else None

    async def _links(self, *which: str) -> list[Link]:
        arguments = ("ip", *self._in, "-details", "-json", "link", "show", *which)
        code, output, trouble = await _run(arguments)
        if code:
            raise DriverError(f"{' '.join(arguments)}: {trouble}")
        try:
            found = msgspec.json.decode(output or b"[]", type=list[Link])
        except msgspec.MsgspecError as error:
            raise DriverError(f"{' '.join(arguments)} said what is no list: {error}") from error
        # Older ones write an empty object for each link that was not asked for.
        return [link for link in found if link.get("ifname")]

    async def _ip(self, cannot: str, *arguments: str) -> None:
        await self._call(cannot, "ip", *self._in, *arguments)

    def _is_ours(self, link: Link) -> bool:
        return link.get("ifalias") == self.mark

    async def _call(self, cannot: str, *arguments: str) -> None:
        code, _, trouble = await _run(arguments)
        if code:
            raise BridgeError(f"{cannot}: {trouble}")


def _cannot_lead(wanted: WantedBridge) -> str:
    return f"{wanted.name} cannot lead to VLAN {wanted.vlan} of {wanted.over}"


async def _run(arguments: Sequence[str]) -> tuple[int, bytes, str]:
    """Its status, what it wrote, and its complaint in one line. Raises DriverError."""
    pipe = asyncio.subprocess.PIPE
    try:
        called = await asyncio.create_subprocess_exec(*arguments, stdout=pipe, stderr=pipe)
    except OSError as error:
        why = error.strerror
        raise DriverError(f"{arguments[0]} of iproute2 cannot be called: {why}") from error
    try:
        async with asyncio.timeout(CALL_SECONDS):
            output, complaint = await called.communicate()
    except TimeoutError as error:
        message = f"{' '.join(arguments)} did not end within {CALL_SECONDS:.0f} s"
        raise DriverError(message) from error
    finally:
        if called.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                called.kill()
            await called.wait()
    return called.returncode or 0, output, " ".join(complaint.decode("utf-8", "replace").split())
