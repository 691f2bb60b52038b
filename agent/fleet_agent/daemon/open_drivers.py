"""The drivers that the settings name, opened."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from fleet_agent.daemon.settings import Settings
from fleet_agent.drivers.ports.consoles import Consoles
from fleet_agent.drivers.ports.errors import told_defect
from fleet_agent.drivers.ports.hypervisor import Hypervisor, Sampler
from fleet_agent.drivers.ports.images import Images
from fleet_agent.drivers.ports.storage import Storage


@dataclass(frozen=True, slots=True)
class Drivers:
    storage: Storage
    hypervisor: Hypervisor
    images: Images
    consoles: Consoles
    sampler: Sampler
    # What runs beside the agent for the drivers' own sake, until it is cancelled.
    beside: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = ()

    async def close(self) -> None:
        """All of them, whatever one of them raises."""
        for one in (self.images, self.consoles, self.sampler, self.hypervisor, self.storage):
            try:
                await one.close()
            except Exception as error:
                told_defect("close", error)


def open_drivers(asked: Settings) -> Drivers:
    """Imported late: a host needs only the libraries of the drivers it uses."""
    from fleet_agent.drivers.libvirt.console_sweep import ConsoleSweep
    from fleet_agent.drivers.libvirt.consoles import LibvirtConsoles
    from fleet_agent.drivers.libvirt.hypervisor import XEN_CONSOLE_LOG, LibvirtHypervisor
    from fleet_agent.drivers.libvirt.sampler import LibvirtSampler

    hypervisor = LibvirtHypervisor(
        asked.hypervisor.uri,
        max_guests=asked.guests,
        start_threads=asked.hypervisor.start_threads,
        console_log=asked.hypervisor.console_log or XEN_CONSOLE_LOG,
    )
    # Domains are listed while clones are: each takes seconds on a dense dom0.
    storage, images = open_storage(asked, hypervisor.begin_listing)
    link, paths, ours = hypervisor.link, hypervisor.host_paths, hypervisor.ours
    sweep = ConsoleSweep(link, paths, ours, asked.hypervisor.console_log_bytes)
    return Drivers(
        storage,
        hypervisor,
        images,
        LibvirtConsoles(link, paths),
        LibvirtSampler(link, ours),
        (sweep.run,),
    )


def open_storage(asked: Settings, on_listing: Callable[[], None]) -> tuple[Storage, Images]:
    parent, threads = asked.storage.parent, asked.storage.threads
    if asked.storage.kind == "zfs":
        from fleet_agent.drivers.zfs.images import ZfsImages
        from fleet_agent.drivers.zfs.storage import ZfsStorage
        from fleet_agent.drivers.zfs.udev_queue import UdevQueue

        udev = UdevQueue() if asked.storage.hold_udev else None
        storage = ZfsStorage(parent, threads=threads, udev=udev, on_listing=on_listing)
        return storage, ZfsImages(parent)
    from fleet_agent.drivers.reflink.images import ReflinkImages
    from fleet_agent.drivers.reflink.storage import ReflinkStorage

    return ReflinkStorage(parent, threads=threads), ReflinkImages(parent)
