"""The ports behind which every hypervisor, and its counters, look alike. How batches are done:
see `drivers.ports`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from fleet_agent.core.domain.disks import Disk
from fleet_agent.core.model import Batch, DomainRun, StepResult
from fleet_agent.core.top import DomainCounters, HostCounters


@dataclass(frozen=True, slots=True)
class HypervisorFacts:
    """What the host has for guests, and a name for people."""

    description: str
    memory_bytes: int
    max_guests: int


class Hypervisor(Protocol):
    """Domains, each marked with fleet uid, index, generation and birth."""

    async def facts(self) -> HypervisorFacts:
        """Raises DriverError."""

    async def listing(self) -> tuple[DomainRun, ...]:
        """Every domain that carries our mark, of any fleet, grouped by kin, phase, the restart for
        which it was last started, what keeps it from running and why it was begun in another way
        than asked for, sorted.

        Raises DriverError.
        """

    def define(
        self, batch: Batch, disk_of: Callable[[Batch, int], Disk]
    ) -> AsyncIterator[StepResult]:
        """A definition for each index, read back and compared. Kinds: conflict, bad_spec,
        hypervisor_error."""

    def start(self, batch: Batch) -> AsyncIterator[StepResult]:
        """Each domain active, and the batch's restart for it remembered with it before it is;
        one that is active already keeps what it has. One that is halted after an error is let go
        on, or where that cannot be, ended and started. Kinds: no_memory, kernel, disk, network,
        console, not_defined, conflict, hypervisor_error."""

    def await_ready(self, batch: Batch) -> AsyncIterator[StepResult]:
        """Each domain ready as the spec's readiness says, remembered with the domain so that a
        restarted agent need not see it again. Kinds: not_ready (its timeout passed; the message
        holds the end of its console), died (not active any more), paused (halted after an error),
        suspended (by somebody on the host). A wait that was cancelled and
        taken up again has used up its share of the timeout."""

    def stop(self, batch: Batch) -> AsyncIterator[StepResult]:
        """Each domain inactive, still defined. Kinds: hypervisor_error."""

    def undefine(self, batch: Batch) -> AsyncIterator[StepResult]:
        """No domain of this kin for any of the indices; stops active ones first.
        Kinds: hypervisor_error."""

    def changes(self) -> AsyncIterator[None]:
        """Yields whenever something may have happened to a domain behind the agent's back; what
        this driver's own acts bring about is left out. A hint to list again, never more: events
        may be lost or doubled."""

    async def close(self) -> None: ...


class Sampler(Protocol):
    """Reads what our domains use. Costs nothing while nobody asks."""

    async def counters(self) -> tuple[HostCounters, tuple[DomainCounters, ...]]:
        """The host, and every active domain that carries our mark. One that vanishes meanwhile
        is left out. Raises DriverError."""

    async def close(self) -> None: ...
