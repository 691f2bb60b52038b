"""The Hypervisor port over processes of QEMU."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

from fleet.identity import Fleet
from fleet.keys import NO_EPOCH, Epoch, Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.domain.disks import Disk
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.core.model import Batch, DomainRun, Phase, StepFailure, StepResult
from fleet_agent.drivers.lanes import ActFailed
from fleet_agent.drivers.ports.bridges import Interface
from fleet_agent.drivers.ports.errors import DriverError, told_defect
from fleet_agent.drivers.ports.hypervisor import HypervisorFacts
from fleet_agent.drivers.qemu import host_memory, taps
from fleet_agent.drivers.qemu.emulation import Emulation, Installed
from fleet_agent.drivers.qemu.folders import Definition, Folders
from fleet_agent.drivers.qemu.readiness import ReadyWatch
from fleet_agent.drivers.qemu.starts import Starts
from fleet_agent.drivers.qemu.templates import Templates
from fleet_agent.drivers.qemu.vms import Vm, Vms

# Seconds that a listing waits for how VMs stand.
LOOK_SECONDS = 2.0
# Seconds between two looks at the consoles awaited by one batch.
CONSOLE_PACE = 0.1
# Acts under way at once. Who is started when, the pressure on the host's CPUs decides before: here
# is no more than what can gain anything. The rest waits for the kernel.
STARTS_AT_ONCE, OTHERS_AT_ONCE = max(4, 2 * (os.cpu_count() or 1)), 32
# Seconds that acts have when this is closed; those that have not ended by then are broken off.
CLOSE_SECONDS = 10.0

Act = Callable[[int], Awaitable[None]]


class QemuHypervisor:
    """`root`: the folder of the VMs' folders. `templates`: one in a tmpfs, only this agent's."""

    def __init__(
        self,
        root: Path,
        templates: Path,
        *,
        flavour: Flavour = Flavour.TCG,
        max_guests: int = 250,
        boot_id: str = "",
        emulation: Emulation | None = None,
        shortage: Callable[[int], str] = host_memory.shortage,
    ) -> None:
        """Opens nothing before it is first used."""
        self._max_guests = max_guests
        self._emulation = emulation or Emulation(Installed(flavour).find)
        self._templates = Templates(templates, self._emulation, time.monotonic, shortage)
        self._listeners: set[asyncio.Event] = set()
        boot_id = boot_id or Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self.vms = Vms(Folders(root), boot_id, _uuid_of, self._stir)
        self.starts = Starts(self.vms, self._templates, self._emulation, shortage)
        self._starting = asyncio.Semaphore(STARTS_AT_ONCE)
        self._others = asyncio.Semaphore(OTHERS_AT_ONCE)
        # By the VM's name, which is what acts collide on.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._acts: set[asyncio.Task[None]] = set()
        self._opening = asyncio.Lock()
        self._opened = False
        self._measured = 0

    async def facts(self) -> HypervisorFacts:
        await self.opened()
        try:
            found = await asyncio.to_thread(self._emulation.find)
            total = host_memory.total_bytes()
        except OSError as error:
            raise DriverError(f"QEMU cannot be looked at: {error}") from error
        return HypervisorFacts(found.version.partition(" (")[0], total, self._max_guests)

    async def listing(self) -> tuple[DomainRun, ...]:
        await self.opened()
        await self.vms.look_at_all(LOOK_SECONDS)
        members: dict[tuple[Kin, Phase, int, str, str], list[int]] = defaultdict(list)
        newest: dict[Kin, Epoch] = defaultdict(lambda: NO_EPOCH)
        for vm in self.vms:
            marked = vm.definition.marked
            phase = vm.phase
            restart = 0 if phase is Phase.DEFINED else vm.life.restart
            fallback = "" if phase is Phase.DEFINED else vm.life.why
            members[marked.kin, phase, restart, vm.halted_why, fallback].append(marked.index)
            newest[marked.kin] = max(newest[marked.kin], marked.mark.epoch)
        return tuple(
            DomainRun(kin, IndexSet.of(indices), phase, restart, newest[kin], why, fallback)
            for (kin, phase, restart, why, fallback), indices in sorted(members.items())
        )

    def holds(self, kin: Kin, index: int, name: str) -> bool:
        """Whether a VM of this very kin is defined here, as far as was looked."""
        vm = self.vms.get(name)
        return vm is not None and (vm.definition.marked.kin, vm.definition.index) == (kin, index)

    async def find(self, fleet_uid: str, index: int) -> Vm | None:
        """Raises DriverError."""
        await self.opened()
        return self.vms.by_index(fleet_uid, index)

    def define(
        self, batch: Batch, disk_of: Callable[[Batch, int], Disk]
    ) -> AsyncIterator[StepResult]:
        return self._each(batch, partial(self.starts.define, batch, disk_of), self._others)

    def start(self, batch: Batch) -> AsyncIterator[StepResult]:
        return self._each(batch, partial(self.starts.start, batch), self._starting)

    async def await_ready(self, batch: Batch) -> AsyncIterator[StepResult]:
        await self.opened()
        watch = ReadyWatch(self.vms, self.starts, batch)
        while True:
            ready, failures = await watch.look(asyncio.get_running_loop().time())
            if ready or failures:
                yield StepResult(ready, tuple(failures))
            if watch.done:
                return
            # Paces looks at files that QEMU writes; nothing could be awaited instead.
            await asyncio.sleep(CONSOLE_PACE)

    def stop(self, batch: Batch) -> AsyncIterator[StepResult]:
        return self._each(batch, partial(self.starts.stop, batch), self._others)

    def undefine(self, batch: Batch) -> AsyncIterator[StepResult]:
        return self._each(batch, partial(self.starts.undefine, batch), self._others)

    async def changes(self) -> AsyncIterator[None]:
        stirred = asyncio.Event()
        self._listeners.add(stirred)
        try:
            while True:
                await stirred.wait()
                stirred.clear()
                yield None
        finally:
            self._listeners.discard(stirred)

    async def interfaces(self) -> tuple[Interface, ...]:
        """The host's ends of what VMs of ours have of bridges. Raises DriverError."""
        await self.opened()
        return tuple(Interface(tap, bridge) for tap, bridge in await asyncio.to_thread(taps.joined))

    async def measure(self) -> int:
        """What a clone takes on the average, as measured now; kept for what is started next."""
        await self.opened()
        pids = [vm.process.pid for vm in self.vms if vm.process and vm.life.template and vm.ready]
        found = await asyncio.to_thread(host_memory.clone_bytes, pids)
        if found:
            self.starts.clone_bytes = self._measured = found
        return found

    def measured(self) -> int:
        """What a clone takes on the average, as last measured, in steps; 0: none was."""
        step = host_memory.STEP_BYTES
        return -(-self._measured // step) * step

    async def most(self, memory_bytes: int) -> int:
        """How many clones fit into so much memory, what templates take left aside; in steps, since
        each change is written to the store. Raises DriverError."""
        await self.opened()
        step = host_memory.STEP_BYTES
        each = -(-self.starts.clone_bytes // step) * step
        free = memory_bytes - host_memory.reserve(memory_bytes) - self._templates.bytes()
        return max(0, free // each)

    def log_folders(self) -> list[Path]:
        """In which consoles and QEMU write without end."""
        return [self.vms.folders.of(vm.name) for vm in self.vms] + self._templates.being_made()

    async def close(self) -> None:
        """VMs go on."""
        if self._acts:
            _, late = await asyncio.wait(self._acts, timeout=CLOSE_SECONDS)
            for act in late:
                act.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self.vms.close()

    async def opened(self) -> None:
        """What this host has of VMs is known from here on. Raises DriverError."""
        try:
            async with self._opening:
                if not self._opened:
                    _raise_file_limit()
                    await self._templates.open()
                    self._opened = True
            await self.vms.opened()
        except OSError as error:
            raise DriverError(f"cannot look at the folders of VMs: {error}") from error

    async def _each(
        self, batch: Batch, act: Act, gate: asyncio.Semaphore
    ) -> AsyncGenerator[StepResult, None]:
        """Those that have begun go on when nobody waits any more; what comes next waits."""
        await self.opened()
        ended: asyncio.Queue[tuple[int, StepFailure | None]] = asyncio.Queue()
        begun: set[int] = set()
        tasks: dict[int, asyncio.Task[None]] = {}

        async def one(index: int) -> None:
            # The VM's turn first: who waits for it keeps no other VM waiting.
            async with self._lock(batch, index), gate:
                begun.add(index)
                await self._one(act, index, ended)

        try:
            for index in batch.indices:
                task = tasks[index] = asyncio.get_running_loop().create_task(one(index))
                self._acts.add(task)
                task.add_done_callback(self._acts.discard)
            for _ in tasks:
                index, failure = await ended.get()
                yield StepResult(EMPTY, (failure,)) if failure else StepResult(IndexSet.of([index]))
        finally:
            for index, task in tasks.items():
                if index not in begun:
                    task.cancel()

    async def _one(
        self, act: Act, index: int, ended: asyncio.Queue[tuple[int, StepFailure | None]]
    ) -> None:
        failure: StepFailure | None = None
        try:
            await act(index)
        except ActFailed as refused:
            failure = refused.failure(index)
        except Exception as error:
            failure = StepFailure(index, "internal", told_defect("an act", error))
        ended.put_nowait((index, failure))

    def _lock(self, batch: Batch, index: int) -> asyncio.Lock:
        return self._locks.setdefault(batch.fleet.domain_name(index), asyncio.Lock())

    def _stir(self) -> None:
        for stirred in self._listeners:
            stirred.set()


def _uuid_of(definition: Definition) -> str:
    return str(Fleet(definition.uid, "", 0).domain_uuid(definition.index))


def _raise_file_limit() -> None:
    """Each VM takes two files of the agent."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
