"""The three ways to start, on a real QEMU through libvirt: what guests say once they have booted.

Skipped where the system's libvirt or Debian's packages are not there, or this is not root, who may
make the bridge. Guests are emulated: KVM would not tell more.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet.identity import Fleet
from fleet.keys import Epoch, Kin, Term
from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.domain.disks import Disk
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.core.model import Batch, Mark
from fleet_agent.drivers.libvirt import binding as libvirt_binding
from fleet_agent.drivers.libvirt.hypervisor import LibvirtHypervisor
from fleet_agent.drivers.ports.errors import DriverError
from tests.contracts.hypervisor.bootable_disk import (
    elf_kernel,
    missing,
    newest_kernel,
    write_bootable_disk,
)
from tests.contracts.hypervisor.hypervisor_hosts import gather

URI = "qemu:///system"
MIB = 2**20
# Of this process alone: others may run the same tests.
NAME = f"mfboot{os.getpid()}"
UID = str(uuid.uuid5(uuid.NAMESPACE_DNS, NAME))
VARIABLES = Path("/var/lib/libvirt/qemu/nvram")
CD = b"a CD of the host    "


def _lacks() -> str:
    if os.geteuid():
        return "only root may make a bridge"
    if lacking := missing():
        return f"this machine lacks {lacking}"
    try:
        binding = libvirt_binding.load()
    except DriverError as error:
        return str(error)
    try:
        binding.open(URI).close()
    except binding.libvirtError:
        return f"no libvirt answers at {URI}"
    return ""


_LACKING = _lacks()
pytestmark = pytest.mark.skipif(bool(_LACKING), reason=_LACKING)


@dataclass(frozen=True)
class Guests:
    folder: Path
    fleet: Fleet

    def batch(self, spec: types.FleetSpec, index: int = 0) -> Batch:
        mark = Mark(Term(1, 10), Epoch(1, 20))
        return Batch(self.fleet, Kin(self.fleet.uid, 1, 1), spec, mark, IndexSet.of([index]))

    def disk_of(self, batch: Batch, index: int) -> Disk:
        """A copy of the one disk for each guest."""
        path = self.folder / f"{batch.fleet.domain_name(index)}.raw"
        shutil.copyfile(self.folder / "disk.raw", path)
        return Disk(str(path))

    def said(self, index: int = 0) -> str:
        log = self.folder / f"{self.fleet.domain_name(index)}.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def variables(self, index: int = 0) -> Path:
        return VARIABLES / f"{self.fleet.domain_name(index)}_VARS.fd"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where libvirt's own user may look."""
    with tempfile.TemporaryDirectory(prefix="mfboot-", dir="/var/tmp") as name:
        made = Path(name)
        made.chmod(0o755)
        write_bootable_disk(made / "disk.raw")
        (made / "cd.iso").write_bytes(CD + bytes(MIB))
        yield made


@pytest.fixture(scope="module")
def bridge() -> Iterator[str]:
    subprocess.run(["ip", "link", "add", NAME, "type", "bridge"], check=True, timeout=10)
    yield NAME
    subprocess.run(["ip", "link", "del", NAME], check=True, timeout=10)


@pytest.fixture
async def driver(folder: Path) -> AsyncIterator[LibvirtHypervisor]:
    opened = LibvirtHypervisor(
        URI, flavour=Flavour.TCG, console_log=str(folder / "{name}.log"), boot_id="boot-1"
    )
    yield opened
    await opened.close()


@pytest.fixture
async def guests(folder: Path, driver: LibvirtHypervisor) -> AsyncIterator[Guests]:
    fleet = Fleet(UID, NAME, 7, site=1)
    made = Guests(folder, fleet)
    yield made
    for run in await driver.listing():
        if run.kin.fleet_uid == fleet.uid:
            whole = Batch(fleet, run.kin, types.FleetSpec(), Mark(Term(1, 10), Epoch(1, 20)),
                          run.indices)  # fmt: skip
            await gather(driver.undefine(whole))


def spec(boot: types.Boot, memory: int) -> types.FleetSpec:
    return types.FleetSpec(
        image=types.Image(name="golden", snapshot="1"),
        memory_bytes=memory * MIB,
        vcpus=1,
        boot=boot,
        disk=types.Disk(target="xvda"),
        readiness=types.Readiness(console_pattern="guest: ready", timeout_seconds=120),
    )


