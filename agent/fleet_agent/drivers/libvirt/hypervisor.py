"""Domains through libvirt: Xen's libxl driver, QEMU/KVM, and its own test driver.

One connection; blocking calls run in the driver's threads. Starts have few threads of their own,
since libxl does most of a start under one lock and libvirtd serves at most five calls of one
client at once; looking has its own, so that it never waits behind a batch.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path

from fleet.ranges import EMPTY
from fleet_agent.core.domain.disks import Disk
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.core.model import Batch, DomainRun, StepResult
from fleet_agent.drivers.lanes import Act, Lanes
from fleet_agent.drivers.libvirt.connection import Connect, LibvirtConnection
from fleet_agent.drivers.libvirt.domains.definitions import SeedPath
from fleet_agent.drivers.libvirt.domains.domains import Domains
from fleet_agent.drivers.libvirt.domains.found import HostPaths
from fleet_agent.drivers.libvirt.listing import bridge_interfaces, domain_runs, host_facts
from fleet_agent.drivers.libvirt.marks import OurDomains
from fleet_agent.drivers.libvirt.programs_memory import held_by_programs
from fleet_agent.drivers.libvirt.readiness import ReadinessDeadlines, ReadyWatch
from fleet_agent.drivers.ports.bridges import Interface
from fleet_agent.drivers.ports.hypervisor import HypervisorFacts

XEN_CONSOLE_LOG = "/var/log/xen/console/guest-{name}.log"  # xenconsoled --log=guest
XEN_DRIVER_LOG = "/var/log/libvirt/libxl/libxl-driver.log"
# Beside libvirt's own log of each guest, which is <name>.log: virtlogd may write there.
QEMU_CONSOLE_LOG = "/var/log/libvirt/qemu/{name}.console.log"

# Seconds between two looks at the consoles awaited by one batch.
CONSOLE_PACE = 0.25

# Seconds after which changes are looked for again in a libvirtd that has begun anew: it takes up
# what ran only by and by, and no event tells now and then what it finds ended (libvirt 9.0).
LOOKS_AT_A_NEW_DAEMON = (2.0, 10.0, 30.0)
# Looking: listing, facts, and the looks at consoles.
LOOKING_THREADS = 2


def no_seeds(batch: Batch, index: int) -> str:
    """Of a host that keeps none. Raises ValueError."""
    raise ValueError(f"{batch.fleet.domain_name(index)} has an identity; this host keeps no seeds")


class LibvirtHypervisor:
    """The Hypervisor port over one libvirt URI."""

    def __init__(
        self,
        uri: str,
        *,
        flavour: Flavour | None = None,
        remark: str = "",
        console_log: str = XEN_CONSOLE_LOG,
        driver_log: str = XEN_DRIVER_LOG,
        max_guests: int = 250,
        start_threads: int = 4,
        call_threads: int = 4,
        connect: Connect | None = None,
        boot_id: str | None = None,
        seed_path: SeedPath = no_seeds,
    ) -> None:
        """`flavour` follows from the URI when not given; `remark`: what people are told of it
        beside the hypervisor's name; `connect` opens a connection in place
        of libvirt.open; `boot_id` is the kernel's when not given; `seed_path`: where the seed of
        a VM lies. Connects when first used."""
        self._stirs: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._closed = False
        self._max_guests = max_guests
        self._remark = remark
        self._boot_id = boot_id or _kernel_boot_id()
        self._link = LibvirtConnection(uri, connect, self._stir, self._stir_repeatedly)
        self.ours = OurDomains(self._link)
        self.host_paths = HostPaths(console_log, Path(driver_log), self._boot_id)
        self._flavour = flavour or flavour_of(uri)
        self._domains = Domains(self._link, self._flavour, self.host_paths, seed_path)
        self._patience = ReadinessDeadlines()
        self._lanes = Lanes()
        self._starting = ThreadPoolExecutor(start_threads, "libvirt-start")
        self._calling = ThreadPoolExecutor(call_threads, "libvirt-call")
        self._looking = ThreadPoolExecutor(LOOKING_THREADS, "libvirt-look")
        self._begun: asyncio.Future[tuple[DomainRun, ...]] | None = None

    @property
    def link(self) -> LibvirtConnection:
        """The one connection, for whatever else speaks with this libvirt."""
        return self._link

    async def facts(self) -> HypervisorFacts:
        loop = asyncio.get_running_loop()
        programs = held_by_programs if self._flavour.is_qemu else int
        look = partial(host_facts, self._link, self._max_guests, self.ours, programs)
        facts = await loop.run_in_executor(self._looking, look)
        return replace(facts, description=facts.description + self._remark)

    async def interfaces(self) -> tuple[Interface, ...]:
        """The host's ends of what VMs of ours have of bridges. Raises DriverError."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._looking, bridge_interfaces, self._link)

    def begin_listing(self) -> None:
        """List now what the next `listing` tells: while its caller lists something else."""
        loop = asyncio.get_running_loop()
        self._begun = loop.run_in_executor(
            self._looking, domain_runs, self._link, self._boot_id, self.ours
        )
        self._begun.add_done_callback(_noted)  # nobody may come to hear of its failure

    async def listing(self) -> tuple[DomainRun, ...]:
        if self._begun is None:
            self.begin_listing()
        begun, self._begun = self._begun, None
        assert begun is not None
        return await begun

    def define(
        self, batch: Batch, disk_of: Callable[[Batch, int], Disk]
    ) -> AsyncIterator[StepResult]:
        return self._each(self._calling, batch, partial(self._domains.define, batch, disk_of))

    def start(self, batch: Batch) -> AsyncIterator[StepResult]:
        return self._each(self._starting, batch, partial(self._domains.start, batch))

    async def await_ready(self, batch: Batch) -> AsyncIterator[StepResult]:
        remember = partial(self._domains.lives.remember_ready, batch)
        if not batch.spec.readiness.console_pattern:
            async with aclosing(self._each(self._calling, batch, partial(remember, {}))) as each:
                async for result in each:
                    yield result
            return
        loop = asyncio.get_running_loop()
        watch = ReadyWatch(self._domains, batch, self._patience)
        while True:
            verdicts = await loop.run_in_executor(self._looking, watch.poll, loop.time())
            if verdicts.failures:
                yield StepResult(EMPTY, tuple(verdicts.failures))
            name_of, act = batch.fleet.domain_name, partial(remember, watch.tails)
            marking = self._lanes.run(self._calling, name_of, verdicts.ready, act)
            async with aclosing(marking):
                async for result in marking:
                    yield result
            if watch.done:
                return
            # Paces looks at files that other programs write; nothing could be awaited instead.
            await asyncio.sleep(CONSOLE_PACE)

    def stop(self, batch: Batch) -> AsyncIterator[StepResult]:
        return self._each(self._calling, batch, partial(self._domains.stop, batch))

    def undefine(self, batch: Batch) -> AsyncIterator[StepResult]:
        return self._each(self._calling, batch, partial(self._domains.undefine, batch))

    async def changes(self) -> AsyncIterator[None]:
        stirred = asyncio.Event()
        listener = (asyncio.get_running_loop(), stirred)
        self._stirs.add(listener)
        try:
            while await stirred.wait() and not self._closed:
                stirred.clear()
                yield None
        finally:
            self._stirs.discard(listener)

    async def close(self) -> None:
        """Wait for the acts that threads have begun, then let go of libvirt."""
        self._closed = True
        self._stir()
        await self._lanes.idle()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._looking, self._link.close)
        for pool in (self._starting, self._calling, self._looking):
            pool.shutdown(wait=False)

    def _each(
        self, pool: ThreadPoolExecutor, batch: Batch, act: Act
    ) -> AsyncGenerator[StepResult, None]:
        return self._lanes.run(pool, batch.fleet.domain_name, batch.indices, act)

    def _stir(self) -> None:
        """Wake whoever awaits a change. From any thread."""
        for loop, stirred in tuple(self._stirs):
            if not loop.is_closed():
                loop.call_soon_threadsafe(stirred.set)

    def _stir_repeatedly(self) -> None:
        """The same, now and some times more. From any thread."""
        self._stir()
        for loop, stirred in tuple(self._stirs):
            for seconds in LOOKS_AT_A_NEW_DAEMON:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(loop.call_later, seconds, stirred.set)


def flavour_of(uri: str) -> Flavour:
    """The flavour of definition that a libvirt URI wants: Xen's unless it says otherwise."""
    return {"qemu": Flavour.KVM, "test": Flavour.TEST}.get(_scheme(uri), Flavour.XEN)


def console_log_of(uri: str) -> str:
    """Where the hypervisor of a libvirt URI has its guests' consoles logged: a path with
    {name}."""
    if _scheme(uri) != "qemu":
        return XEN_CONSOLE_LOG
    if uri.partition("?")[0].endswith("/session"):
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        return f"{cache}/libvirt/qemu/log/{{name}}.console.log"
    return QEMU_CONSOLE_LOG


def _scheme(uri: str) -> str:
    return uri.partition(":")[0].partition("+")[0]


def _kernel_boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _noted(ended: asyncio.Future[tuple[DomainRun, ...]]) -> None:
    if not ended.cancelled():
        ended.exception()
