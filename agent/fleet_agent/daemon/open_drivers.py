"""The drivers that the settings name, opened."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet.template.bridges import maker_of
from fleet.template.clones import templates_folder
from fleet_agent.daemon.settings import Settings
from fleet_agent.daemon.storage_choice import StorageChoice, on_qemu
from fleet_agent.drivers.ports.bridges import Bridges
from fleet_agent.drivers.ports.consoles import Consoles
from fleet_agent.drivers.ports.errors import DriverError, told_defect
from fleet_agent.drivers.ports.guest_commands import GuestAgents
from fleet_agent.drivers.ports.guest_files import GuestFiles
from fleet_agent.drivers.ports.hypervisor import Hypervisor, Sampler
from fleet_agent.drivers.ports.image_content import ImageContents
from fleet_agent.drivers.ports.images import Images
from fleet_agent.drivers.ports.storage import Storage
from fleet_agent.reconcile.bridge_keeper import Interfaces

if TYPE_CHECKING:
    from fleet_agent.drivers.libvirt.accelerator import Accelerator


# The folder of what is being fetched: beside the images, so that it can become one of them.
FETCHED = "fetched"
KERNELS = "/var/lib/megafleet/kernels"


@dataclass(frozen=True, slots=True)
class Drivers:
    storage: Storage
    hypervisor: Hypervisor
    images: Images
    contents: ImageContents
    consoles: Consoles
    sampler: Sampler
    bridges: Bridges
    # Of the VMs of ours that run.
    interfaces: Interfaces
    guest_agents: GuestAgents | None = None
    guest_files: GuestFiles | None = None
    # What runs beside the agent for the drivers' own sake, until it is cancelled.
    beside: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = ()
    # What placement may select the host by, unless its settings say otherwise.
    labels: Mapping[str, str] = field(default_factory=dict)
    # Which storage was taken; None: of a host that has no choice.
    choice: StorageChoice | None = None
    # How many copies of templates fit by memory, of so many bytes for guests; None: none are made.
    clones: Callable[[int], Awaitable[int]] | None = None
    # What one of them takes of memory, as measured; 0: none was.
    clone_bytes: Callable[[], int] = lambda: 0

    @property
    def zvols(self) -> bool:
        """Whether clones are ZFS volumes."""
        return self.choice is not None and self.choice.is_zfs

    async def close(self) -> None:
        """All of them, whatever one of them raises."""
        for one in (
            self.contents,
            self.images,
            self.consoles,
            self.guest_agents,
            self.sampler,
            self.hypervisor,
            self.storage,
        ):
            if one is None:
                continue
            try:
                await one.close()
            except Exception as error:
                told_defect("close", error)


def open_drivers(asked: Settings, choice: StorageChoice) -> Drivers:
    """Imported late: a host needs only the libraries of the drivers it uses."""
    from fleet_agent.drivers.iproute.bridges import IpBridges
    from fleet_agent.drivers.libvirt.console.libvirt_consoles import LibvirtConsoles
    from fleet_agent.drivers.libvirt.console.sweep import ConsoleSweep
    from fleet_agent.drivers.libvirt.guests.guest_agents import LibvirtGuestAgents
    from fleet_agent.drivers.libvirt.guests.guest_files import LibvirtGuestFiles
    from fleet_agent.drivers.libvirt.hypervisor import LibvirtHypervisor, console_log_of
    from fleet_agent.drivers.libvirt.sampler import LibvirtSampler
    from fleet_agent.drivers.seeds.folder import SeedFolder
    from fleet_agent.drivers.seeds.seeded_hypervisor import SeededHypervisor

    accelerator = accelerator_of(asked)
    maker = maker_of(Path(asked.ledger))
    seeds = SeedFolder(seed_folder(asked, choice))
    hypervisor = LibvirtHypervisor(
        asked.hypervisor.uri,
        flavour=accelerator.flavour if accelerator else None,
        remark=remark_of(accelerator),
        max_guests=asked.guests,
        start_threads=asked.hypervisor.start_threads,
        console_log=asked.hypervisor.console_log or console_log_of(asked.hypervisor.uri),
        seed_path=seeds.path,
    )
    # Domains are listed while clones are: each takes seconds on a dense dom0.
    storage, images, contents = open_storage(asked, choice, hypervisor.begin_listing)
    link, paths, ours = hypervisor.link, hypervisor.host_paths, hypervisor.ours
    sweep = ConsoleSweep(link, paths, ours, asked.hypervisor.console_log_bytes)
    agents = LibvirtGuestAgents(link)
    opened = Drivers(
        storage,
        SeededHypervisor(hypervisor, seeds),
        images,
        contents,
        LibvirtConsoles(link, paths),
        LibvirtSampler(link, ours),
        IpBridges(maker),
        hypervisor.interfaces,
        agents,
        LibvirtGuestFiles(agents),
        (sweep.run,),
        {"accel": accelerator.name} if accelerator else {},
        choice,
    )
    return with_clones(asked, opened, accelerator) if accelerator else opened


def with_clones(asked: Settings, boots: Drivers, accelerator: Accelerator) -> Drivers:
    """Of a host of QEMU: VMs that are copies of a template are processes of the agent's own."""
    from fleet_agent.drivers.by_start.consoles import BothConsoles, BothSamplers
    from fleet_agent.drivers.by_start.hypervisor import HypervisorByStart, both_interfaces
    from fleet_agent.drivers.qemu.consoles import QemuConsoles
    from fleet_agent.drivers.qemu.hypervisor import QemuHypervisor
    from fleet_agent.drivers.qemu.sampler import QemuSampler
    from fleet_agent.drivers.qemu.sweep import QemuSweep

    ledger = Path(asked.ledger)
    clones = QemuHypervisor(
        ledger.with_name("clones"),
        Path(templates_folder(ledger)),
        flavour=accelerator.flavour,
        max_guests=asked.guests,
    )
    sweep = QemuSweep(clones, asked.hypervisor.console_log_bytes)
    return replace(
        boots,
        hypervisor=HypervisorByStart(boots.hypervisor, clones),
        consoles=BothConsoles(boots.consoles, QemuConsoles(clones)),
        sampler=BothSamplers(boots.sampler, QemuSampler(clones)),
        interfaces=both_interfaces(boots.interfaces, clones.interfaces),
        beside=(*boots.beside, sweep.run),
        clones=clones.most,
        clone_bytes=clones.measured,
    )


