"""A VM's end of a bridge: QEMU makes the interface and takes it away with itself, here it is joined.
By ioctl, since a program for each would cost more than the clone. Blocking."""

from __future__ import annotations

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
# As core.qemu.qemu_guest.tap_name makes them.
_OURS = re.compile(r"mf[0-9a-f]{12}")


def join(nic: Nic) -> None:
    """Twice does no harm. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        bridge, tap = nic.bridge.encode(), nic.tap.encode()
        if nic.mtu:
            fcntl.ioctl(any_socket, _SET_MTU, struct.pack("16si20x", tap, nic.mtu))
        number = socket.if_nametoindex(nic.tap)
        if not _is_port(nic):
            fcntl.ioctl(any_socket, _ADD_TO_BRIDGE, struct.pack("16si20x", bridge, number))
        flags = struct.unpack(
            "16sh22x", fcntl.ioctl(any_socket, _GET_FLAGS, struct.pack("16sh22x", tap, 0))
        )[1]
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh22x", tap, flags | _UP))


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
