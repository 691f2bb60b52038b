"""What hollow guests use: plausible numbers from index and time, and nothing kept of any VM."""

from __future__ import annotations

from fleet_agent.core.model import Phase
from fleet_agent.core.top import NANOSECONDS, DomainCounters, HostCounters
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor

# Of every hollow guest and host.
MEMORY_BYTES = 64 << 20
VCPUS = 1
CPUS = 16
# An odd number near 2^32 / golden ratio spreads neighbours apart (Knuth's multiplicative hash).
_SPREAD = 2_654_435_769


def share(index: int, salt: int) -> float:
    """A number in [0, 1) that an index always has; few are large, as of real guests."""
    spread = (index * 8 + salt + 1) * _SPREAD % 2**32 / 2**32
    return spread**4


class HollowSampler:
    """The Sampler port over a hollow hypervisor: counters grow steadily with its clock."""

    def __init__(
        self, hypervisor: HollowHypervisor, behaviour: Behaviour, max_guests: int = 250
    ) -> None:
        self._hypervisor = hypervisor
        self._behaviour = behaviour
        self._memory = max(behaviour.profile.memory_bytes, max_guests * MEMORY_BYTES)

    async def counters(self) -> tuple[HostCounters, tuple[DomainCounters, ...]]:
        now = self._behaviour.clock()
        names = self._hypervisor.fleet_names()
        domains = tuple(
            _counters(run.kin.fleet_uid, f"{names[run.kin.fleet_uid]}-{index}", index, now)
            for run in await self._hypervisor.listing()
            if run.phase is not Phase.DEFINED
            for index in run.indices
        )
        free = max(0, self._memory - len(domains) * MEMORY_BYTES)
        return HostCounters(CPUS, self._memory, free), domains

    async def close(self) -> None:
        """Nothing is held."""


def _counters(fleet_uid: str, name: str, index: int, now: float) -> DomainCounters:
    def grown(salt: int, a_second: float) -> int:
        return int(now * a_second * share(index, salt))

    busy = share(index, 0) > 0.5
    return DomainCounters(
        fleet_uid,
        index,
        name,
        "running" if busy else "blocked",
        life=1,
        cpu_ns=grown(0, NANOSECONDS),
        memory_bytes=MEMORY_BYTES,
        vcpus=VCPUS,
        net_rx_bytes=grown(1, 1e6),
        net_tx_bytes=grown(2, 1e6),
        block_read_bytes=grown(3, 4e6),
        block_write_bytes=grown(4, 1e6),
    )