def seed_folder(asked: Settings, choice: StorageChoice) -> Path:
    """Beside the clones where these are files, else beside the ledger."""
    return Path(asked.ledger).with_name("seeds") if choice.is_zfs else Path(choice.parent) / "seeds"


def accelerator_of(asked: Settings) -> Accelerator | None:
    """What runs guests of QEMU; None for another hypervisor. Tried, the first time in a boot."""
    from fleet_agent.daemon.host_identity import boot_id
    from fleet_agent.drivers.libvirt.accelerator import accelerator

    if not asked.hypervisor.uri.startswith("qemu"):
        return None
    memory = Path(asked.ledger).with_name("accelerator.json")
    kernel = Path(asked.hypervisor.trial_kernel) if asked.hypervisor.trial_kernel else None
    asks = asked.hypervisor
    return accelerator(asks.accelerator, asks.uri, boot_id(), memory, kernel)


def remark_of(accelerator: Accelerator | None) -> str:
    """What people are told of it, beside the hypervisor's name."""
    if accelerator is None or not accelerator.why:
        return ""
    return f", emulated: {accelerator.why}"


def open_storage(
    asked: Settings, choice: StorageChoice, on_listing: Callable[[], None]
) -> tuple[Storage, Images, ImageContents]:
    """Raises DriverError."""
    from fleet_agent.drivers.images.contents import StagedContents

    kernels = Path(kernel_folder(asked))
    parent, threads = choice.parent, asked.storage.threads
    if choice.is_zfs:
        from fleet_agent.drivers.zfs.images import ZfsImages
        from fleet_agent.drivers.zfs.storage import ZfsStorage
        from fleet_agent.drivers.zfs.udev_queue import UdevQueue

        udev = UdevQueue() if asked.storage.hold_udev else None
        storage = ZfsStorage(parent, threads=threads, udev=udev, on_listing=on_listing)
        volumes = ZfsImages(parent)
        fetched = Path(asked.ledger).with_name(FETCHED)
        disks, versions = volumes.opened, volumes.opened_volume
        return storage, volumes, StagedContents(volumes, fetched, kernels, disks, versions)
    from fleet_agent.drivers.files.images import FileImages
    from fleet_agent.drivers.files.storage import FileStorage
    from fleet_agent.drivers.files.ways import FOR_ALL, FOR_QEMU, OVERLAYS

    if choice.own:
        make_folder(Path(parent))
    ways = {"overlay": OVERLAYS, "files": FOR_QEMU if on_qemu(asked) else FOR_ALL}
    files = FileStorage(parent, ways=ways.get(choice.kind, FOR_ALL), threads=threads)
    images = FileImages(parent)
    contents = StagedContents(images, Path(parent) / FETCHED, kernels, images.opened)
    return files, images, contents


def kernel_folder(asked: Settings) -> str:
    """Where kernels and initrds of images are put: the last folder that is told to placement."""
    return asked.kernel_folders[-1] if asked.kernel_folders else KERNELS


def make_folder(folder: Path) -> None:
    """Raises DriverError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DriverError(f"cannot make {folder} for images: {error.strerror}") from error
