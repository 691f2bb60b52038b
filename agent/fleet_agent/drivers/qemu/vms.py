"""The VMs of this host's driver: what their folders say, which of their processes run, and who is
spoken to. Found anew by whoever opens it after another: no process is a child that must be kept."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from fleet_agent.core.model import Phase
from fleet_agent.drivers.lanes import ActFailed
from fleet_agent.drivers.qemu.folders import CONSOLE_LOG, Definition, Folders, Life, Ready
from fleet_agent.drivers.qemu.monitor import Monitor, MonitorError, NotAsked
from fleet_agent.drivers.qemu.processes import Process, opened, running

log = structlog.get_logger()

# QEMU's run states (qapi/run-state.json) of a guest that does not run: by somebody, or by an error.
PAUSED = "paused"
_ERRORS = frozenset(("io-error", "internal-error", "guest-panicked", "watchdog", "shutdown"))
# Of one whose agent ended before it was restored: nobody goes on with that.
_BEGUN = frozenset(("inmigrate", "prelaunch", "restore-vm", "postmigrate", "finish-migrate"))
SILENT = "silent"
# Seconds until a process that was killed is gone: one that waits for a disk ends after that.
END_SECONDS = 30.0
# Connections that are opened at once when many VMs are adopted.
_ADOPTED_AT_ONCE = 16


@dataclass(slots=True, eq=False)
class Vm:
    """`stands`: its run state, as QEMU last said, or that it says nothing."""

    name: str
    uuid: str
    definition: Definition
    life: Life = field(default_factory=Life)
    ready: bool = False
    process: Process | None = None
    monitor: Monitor | None = None
    stands: str = ""
    why: str = ""
    waited_since: float | None = None
    quiet: bool = False  # what happens to it is this driver's own doing
    resumed: asyncio.Event = field(default_factory=asyncio.Event)
    restored: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    told: asyncio.Task[None] | None = None  # it is being told who it is
    asked: asyncio.Task[None] | None = None  # how it stands
    taken: bool = False
    adopted: bool = False  # its present life was begun by another agent
    # Found so: a copy that may never have run, since its agent ended before it let it go on.
    halfway: bool = False

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.alive

    @property
    def phase(self) -> Phase:
        if not self.alive:
            return Phase.DEFINED
        if self.quiet:  # it is being started
            return Phase.ACTIVE
        if self.stands == PAUSED and not self.halfway:
            return Phase.SUSPENDED
        if self.stands in (PAUSED, SILENT, *_ERRORS, *_BEGUN):
            return Phase.HALTED
        return Phase.READY if self.ready else Phase.ACTIVE

    @property
    def halted_why(self) -> str:
        """In words, where it is kept from running."""
        if self.phase is Phase.SUSPENDED:
            return f"{self.name} was suspended by somebody on the host"
        if self.phase is Phase.HALTED:
            if self.halfway:
                return f"{self.name} was not yet told to go on when its agent ended"
            return self.why or f"QEMU has halted {self.name}: {self.stands}"
        return ""


class Vms:
    """By name. All of it belongs to one event loop."""

    def __init__(
        self,
        folders: Folders,
        boot_id: str,
        uuid_of: Callable[[Definition], str],
        stir: Callable[[], None],
    ) -> None:
        self.folders = folders
        self._boot_id = boot_id
        self._uuid_of = uuid_of
        self._stir = stir
        self._by_name: dict[str, Vm] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: asyncio.Task[None] | None = None

    async def opened(self) -> None:
        """Once: everything is found, and spoken to; anew where that has failed. Raises OSError."""
        done = self._open if self._open is not None and self._open.done() else None
        if self._open is None or (done and (done.cancelled() or done.exception())):
            self._open = asyncio.get_running_loop().create_task(self._find_all())
        await asyncio.shield(self._open)

    def __iter__(self) -> Iterator[Vm]:
        return iter(tuple(self._by_name.values()))

    def get(self, name: str) -> Vm | None:
        return self._by_name.get(name)

    def by_index(self, fleet_uid: str, index: int) -> Vm | None:
        return next(
            (
                vm
                for vm in self._by_name.values()
                if (vm.definition.uid, vm.definition.index) == (fleet_uid, index)
            ),
            None,
        )

    def add(self, name: str, definition: Definition) -> Vm:
        vm = self._by_name[name] = Vm(name, self._uuid_of(definition), definition)
        return vm

    def forget(self, vm: Vm) -> None:
        self._by_name.pop(vm.name, None)

    def began(self, vm: Vm, process: Process) -> None:
        """A life begins."""
        vm.process = process
        vm.ready = vm.taken = vm.adopted = vm.halfway = False
        vm.stands = vm.why = ""
        vm.waited_since = None
        vm.resumed, vm.restored, vm.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        asyncio.get_running_loop().add_reader(process.descriptor, self._note_end, vm, process)

    async def connect(self, vm: Vm) -> None:
        """Raises MonitorError."""

        def told(event: str, data: Mapping[str, object]) -> None:
            self._heard(vm, monitor, event, data)

        monitor = vm.monitor = Monitor(vm.name, told)
        await monitor.connect(self.folders.of(vm.name), vm.uuid)
        await self.look(vm)

    async def look(self, vm: Vm) -> None:
        """Ask QEMU how it stands; over another connection where there is none any more. Raises
        MonitorError."""
        if vm.monitor is None or not vm.alive:
            return
        if vm.monitor.lost and not vm.quiet:
            await vm.monitor.close()
            await self.connect(vm)
        else:
            self._stands(vm, await vm.monitor.status())

    async def end(self, vm: Vm) -> None:
        """Its process, for good; by this driver's own wish. Raises ActFailed."""
        if vm.process is None:
            return
        vm.quiet = True
        vm.process.kill()
        try:
            async with asyncio.timeout(END_SECONDS):
                await vm.ended.wait()
        except TimeoutError as error:
            why = f"QEMU of {vm.name} was killed and has not ended within {END_SECONDS:.0f} s"
            vm.quiet = False
            raise ActFailed("timeout", f"{why}: it waits for a disk or the kernel") from error
        await self._let_go(vm)

    def remember_ready(self, vm: Vm) -> None:
        """Blocking, but short. Raises OSError."""
        process = vm.process
        if process is not None and not vm.ready:
            self.folders.write(vm.name, Ready(process.pid, process.started, self._boot_id))
            vm.ready = vm.process is process  # another life may have begun meanwhile

    def beside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs until it ends, or this is closed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """VMs go on."""
        for task in (*self._tasks, *([self._open] if self._open else [])):
            task.cancel()
            await asyncio.wait([task])
        await self._forget_all()

    async def _forget_all(self) -> None:
        for vm in self:
            if vm.monitor is not None:
                await vm.monitor.close()
            if vm.process is not None:
                asyncio.get_running_loop().remove_reader(vm.process.descriptor)
                os.close(vm.process.descriptor)
                vm.process = None
        self._by_name.clear()

    async def _find_all(self) -> None:
        await self._forget_all()  # what was found before this failed
        found = await asyncio.to_thread(self._found)
        gate = asyncio.Semaphore(_ADOPTED_AT_ONCE)

        async def adopt(vm: Vm) -> None:
            async with gate:
                try:
                    await self.connect(vm)
                except NotAsked:
                    pass  # it is asked with the next listing
                except MonitorError as error:
                    self._silent(vm, error)

        async with asyncio.TaskGroup() as group:
            for vm, process, ready in found:
                self._by_name[vm.name] = vm
                if process is not None:
                    self.began(vm, process)
                    vm.adopted = True
                    here = (process.pid, process.started, self._boot_id)
                    vm.ready = (
                        ready is not None and (ready.pid, ready.started, ready.boot_id) == here
                    )
                    vm.halfway = not vm.ready and self._may_never_have_run(vm)
                    group.create_task(adopt(vm))
        if any(process for _, process, _ in found):
            log.info("adopted", vms=sum(process is not None for _, process, _ in found))

    def _found(self) -> list[tuple[Vm, Process | None, Ready | None]]:
        """Blocking. Raises OSError."""
        self.folders.root.mkdir(parents=True, exist_ok=True, mode=0o711)
        pids = running(self.folders.root)
        found: list[tuple[Vm, Process | None, Ready | None]] = []
        real = Path(os.path.realpath(self.folders.root))
        with contextlib.ExitStack() as undoing:
            for name in self.folders.names():
                definition = self.folders.read(name, Definition)
                if definition is None:
                    log.error("a VM's folder says nothing whole; it is left alone", folder=name)
                    continue
                life = self.folders.read(name, Life) or Life()
                ready = self.folders.read(name, Ready)
                vm = Vm(name, self._uuid_of(definition), definition, life)
                process = opened(pid) if (pid := pids.get(real / name)) else None
                if process is not None:
                    undoing.callback(os.close, process.descriptor)
                found.append((vm, process, ready))
            undoing.pop_all()
        return found

    def _may_never_have_run(self, vm: Vm) -> bool:
        """A copy has said nothing until it is told to go on. One that somebody suspends so early is
        taken for one, and copied again. Blocking, but short."""
        try:
            said = (self.folders.of(vm.name) / CONSOLE_LOG).stat().st_size > 0
        except OSError:
            said = False
        return vm.life.way == "clone" and not said

    def _heard(self, vm: Vm, monitor: Monitor, event: str, data: Mapping[str, object]) -> None:
        if vm.monitor is not monitor:
            return
        if event == "MIGRATION" and data.get("status") in ("completed", "failed"):
            vm.restored.set()
        if event == "STOP":
            vm.resumed.clear()
            # Why it stands is a question; what is asked next is answered after this.
            self.beside(self._look_again(vm))
        elif event == "RESUME":
            self._stands(vm, "running")

    async def _look_again(self, vm: Vm) -> None:
        with contextlib.suppress(MonitorError):
            await self.look(vm)

    def _stands(self, vm: Vm, stands: str) -> None:
        before, vm.stands = vm.stands, stands
        if stands == "running":
            vm.halfway = False
            vm.why = ""
            vm.resumed.set()
        if before and before != stands and not vm.quiet:
            self._stir()

    def _silent(self, vm: Vm, error: Exception) -> None:
        vm.why = str(error)
        self._stands(vm, SILENT)

    def _note_end(self, vm: Vm, process: Process) -> None:
        asyncio.get_running_loop().remove_reader(process.descriptor)
        if vm.process is not process:
            return
        for event in (vm.ended, vm.resumed, vm.restored):
            event.set()
        if not vm.quiet:
            self._stir()
            self.beside(self._let_go(vm))

    async def _let_go(self, vm: Vm) -> None:
        """Of what has ended: its process is reaped, its connection closed."""
        process, monitor, told = vm.process, vm.monitor, vm.told
        vm.process = vm.monitor = vm.told = None
        vm.ready = False
        if process is not None:
            process.close()
        if told is not None:
            told.cancel()
        if monitor is not None:
            await monitor.close()

    async def look_at_all(self, seconds: float) -> None:
        """How each stands; those that do not answer so fast are taken as they stood, and as silent
        once a question of theirs is given up."""

        async def ask(vm: Vm) -> None:
            try:
                await self.look(vm)
            except NotAsked as error:
                log.warning("a VM is taken as it stood", vm=vm.name, why=str(error))
            except MonitorError as error:
                if vm.alive:
                    self._silent(vm, error)

        asked = []
        for vm in self:
            if vm.monitor is not None and vm.alive:
                if vm.asked is None or vm.asked.done():
                    vm.asked = self.beside(ask(vm))
                asked.append(vm.asked)
        if asked:
            await asyncio.wait(asked, timeout=seconds)
