"""What domains of libvirt use: in one call where its driver has that, else a call a domain.

libxl's driver tells CPU time and memory of one domain at a time, and of disks and interfaces
nothing: those come from the backends in this dom0.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from fleet_agent.core.console_log import INACTIVE
from fleet_agent.core.top import DomainCounters, HostCounters
from fleet_agent.drivers.libvirt.binding import Connection, Domain, code_of, message_of
from fleet_agent.drivers.libvirt.connection import LibvirtConnection
from fleet_agent.drivers.libvirt.marks import OurDomains, Vm
from fleet_agent.drivers.libvirt.xen_counters import XenPaths, block_bytes, network_bytes
from fleet_agent.drivers.ports.errors import DriverError

KIB, MIB = 1024, 1024 * 1024
# What libxl's driver answers to getType().
XEN = "Xen"
# virDomainState, a stable ABI, in xentop's words.
STATES: Mapping[int, str] = {
    1: "running", 2: "blocked", 3: "paused", 4: "shutdown", 5: "dying", 6: "crashed", 7: "paused"
}  # fmt: skip

Ours = list[tuple[Domain, Vm]]
Pair = tuple[int, int]


class LibvirtSampler:
    """The Sampler port over the connection of a driver."""

    def __init__(
        self, link: LibvirtConnection, ours: OurDomains, xen: XenPaths | None = None
    ) -> None:
        self._link = link
        self._ours = ours
        self._xen = xen or XenPaths()
        self._thread = ThreadPoolExecutor(1, "libvirt-top")

    async def counters(self) -> tuple[HostCounters, tuple[DomainCounters, ...]]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.read)

    async def close(self) -> None:
        self._thread.shutdown(wait=False)

    def read(self) -> tuple[HostCounters, tuple[DomainCounters, ...]]:
        """Blocking. Raises DriverError."""
        try:
            with self._link.talk() as connection:
                ours = [one for one in self._ours.listed(connection) if one[0].ID() != INACTIVE]
                if connection.getType() == XEN:
                    domains = self._one_by_one(ours)
                else:
                    domains = self._at_once(connection, ours)
                return _host(connection), domains
        except self._link.binding.libvirtError as error:
            raise DriverError(
                f"cannot ask libvirt what its domains use: {message_of(error)}"
            ) from error

    def _one_by_one(self, ours: Ours) -> tuple[DomainCounters, ...]:
        blocks = block_bytes(self._xen.backends)
        networks = network_bytes(self._xen.interfaces)
        found = (
            self._asked_alone(
                domain, vm, networks.get(domain.ID(), (0, 0)), blocks.get(domain.ID(), (0, 0))
            )
            for domain, vm in ours
        )
        return tuple(one for one in found if one is not None)

    def _at_once(self, connection: Connection, ours: Ours) -> tuple[DomainCounters, ...]:
        """One call for state, CPU, memory, disks and interfaces; a driver that leaves some of
        them out is asked for those of each domain."""
        binding = self._link.binding
        by_uuid: dict[str, Mapping[str, int | str]] = {}
        try:
            flags = binding.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE
            for domain, stats in connection.getAllDomainStats(0, flags):
                by_uuid[domain.UUIDString()] = stats
        except binding.libvirtError as error:
            if code_of(error) not in (
                binding.VIR_ERR_NO_SUPPORT,
                binding.VIR_ERR_ARGUMENT_UNSUPPORTED,
            ):
                raise
        found = (
            self._of_stats(domain, vm, by_uuid.get(domain.UUIDString(), {})) for domain, vm in ours
        )
        return tuple(one for one in found if one is not None)

    def _of_stats(
        self, domain: Domain, vm: Vm, stats: Mapping[str, int | str]
    ) -> DomainCounters | None:
        network = _sum(stats, "net", "rx.bytes", "tx.bytes")
        block = _sum(stats, "block", "rd.bytes", "wr.bytes")
        if not {"cpu.time", "balloon.current", "vcpu.current"} <= stats.keys():
            return self._asked_alone(domain, vm, network, block)
        info = (
            int(stats.get("state.state", 0)),
            int(stats["balloon.current"]),
            int(stats["vcpu.current"]),
            int(stats["cpu.time"]),
        )
        return _counters(domain, vm, info, network, block)

    def _asked_alone(
        self, domain: Domain, vm: Vm, network: Pair, block: Pair
    ) -> DomainCounters | None:
        """By a call of its own; None when it has vanished."""
        try:
            state, _, memory, vcpus, cpu = domain.info()
        except self._link.binding.libvirtError as error:
            if code_of(error) != self._link.binding.VIR_ERR_NO_DOMAIN:
                raise
            return None
        return _counters(domain, vm, (state, memory, vcpus, cpu), network, block)


def _counters(
    domain: Domain, vm: Vm, info: tuple[int, int, int, int], network: Pair, block: Pair
) -> DomainCounters:
    """`info`: state, memory in KiB, vcpus, CPU time in nanoseconds."""
    state, memory, vcpus, cpu = info
    return DomainCounters(
        vm.fleet_uid,
        vm.index,
        domain.name(),
        STATES.get(state, "unknown"),
        domain.ID(),
        cpu,
        memory * KIB,
        vcpus,
        *network,
        *block,
    )


def _sum(stats: Mapping[str, int | str], kind: str, first: str, second: str) -> Pair:
    """Over all devices of a kind, which the statistics number from 0."""
    count = int(stats.get(f"{kind}.count", 0))
    return (
        sum(int(stats.get(f"{kind}.{number}.{first}", 0)) for number in range(count)),
        sum(int(stats.get(f"{kind}.{number}.{second}", 0)) for number in range(count)),
    )


def _host(connection: Connection) -> HostCounters:
    info = connection.getInfo()
    return HostCounters(info[2], info[1] * MIB, connection.getFreeMemory())