async def booted(driver: LibvirtHypervisor, guests: Guests, batch: Batch) -> str:
    """What the guest of the batch said on its console until it was ready."""
    for results in (
        driver.define(batch, guests.disk_of),
        driver.start(batch),
        driver.await_ready(batch),
    ):
        done, failures = await gather(results)
        assert not failures, failures[0].message
        assert done == batch.indices
    return guests.said(batch.indices.first)


async def until_said(guests: Guests, words: str) -> None:
    async with asyncio.timeout(60):
        while True:
            if words in guests.said():
                return
            await asyncio.sleep(0.1)  # paces looks at a file that QEMU writes


async def test_a_bios_starts_the_disk_with_a_cd_and_a_mac_address_of_the_fleets_base(
    driver: LibvirtHypervisor, guests: Guests, bridge: str
) -> None:
    wanted = spec(types.Boot(firmware=types.FIRMWARE_BIOS), 128)
    wanted.network.bridge, wanted.network.mac_base = bridge, "00:16:3E:00:00:fe"
    wanted.more_disks.add(
        target="hdc", path=str(guests.folder / "cd.iso"), read_only=True, cdrom=True
    )
    said = await booted(driver, guests, guests.batch(wanted, 2))
    assert "firmware=bios grub=pc" in said
    assert "disks=sr0 vda" in said
    assert f"cd={CD.decode()}" in said
    assert "mac=00:16:3e:00:01:00" in said


async def test_uefi_starts_the_same_disk_and_its_variables_go_with_the_vm(
    driver: LibvirtHypervisor, guests: Guests
) -> None:
    batch = guests.batch(spec(types.Boot(firmware=types.FIRMWARE_UEFI), 256))
    assert "firmware=uefi grub=efi" in await booted(driver, guests, batch)
    assert guests.variables().exists()
    assert await gather(driver.undefine(batch)) == (batch.indices, ())
    assert not guests.variables().exists()


async def test_an_elf_program_with_a_note_of_pvh_is_a_kernel(
    driver: LibvirtHypervisor, guests: Guests
) -> None:
    program = elf_kernel(newest_kernel())
    if program is None:
        pytest.skip("the newest kernel in /boot is not packed by LZ4, or lz4 is not installed")
    kernel = guests.folder / "vmlinux"
    kernel.write_bytes(program)
    boot = types.Boot(
        kernel=str(kernel),
        initrd=str(guests.folder / "initrd.img"),
        cmdline="console=ttyS0 quiet started=pvh",
    )
    assert "grub=pvh" in await booted(driver, guests, guests.batch(spec(boot, 160)))


async def test_what_qemu_cannot_carry_is_refused_by_its_field_and_leaves_nothing(
    driver: LibvirtHypervisor, guests: Guests
) -> None:
    partition = spec(types.Boot(kernel="/boot/vmlinuz"), 128)
    partition.disk.target = "xvda2"
    for wanted, field in (
        (partition, "disk.target: xvda2 is a partition"),
        (spec(types.Boot(loader=types.LOADER_PVGRUB), 128), "boot.loader: pvgrub is Xen's"),
    ):
        done, (failure,) = await gather(driver.define(guests.batch(wanted), guests.disk_of))
        assert (done, failure.kind, failure.retry) == (EMPTY, "bad_spec", False)
        assert failure.message.startswith(field)
    assert all(run.kin.fleet_uid != guests.fleet.uid for run in await driver.listing())


async def test_a_disk_that_does_not_boot_says_so_in_the_reason(
    driver: LibvirtHypervisor, guests: Guests
) -> None:
    wanted = spec(types.Boot(firmware=types.FIRMWARE_BIOS), 64)
    wanted.readiness.timeout_seconds = 0.2
    empty = guests.folder / "empty.raw"
    empty.write_bytes(bytes(MIB))
    batch = guests.batch(wanted)
    for results in (driver.define(batch, lambda *_: Disk(str(empty))), driver.start(batch)):
        assert await gather(results) == (batch.indices, ())
    await until_said(guests, "bootable")
    done, (failure,) = await gather(driver.await_ready(batch))
    assert (done, failure.kind) == (EMPTY, "not_ready")
    assert "not a bootable disk" in failure.message


async def test_a_definition_by_uefi_is_made_once(driver: LibvirtHypervisor, guests: Guests) -> None:
    """What libvirt fills in of UEFI is no difference from what was asked for."""
    batch = guests.batch(spec(types.Boot(firmware=types.FIRMWARE_UEFI), 256))
    for _ in range(2):
        done, failures = await gather(driver.define(batch, guests.disk_of))
        assert (done, failures) == (batch.indices, ())
