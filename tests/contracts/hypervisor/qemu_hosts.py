"""A host to hold the driver of QEMU's processes against: real ones, of an empty machine.

They are spoken to over QMP, stopped, killed and adopted as any; what they lack is a guest.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fleet.ranges import IndexSet
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.core.qemu.machine import Emulator, Guest, Memory, Sockets, Way
from fleet_agent.drivers.qemu.emulation import PROGRAM, Emulation, Installed
from fleet_agent.drivers.qemu.hypervisor import QemuHypervisor
from fleet_agent.drivers.qemu.monitor import Monitor
from fleet_agent.drivers.qemu.processes import connected, opened, running
from tests.contracts.hypervisor.hypervisor_hosts import (
    FLEET,
    OTHER,
    batch,
    disk_of,
    gather,
)

MISSING = "" if shutil.which(PROGRAM) else f"{PROGRAM} is not installed"
END_SECONDS = 20.0


def bare(
    emulator: Emulator, guest: Guest, way: Way, sockets: Sockets, memory: Memory
) -> Sequence[str]:
    """QEMU with all that the driver speaks to, and no machine behind it."""
    command = [emulator.program, "-M", "none", "-nodefaults", "-display", "none"]
    command += ["-name", f"guest={guest.name}", "-uuid", guest.uuid]
    for name in ("monitor", "people", "console", "identity"):
        descriptor = getattr(sockets, name)
        log = ",logfile=console.log" if name == "console" else ""
        command += ["-chardev", f"socket,id={name},fd={descriptor},server=on,wait=off{log}"]
    for name in ("monitor", "people"):
        command += ["-mon", f"chardev={name},mode=control"]
    return command


BARE = Emulation(
    Installed(Flavour.TCG).find,
    bare,
    missing=lambda guest: None,
    give_disk=lambda guest, emulator: None,
    join=lambda nic: None,
)


class QemuHost:
    def __init__(self, folder: Path) -> None:
        self.root = folder / "clones"
        self.templates = folder / "templates"
        self.drivers: list[QemuHypervisor] = []

    def driver(self) -> QemuHypervisor:
        """Those before it have lost what they were connected to, as an agent that ended has."""
        for before in self.drivers:
            for vm in before.vms:
                if vm.monitor is not None:
                    drop(vm.monitor)
        made = QemuHypervisor(
            self.root, self.templates, boot_id="boot-1", emulation=BARE, shortage=lambda size: ""
        )
        self.drivers.append(made)
        return made

    async def take_name(self, name: str) -> None:
        index = int(name.rpartition("-")[2])
        foreign = batch(IndexSet.of([index]), fleet=replace(OTHER, name=FLEET.name))
        driver = self.drivers[-1]
        await gather(driver.define(foreign, disk_of))
        await gather(driver.start(foreign))

    async def has_taken(self, name: str) -> bool:
        return self.pid(int(name.rpartition("-")[2])) is not None

    def lose(self, index: int) -> None:
        process = opened(self.pid(index) or 0)
        assert process is not None
        process.kill()
        assert process.ends_within(END_SECONDS)
        os.close(process.descriptor)

    def suspend(self, index: int) -> None:
        self.said(index, "stop")

    def resume(self, index: int) -> None:
        self.said(index, "cont")

    def pid(self, index: int) -> int | None:
        folder = Path(os.path.realpath(self.root)) / FLEET.domain_name(index)
        return running(self.root).get(folder)

    def said(self, index: int, command: str) -> None:
        """By somebody on the host, on the monitor that is for people."""
        with connected(self.root / FLEET.domain_name(index), "people") as monitor:
            monitor.setblocking(True)
            monitor.settimeout(END_SECONDS)
            answers = monitor.makefile("r")
            answers.readline()
            for one in ("qmp_capabilities", command):
                monitor.sendall(json.dumps({"execute": one}).encode())
                while "return" not in json.loads(answers.readline()):
                    pass  # an event comes between

    def end_all(self) -> None:
        """What a test has left: a driver that is closed leaves its VMs running."""
        for pid in running(self.root.parent).values():
            if (process := opened(pid)) is not None:
                process.kill()
                process.ends_within(END_SECONDS)
                process.close()


def drop(monitor: Monitor) -> None:
    """Its connection ends, as that of a program that was killed."""
    writer = monitor._client._writer
    if writer is not None:
        writer.transport.abort()


def hold(index: int, host: QemuHost) -> None:
    """QEMU answers nothing any more, and lives."""
    os.kill(host.pid(index) or 0, signal.SIGSTOP)
