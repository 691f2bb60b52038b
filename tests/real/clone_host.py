"""VMs of one real kernel, by the driver of QEMU's processes alone: no agent, no libvirt."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet.identity import Fleet
from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.domain.disks import Disk
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.core.model import Batch
from fleet_agent.core.qemu.machine import Emulator
from fleet_agent.drivers.qemu.emulation import Emulation, Installed
from fleet_agent.drivers.qemu.folders import Life
from fleet_agent.drivers.qemu.hypervisor import QemuHypervisor
from fleet_agent.drivers.qemu.processes import opened, running
from fleetctl.sandbox.phases import Phases
from fleetctl.sandbox.real import guest
from tests.contracts.hypervisor.hypervisor_hosts import FLEET, batch, gather

END_SECONDS = 20.0


class CloneHost:
    """`folder`: of this host; another of the same folder finds what the first has left."""

    def __init__(self, folder: Path) -> None:
        self.guest = guest.cached(folder / "guest", Phases())
        self.folder = folder
        self.templates = Path("/dev/shm", f"megafleet-test-{folder.name}")
        self.emulator = Installed(Flavour.TCG).find()
        self.driver = QemuHypervisor(
            folder / "clones", self.templates, emulation=Emulation(self.found)
        )

    def found(self) -> Emulator:
        return self.emulator

    def disk(self, vms: Batch, index: int) -> Disk:
        path = self.folder / f"disk-{vms.fleet.domain_name(index)}"
        if not path.exists():
            shutil.copyfile(self.guest.golden, path)
        return Disk(str(path))

    def vms(self, *indices: int, fleet: Fleet = FLEET) -> Batch:
        spec = types.FleetSpec(
            memory_bytes=80 << 20,
            vcpus=1,
            boot=types.Boot(
                kernel=str(self.guest.kernel),
                initrd=str(self.guest.initrd),
                cmdline="console=ttyS0 quiet no_timer_check name={name}",
            ),
            disk=types.Disk(target="vda"),
            readiness=types.Readiness(console_pattern="megafleet: ready", timeout_seconds=300),
            start=types.START_CLONE,
        )
        return batch(IndexSet.of(indices), spec, fleet=fleet)

    async def run(self, *indices: int, fleet: Fleet = FLEET) -> list[Life]:
        """They run, and are ready; how each was begun."""
        vms = self.vms(*indices, fleet=fleet)
        for results in (
            self.driver.define(vms, self.disk),
            self.driver.start(vms),
            self.driver.await_ready(vms),
        ):
            assert await gather(results) == (vms.indices, ())
        found = [self.driver.vms.get(fleet.domain_name(index)) for index in indices]
        return [vm.life for vm in found if vm is not None]

    def console(self, index: int) -> str:
        """What it has said in its present life."""
        log = self.folder / "clones" / FLEET.domain_name(index) / "console.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def pids(self) -> list[int]:
        """Of QEMUs that run VMs, or make templates."""
        return [*running(self.folder / "clones").values(), *running(self.templates).values()]

    async def close(self) -> None:
        """Nothing is left, whatever has become of it."""
        await self.driver.close()
        for pid in self.pids():
            if (process := opened(pid)) is not None:
                process.kill()
                process.ends_within(END_SECONDS)
                process.close()
        shutil.rmtree(self.templates, ignore_errors=True)


@contextmanager
def host_folder() -> Iterator[Path]:
    """One into which QEMU may look, whoever it has become: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix=f"clones-{os.getpid()}-", dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)
