"""The acts on one VM: define, start, stop, undefine. Each looks first and acts only on what carries
this very kin's mark."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
import uuid
from collections.abc import Callable

import structlog

from fleet_agent.core.domain.disks import Disk
from fleet_agent.core.domain.marks import foreign_mark
from fleet_agent.core.model import Batch, Phase
from fleet_agent.core.qemu.identity_message import (
    SEED_BYTES,
    TAKEN,
    WAITING,
    Heard,
    TooMuchSaid,
    identity_message,
)
from fleet_agent.core.qemu.machine import Emulator, Guest, Memory, Way, template_key
from fleet_agent.core.qemu.qemu_guest import guest_of, own_values, template_of, wants_clone
from fleet_agent.drivers.consoles.tail import set_aside
from fleet_agent.drivers.lanes import ActFailed
from fleet_agent.drivers.qemu import host_memory
from fleet_agent.drivers.qemu.emulation import Emulation, disk_bytes, file_stamps
from fleet_agent.drivers.qemu.failures import UNEXPLAINED, start_kind
from fleet_agent.drivers.qemu.folders import CONSOLE_LOG, Definition, Life
from fleet_agent.drivers.qemu.monitor import MonitorError, NotAsked, is_own_trouble
from fleet_agent.drivers.qemu.processes import Process, connected, last_words, received, started
from fleet_agent.drivers.qemu.template_making import CannotClone, Template
from fleet_agent.drivers.qemu.templates import Templates
from fleet_agent.drivers.qemu.vms import PAUSED, Vm, Vms

log = structlog.get_logger()

# Seconds until a process runs its guest: a restore waits for the cores that others boot on.
RUN_SECONDS = 60.0
# A process whose connection broke is given so long to end, and to have said why.
END_SECONDS = 1.0
# After a port has broken, or a guest has said too much over it, it is left alone for so long.
TELL_AGAIN_SECONDS = 5.0


class Starts:
    """Over the VMs and the templates of a host."""

    def __init__(
        self,
        vms: Vms,
        templates: Templates,
        emulation: Emulation,
        shortage: Callable[[int], str] = host_memory.shortage,
    ) -> None:
        self._vms = vms
        self._templates = templates
        self._emulation = emulation
        self._shortage = shortage
        self.clone_bytes = host_memory.FIRST_CLONE_BYTES

    async def define(self, batch: Batch, disk_of: Callable[[Batch, int], Disk], index: int) -> None:
        name = batch.fleet.domain_name(index)
        disk = disk_of(batch, index) if batch.spec.disk.target else None
        definition = Definition.of(batch, index, disk)
        self._guest(batch, index, disk, await asyncio.to_thread(self._emulator))
        vm = self._vms.get(name)
        try:
            if vm is None:
                await asyncio.to_thread(self._vms.folders.make, name, definition)
                self._vms.add(name, definition)
                return
            _check_ours(vm, batch, index)
            if vm.definition.own_disk != definition.own_disk:
                await asyncio.to_thread(self._vms.folders.write, name, definition)
                vm.definition = definition
        except OSError as error:
            raise ActFailed(
                "hypervisor_error", f"cannot write the folder of {name}: {error.strerror}"
            ) from error

    async def start(self, batch: Batch, index: int) -> None:
        name = batch.fleet.domain_name(index)
        vm = self._vms.get(name)
        if vm is None:
            raise ActFailed("not_defined", f"{name} is not defined here")
        _check_ours(vm, batch, index)
        if vm.alive:
            if vm.phase is not Phase.HALTED or await self._goes_on(vm):
                return
        await self._vms.end(vm)
        emulator = await asyncio.to_thread(self._emulator)
        guest = self._guest(batch, index, vm.definition.own_disk, emulator)
        if lacks := await asyncio.to_thread(self._emulation.missing, guest):
            raise ActFailed(lacks[0], f"{name}: {lacks[1]}")
        template, why = await self._template(batch, emulator, guest)
        # At once: a template that no VM is made of is removed.
        way = Way.CLONE if template else Way.BOOT
        life = vm.life = Life(
            batch.restart_of(index), way.value, why, template.key if template else ""
        )
        needed = self.clone_bytes if template else guest.memory_bytes + host_memory.QEMU_BYTES
        if short := self._shortage(needed):
            raise ActFailed("no_memory", f"{name}: {short}")
        vm.quiet = True
        try:
            await self._begin(vm, life, guest, emulator, template)
            for nic in guest.nics:
                await asyncio.to_thread(self._emulation.join, nic)
        except (MonitorError, OSError, TimeoutError) as error:
            folder = self._vms.folders.of(name)
            process = vm.process
            gone = process is None or await asyncio.to_thread(process.ends_within, END_SECONDS)
            said = last_words(folder) if gone else ""
            await self._vms.end(vm)
            words = said or _words(error)
            kind = start_kind(words)
            if template and kind == UNEXPLAINED and not is_own_trouble(error):
                # It may be the template's: make it anew.
                await self._templates.drop(template.key)
            raise ActFailed(kind, f"cannot start {name}: {words}") from error
        except BaseException:
            await asyncio.shield(self._vms.end(vm))
            raise
        finally:
            vm.quiet = False
        self.tell(vm, batch, index)

    def tell(self, vm: Vm, batch: Batch, index: int) -> None:
        """Who it is, unless it has been told or is being told."""
        if vm.alive and not vm.taken and not vm.ready and (vm.told is None or vm.told.done()):
            vm.told = self._vms.beside(self._tell(vm, batch, index))

    async def stop(self, batch: Batch, index: int) -> None:
        vm = self._vms.get(batch.fleet.domain_name(index))
        if vm is not None and vm.definition.marked.is_of(batch, index):
            await self._vms.end(vm)

    async def undefine(self, batch: Batch, index: int) -> None:
        vm = self._vms.get(batch.fleet.domain_name(index))
        if vm is None or not vm.definition.marked.is_of(batch, index):
            return
        await self._vms.end(vm)
        try:
            await asyncio.to_thread(self._vms.folders.remove, vm.name)
        except OSError as error:
            raise ActFailed(
                "hypervisor_error", f"cannot remove the folder of {vm.name}: {error.strerror}"
            ) from error
        self._vms.forget(vm)
        await self.drop_unused()

    async def drop_unused(self) -> None:
        await self._templates.keep(vm.life.template for vm in self._vms if vm.life.template)

    async def _template(
        self, batch: Batch, emulator: Emulator, guest: Guest
    ) -> tuple[Template | None, str]:
        """What it is made of; without one, why it boots in spite of what its fleet asks for."""
        if not wants_clone(batch.spec):
            return None, ""
        try:
            stamps, size = await asyncio.to_thread(lambda: (file_stamps(guest), disk_bytes(guest)))
            common = template_of(guest)
            key = template_key(emulator, batch.kin.fleet_uid, common, stamps, size)
            return await self._templates.get(key, emulator, guest), ""
        except (CannotClone, OSError) as error:
            why = _words(error)
            log.warning("it boots, since it cannot be cloned", vm=guest.name, why=why)
            return None, why

    async def _begin(
        self, vm: Vm, life: Life, guest: Guest, emulator: Emulator, template: Template | None
    ) -> None:
        """Raises MonitorError, OSError, TimeoutError."""
        process = await asyncio.to_thread(self._launched, vm, life, guest, emulator, template)
        self._vms.began(vm, process)
        async with asyncio.timeout(RUN_SECONDS):
            await self._vms.connect(vm)
            if template:
                await self._restore(vm, template)
            await self._vms.look(vm)
            if vm.alive and vm.stands == "running":
                return
            await vm.resumed.wait()
        if not vm.alive:
            raise MonitorError(f"QEMU of {vm.name} has ended")

    async def _restore(self, vm: Vm, template: Template) -> None:
        """Raises MonitorError, OSError."""
        assert vm.monitor is not None
        capabilities = [
            {"capability": name, "state": True} for name in ("x-ignore-shared", "events")
        ]
        await vm.monitor.ask("migrate-set-capabilities", capabilities=capabilities)
        # QEMU would tell the network five times that a machine has moved there: none has, and what
        # one clone broadcasts wakes all others.
        await vm.monitor.ask("migrate-set-parameters", **{"announce-rounds": 0})
        state = os.open(template.state, os.O_RDONLY | os.O_CLOEXEC)
        try:
            await vm.monitor.give_file("state", state)
        finally:
            os.close(state)
        await vm.monitor.ask("migrate-incoming", uri="fd:state")
        await vm.restored.wait()
        await self._vms.look(vm)
        if vm.alive and vm.stands == PAUSED:  # as the template was when it was frozen
            await vm.monitor.ask("cont")

    def _launched(
        self, vm: Vm, life: Life, guest: Guest, emulator: Emulator, template: Template | None
    ) -> Process:
        """Blocking. What is written here is relied on only if the process is found."""
        folder = self._vms.folders.of(vm.name)
        self._vms.folders.write(vm.name, life)
        set_aside(folder / CONSOLE_LOG)
        self._emulation.give_disk(guest, emulator)
        memory = Memory(str(template.ram) if template else "")
        return started(
            folder,
            vm.name,
            lambda sockets: self._emulation.arguments(
                emulator, guest, Way(life.way), sockets, memory
            ),
        )

    async def _goes_on(self, vm: Vm) -> bool:
        """Whether one that an I/O error has halted runs again."""
        if vm.stands != "io-error" or vm.monitor is None:
            return False
        try:
            await vm.monitor.ask("cont")
            await self._vms.look(vm)
        except NotAsked as error:
            raise ActFailed("hypervisor_error", str(error)) from error
        except MonitorError:
            return False
        return vm.phase in (Phase.ACTIVE, Phase.READY)

    async def _tell(self, vm: Vm, batch: Batch, index: int) -> None:
        """Until it has taken its identity, or its process ends: this is cancelled then."""
        said = ""
        # What it said before somebody listened here is not said again.
        waits = vm.adopted or vm.life.way == Way.CLONE
        while True:
            try:
                with connected(self._vms.folders.of(vm.name), "identity") as port:
                    vm.taken = await self._tell_over(port, vm, batch, index, waits)
            except (OSError, TooMuchSaid) as error:
                if (why := _words(error)) != said:
                    log.warning("a VM is not told who it is", vm=vm.name, why=why)
                said = why
            if vm.taken:
                break
            waits = True
            await asyncio.sleep(TELL_AGAIN_SECONDS)
        if not batch.spec.readiness.console_pattern:
            # Whoever adopts it would wait in vain for it to say so again.
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self._vms.remember_ready, vm)

    async def _tell_over(
        self, port: socket.socket, vm: Vm, batch: Batch, index: int, waits: bool
    ) -> bool:
        """Whether it has taken its identity; else the port was closed. `waits`: it may wait
        already; what it is told before it waits, it reads once it does. Raises OSError,
        TooMuchSaid."""
        macs = [nic.mac for nic in guest_of(batch, index, None, self._emulator().flavour).nics]
        heard = Heard()
        while not heard.has(TAKEN):
            if waits or heard.has(WAITING):
                waits = False
                heard.answered()
                message = identity_message(
                    vm.name,
                    index,
                    uuid.uuid5(uuid.UUID(vm.uuid), "machine-id"),
                    macs,
                    own_values(batch, index),
                    seed=os.urandom(SEED_BYTES),
                    clock_ns=time.time_ns(),
                )
                await asyncio.get_running_loop().sock_sendall(port, message)
            data = await received(port)
            if not data:
                return False
            heard.add(data)
        return True

    def _emulator(self) -> Emulator:
        """As it is now: it may have been upgraded. Blocking, but short after the first time."""
        try:
            return self._emulation.find()
        except OSError as error:
            raise ActFailed("hypervisor_error", f"QEMU cannot be run: {error}") from error

    def _guest(self, batch: Batch, index: int, disk: Disk | None, emulator: Emulator) -> Guest:
        try:
            own_values(batch, index)
            return guest_of(batch, index, disk, emulator.flavour)
        except ValueError as error:
            raise ActFailed("bad_spec", str(error), retry=False) from error


def _check_ours(vm: Vm, batch: Batch, index: int) -> None:
    if whose := foreign_mark(vm.definition.marked, batch, index):
        raise ActFailed(
            "conflict",
            f"a VM {whose} has the name {batch.fleet.domain_name(index)}; it is left alone",
            retry=False,
        )


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"its guest did not run within {RUN_SECONDS:.0f} s"
    if isinstance(error, OSError) and error.strerror:
        named = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{named}"
    return str(error)
