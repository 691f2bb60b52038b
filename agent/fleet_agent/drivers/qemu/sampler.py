"""What QEMU's processes use, as the kernel counts it: nothing is asked of QEMU."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from fleet_agent.core.model import Phase
from fleet_agent.core.qemu.qemu_guest import tap_of
from fleet_agent.core.top import DomainCounters, HostCounters
from fleet_agent.drivers.ports.errors import DriverError
from fleet_agent.drivers.qemu import host_memory
from fleet_agent.drivers.qemu.hypervisor import QemuHypervisor

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_STATES = {Phase.SUSPENDED: "paused", Phase.HALTED: "paused"}

# What is read of a VM in a thread: everything that the driver knows, by then.
_Vm = tuple[str, int, str, str, int, int, int, str]


class QemuSampler:
    """The Sampler port over the VMs of a driver."""

    def __init__(self, hypervisor: QemuHypervisor) -> None:
        self._hypervisor = hypervisor

    async def counters(self) -> tuple[HostCounters, tuple[DomainCounters, ...]]:
        await self._hypervisor.opened()
        known = [
            (
                vm.definition.uid,
                vm.definition.index,
                vm.name,
                _STATES.get(vm.phase, "running"),
                vm.process.pid,
                vm.definition.memory_bytes,
                vm.definition.vcpus,
                vm.uuid,
            )
            for vm in self._hypervisor.vms
            if vm.process is not None and vm.alive
        ]
        return await asyncio.to_thread(_read, known)

    async def close(self) -> None:
        """Nothing is held."""


def _read(known: list[_Vm]) -> tuple[HostCounters, tuple[DomainCounters, ...]]:
    try:
        host = HostCounters(
            os.cpu_count() or 1, host_memory.total_bytes(), host_memory.available_bytes()
        )
    except OSError as error:
        raise DriverError(f"cannot read the host's memory: {error}") from error
    found = (_counters(vm) for vm in known)
    return host, tuple(one for one in found if one is not None)


def _counters(vm: _Vm) -> DomainCounters | None:
    """None where it has ended."""
    uid, index, name, state, pid, memory, vcpus, uuid = vm
    try:
        # proc(5): times in user and in kernel mode are the 14th and the 15th field.
        times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    except OSError:
        return None
    cpu = sum(map(int, times)) * _TICK_NS
    net = Path("/sys/class/net", tap_of(uuid, 0), "statistics")
    network = (_number(net / "tx_bytes"), _number(net / "rx_bytes"))
    return DomainCounters(uid, index, name, state, pid, cpu, memory, vcpus, *network, *_block(pid))


def _block(pid: int) -> tuple[int, int]:
    """Bytes read and written; 0 where this user may not see them."""
    try:
        lines = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
        return int(lines["read_bytes"]), int(lines["write_bytes"])
    except (OSError, KeyError, ValueError):
        return 0, 0


def _number(path: Path) -> int:
    """0 where there is none."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0
