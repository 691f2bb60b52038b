"""Waits for a batch of VMs: each has shown its pattern on its console, which it does once it is who
it was told to be; a clone of which no pattern is known has taken its identity."""

from __future__ import annotations

import asyncio
from functools import cached_property

from fleet.ranges import EMPTY, IndexSet
from fleet.texts.guest_patterns import GuestPattern
from fleet_agent.core.model import PAUSED, SUSPENDED, Batch, Phase, StepFailure
from fleet_agent.core.qemu.qemu_guest import wants_clone
from fleet_agent.drivers.console_pattern import console_pattern
from fleet_agent.drivers.consoles.tail import ConsoleTail, last_lines
from fleet_agent.drivers.lanes import ActFailed
from fleet_agent.drivers.qemu.folders import CONSOLE_LOG
from fleet_agent.drivers.qemu.starts import Starts
from fleet_agent.drivers.qemu.vms import Vm, Vms


class ReadyWatch:
    """From the moment it was made until each VM has a verdict."""

    def __init__(self, vms: Vms, starts: Starts, batch: Batch) -> None:
        self._vms = vms
        self._starts = starts
        self._batch = batch
        self._waiting = list(batch.indices)
        self._tails: dict[int, ConsoleTail] = {}
        # What boots by itself, and is told nothing, is ready once it runs.
        self._by_identity = wants_clone(batch.spec) and not batch.spec.readiness.console_pattern

    @property
    def done(self) -> bool:
        return not self._waiting

    async def look(self, now: float) -> tuple[IndexSet, list[StepFailure]]:
        """One look at each; `now`: seconds of a monotonic clock."""
        shown = await asyncio.to_thread(self._shown)
        ready: list[int] = []
        failures: list[StepFailure] = []
        for index in self._waiting:
            try:
                if await self._is_ready(index, shown.get(index, False), now):
                    ready.append(index)
            except ActFailed as refused:
                failures.append(refused.failure(index))
        decided = {*ready, *(failure.index for failure in failures)}
        self._waiting = [index for index in self._waiting if index not in decided]
        return (IndexSet.of(ready) if ready else EMPTY), failures

    def _shown(self) -> dict[int, bool | OSError]:
        """Blocking: whose console has shown the pattern by now."""
        found: dict[int, bool | OSError] = {}
        if not self._batch.spec.readiness.console_pattern:
            return dict.fromkeys(self._waiting, True)
        for index in self._waiting:
            log = self._vms.folders.of(self._batch.fleet.domain_name(index)) / CONSOLE_LOG
            tail = self._tails.setdefault(index, ConsoleTail(log))
            try:
                found[index] = tail.shows(self._pattern)
            except OSError as error:
                found[index] = error
            except ActFailed:
                return {}
        return found

    async def _is_ready(self, index: int, shown: bool | OSError, now: float) -> bool:
        vm = self._living(index)
        if vm.ready:
            return True
        _ = self._pattern  # raises for one that is none
        if isinstance(shown, OSError):
            raise ActFailed("not_ready", f"cannot read {vm.name}'s console: {shown.strerror}")
        if vm.phase in (Phase.HALTED, Phase.SUSPENDED):
            vm.waited_since = None
            kind = PAUSED if vm.phase is Phase.HALTED else SUSPENDED
            raise ActFailed(kind, vm.halted_why)
        if shown and (vm.taken or not self._by_identity):
            try:
                await asyncio.to_thread(self._vms.remember_ready, vm)
            except OSError as error:
                raise ActFailed(
                    "hypervisor_error", f"cannot write that {vm.name} is ready: {error.strerror}"
                ) from error
            vm.waited_since = None
            return True
        self._starts.tell(vm, self._batch, index)
        if vm.waited_since is None:
            vm.waited_since = now
        timeout = self._batch.spec.readiness.timeout_seconds
        if now - vm.waited_since >= timeout:
            vm.waited_since = None
            raise ActFailed("not_ready", self._why_not(vm, timeout))
        return False

    def _why_not(self, vm: Vm, timeout: float) -> str:
        end = last_lines(self._vms.folders.of(vm.name) / CONSOLE_LOG)
        if not vm.taken:
            return (
                f"{vm.name} did not take its identity within {timeout:g} s: nothing in the guest "
                f"reads the port org.megafleet.identity.0; {end}"
            )
        return (
            f"{vm.name} was not ready within {timeout:g} s: no line of its console matched "
            f"{self._batch.spec.readiness.console_pattern!r}; {end}"
        )

    def _living(self, index: int) -> Vm:
        name = self._batch.fleet.domain_name(index)
        vm = self._vms.get(name)
        if vm is None or not vm.alive or not vm.definition.marked.is_of(self._batch, index):
            end = ""
            if self._batch.spec.readiness.console_pattern:
                end = f"; {last_lines(self._vms.folders.of(name) / CONSOLE_LOG)}"
            raise ActFailed("died", f"{name} is not running any more{end}")
        return vm

    @cached_property
    def _pattern(self) -> GuestPattern:
        """Raises ActFailed."""
        return console_pattern(self._batch.spec.readiness.console_pattern)
