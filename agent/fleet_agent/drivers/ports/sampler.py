"""The port behind which every hypervisor's counters look alike."""

from __future__ import annotations

from typing import Protocol

from fleet_agent.core.top import DomainCounters, HostCounters


class Sampler(Protocol):
    """Looks at what our domains use. Costs nothing while nobody asks."""

    async def counters(self) -> tuple[HostCounters, tuple[DomainCounters, ...]]:
        """The host, and every active domain that carries our mark. One that vanishes meanwhile
        is left out. Raises DriverError."""

    async def close(self) -> None: ...
