"""What a domain needs of its host to start: folders and logs of consoles, files, bridges."""

from __future__ import annotations

import os
import socket

from fleet.template.bridges import joined_bridge, networks_of
from fleet.v1.types_pb2 import LOADER_PVGRUB
from fleet_agent.core.domain.boot_elements import PVGRUB
from fleet_agent.core.model import Batch
from fleet_agent.drivers.consoles.tail import set_aside
from fleet_agent.drivers.lanes import ActFailed
from fleet_agent.drivers.libvirt.domains.found import HostPaths


def make_console_folder(host: HostPaths, name: str) -> None:
    """libvirt makes none; a user's own session has none to begin with."""
    folder = host.console(name).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ActFailed(
            "hypervisor_error",
            f"cannot make {folder}, where {name}'s console is to be logged: {error.strerror}",
        ) from error


def set_console_aside(host: HostPaths, name: str) -> None:
    log = host.console(name)
    try:
        set_aside(log)
    except OSError as error:
        raise ActFailed(
            "hypervisor_error", f"cannot set aside {log}, {name}'s old console log: {error}"
        ) from error


def missing_file(batch: Batch) -> str:
    """What the spec asks for and this host has not, in words."""
    boot = batch.spec.boot
    loader = PVGRUB if boot.loader == LOADER_PVGRUB else ""
    files = (("kernel", boot.kernel), ("initrd", boot.initrd), ("boot.loader", loader))
    for what, path in files:
        if path and not os.path.exists(path):
            return f"the {what} {path} is not on this host"
    return ""


def missing_bridge(batch: Batch) -> str:
    """As for files."""
    for bridge in map(joined_bridge, networks_of(batch.spec)):
        try:
            socket.if_nametoindex(bridge)
        except OSError:
            return f"the bridge {bridge} is not on this host"
    return ""
