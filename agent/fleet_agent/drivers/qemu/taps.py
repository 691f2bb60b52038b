"""A VM's end of a bridge: QEMU makes the interface and takes it away; here it joins the bridge.
By ioctl, since a program for each would cost more than the clone. Blocking."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import struct
from pathlib import Path

from fleet_agent.core.qemu.machine import Nic

# linux/sockios.h, linux/if.h
_ADD_TO_BRIDGE, _GET_FLAGS, _SET_FLAGS, _SET_MTU = 0x89A2, 0x8913, 0x8914, 0x8922
_UP = 1
# As core.qemu.qemu_guest.tap_of makes them.
_OURS = re.compile(r"mf[0-9a-f]{12}")


def join(nic: Nic) -> None:
    """Twice does no harm. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        bridge, tap = nic.bridge.encode(), nic.tap.encode()
        if nic.mtu:
            fcntl.ioctl(any_socket, _SET_MTU, struct.pack("16si20x", tap, nic.mtu))
        _give_no_address(nic.tap)
        number = socket.if_nametoindex(nic.tap)
        if not _is_port(nic):
            fcntl.ioctl(any_socket, _ADD_TO_BRIDGE, struct.pack("16si20x", bridge, number))
        flags = struct.unpack(
            "16sh22x", fcntl.ioctl(any_socket, _GET_FLAGS, struct.pack("16sh22x", tap, 0))
        )[1]
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh22x", tap, flags | _UP))


def _give_no_address(tap: str) -> None:
    """The host takes no part in the VM's network; and what each end would announce of itself there
    wakes every VM of the bridge. A kernel without IPv6 has no such file."""
    with contextlib.suppress(FileNotFoundError):
        Path(f"/proc/sys/net/ipv6/conf/{tap}/disable_ipv6").write_text("1")


def joined(interfaces: Path = Path("/sys/class/net")) -> list[tuple[str, str]]:
    """Taps of clones, each with its bridge; empty where it has none."""
    found = []
    for name in os.listdir(interfaces):
        if _OURS.fullmatch(name):
            try:
                bridge = os.path.basename(os.readlink(interfaces / name / "master"))
            except OSError:
                bridge = ""
            found.append((name, bridge))
    return found


def _is_port(nic: Nic) -> bool:
    try:
        with open(f"/sys/class/net/{nic.tap}/master/ifindex") as file:
            return int(file.read()) == socket.if_nametoindex(nic.bridge)
    except OSError:
        return False
