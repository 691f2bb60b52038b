"""Templates of a real kernel, damaged, outdated or without room: the VM runs all the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.domain.disks import Disk
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.core.model import Batch
from fleet_agent.core.qemu.machine import Emulator
from fleet_agent.drivers.qemu.emulation import Emulation, Installed
from fleet_agent.drivers.qemu.folders import Life
from fleet_agent.drivers.qemu.hypervisor import QemuHypervisor
from fleetctl.sandbox.phases import Phases
from fleetctl.sandbox.real import guest
from tests.contracts.hypervisor.hypervisor_hosts import FLEET, batch, gather
from tests.real.real_sandbox import why_not_here

pytestmark = [
    pytest.mark.real_long,
    pytest.mark.skipif(bool(why_not_here()), reason=why_not_here() or "it runs here"),
]


class Host:
    """VMs of one real kernel, by the driver alone."""

    def __init__(self, folder: Path) -> None:
        self.guest = guest.cached(folder / "guest", Phases())
        self.folder = folder
        self.templates = Path("/dev/shm", f"megafleet-test-{folder.name}-{os.getpid()}")
        self.emulator = Installed(Flavour.TCG).find()
        self.driver = QemuHypervisor(
            folder / "clones", self.templates, emulation=Emulation(self.found)
        )

    def found(self) -> Emulator:
        return self.emulator

    def disk(self, vms: Batch, index: int) -> Disk:
        path = self.folder / f"disk-{index}"
        if not path.exists():
            shutil.copyfile(self.guest.golden, path)
        return Disk(str(path))

    def vms(self, *indices: int) -> Batch:
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
        return batch(IndexSet.of(indices), spec)

    async def run(self, *indices: int) -> list[Life]:
        """They run, and are ready; how each was begun."""
        vms = self.vms(*indices)
        for results in (
            self.driver.define(vms, self.disk),
            self.driver.start(vms),
            self.driver.await_ready(vms),
        ):
            assert await gather(results) == (vms.indices, ())
        found = [self.driver.vms.get(FLEET.domain_name(index)) for index in indices]
        return [vm.life for vm in found if vm is not None]

    async def close(self) -> None:
        await gather(self.driver.undefine(self.vms(*range(8))))
        await self.driver.close()
        shutil.rmtree(self.templates, ignore_errors=True)


@pytest.fixture
def folder() -> Iterator[Path]:
    """One into which QEMU may look, whoever it has become: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="megafleet-clones-", dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
async def host(folder: Path) -> AsyncIterator[Host]:
    made = Host(folder)
    yield made
    await made.close()


@pytest.fixture
def full(host: Host) -> Iterator[None]:
    """Templates have 32 MiB."""
    host.templates.mkdir()
    size = ("-t", "tmpfs", "-o", "size=32m", "none")
    subprocess.run(["mount", *size, str(host.templates)], check=True)
    yield
    subprocess.run(["umount", str(host.templates)], check=True)


async def test_what_is_damaged_or_of_another_qemu_is_made_anew_and_goes_unused(host: Host) -> None:
    (first,) = await host.run(0)
    assert first.way == "clone"
    folder = host.templates / first.template
    for file, content in (("state", b"damaged"), ("ram", b"cut"), ("template.json", b"{")):
        before = (folder / file).stat().st_ino
        (folder / file).write_bytes(content)
        await gather(host.driver.stop(host.vms(0)))
        assert await host.run(0) == [first], f"with another {file}"
        assert (folder / file).stat().st_ino != before

    # QEMU was upgraded: what runs goes on, what starts next is made of a template of the new one.
    host.emulator = replace(host.emulator, version="another build")
    (second,) = await host.run(1)
    assert second.way == "clone" and second.template != first.template
    assert len(list(host.templates.iterdir())) == 2
    await gather(host.driver.undefine(host.vms(0)))
    assert [one.name for one in host.templates.iterdir()] == [second.template]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a file system that is full")
@pytest.mark.usefixtures("full")
async def test_without_room_for_a_template_a_vm_boots_and_says_why(host: Host) -> None:
    (life,) = await host.run(0)
    assert life.way == "boot" and "MiB left, and a template takes 80 MiB" in life.why
