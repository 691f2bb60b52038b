"""The two ports behind which every hypervisor and storage looks alike.

Calls take batches and yield results as they come: each index of the batch appears in exactly
one result, done or failed, and then the iterator ends. A driver decides how to be fast inside
a batch (threads, pipelining); the caller decides what goes into one.

Every step is idempotent: it looks, acts, and looks again. Cloning a clone that already has
the same kin is done at once; destroying what does not exist is done at once. What exists
under the VM's name without our mark, or with the mark of another kin, is never touched: that
index fails with kind "conflict" (retry=False). For destroy, stop and undefine, which ask only
that nothing of this kin be left, such a one is not there: done, and it stays untouched.

Any call may raise DriverError, in the middle of an iteration too; then nothing is known of the
indices without a result. Leave an iteration early only through contextlib.aclosing, so that its
end is not left to the garbage collector.

Cancelling the iteration is allowed at any point: what a driver's threads have begun they
finish, and a later call for the same index waits for it, so that no two acts on one VM overlap.
No call blocks the event loop. Deadlines are the caller's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from fleet.identity import Fleet
from fleet_agent.core.model import Batch, CloneRun, DomainRun, StepResult


class DriverError(Exception):
    """The driver as a whole cannot work (libvirtd gone, pool missing); one sentence.
    The caller retries later; nothing about any VM follows from it."""


@dataclass(frozen=True, slots=True)
class StorageFacts:
    """Bytes of the pool, and a name for people."""

    description: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class HypervisorFacts:
    """What the host has for guests, and a name for people."""

    description: str
    memory_bytes: int
    max_guests: int


class Storage(Protocol):
    """Clones of golden images, each marked with fleet uid, index, generation and birth."""

    async def facts(self) -> StorageFacts:
        """Raises DriverError."""

    async def listing(self) -> tuple[CloneRun, ...]:
        """Every clone that carries our mark, of any fleet, grouped by kin, sorted.

        Raises DriverError.
        """

    def clone(self, batch: Batch) -> AsyncIterator[StepResult]:
        """A clone of the spec's golden image for each index, its device node usable.

        Failure kinds: image_missing, image_mismatch (the digest that the spec asks for is not the
        one recorded of the image), no_space, conflict, node_missing, storage_error.
        """

    def destroy(self, batch: Batch) -> AsyncIterator[StepResult]:
        """No clone of this kin for any of the indices. Failure kinds: busy, storage_error."""

    def disk_path(self, fleet: Fleet, index: int) -> str:
        """Where the hypervisor finds the clone: a device node or a file. Pure."""

    async def close(self) -> None: ...


class Hypervisor(Protocol):
    """Domains, each marked with fleet uid, index, generation and birth."""

    async def facts(self) -> HypervisorFacts:
        """Raises DriverError."""

    async def listing(self) -> tuple[DomainRun, ...]:
        """Every domain that carries our mark, of any fleet, grouped by kin, phase and the
        restart for which it was last started, sorted.

        Raises DriverError.
        """

    def define(
        self, batch: Batch, disk_path: Callable[[Fleet, int], str]
    ) -> AsyncIterator[StepResult]:
        """A definition for each index, read back and compared. Kinds: conflict, bad_spec,
        hypervisor_error."""

    def start(self, batch: Batch) -> AsyncIterator[StepResult]:
        """Each domain active, and the batch's restart for it remembered with it before it is;
        one that is active already keeps what it has. Kinds: no_memory, kernel, disk, network,
        console, not_defined, conflict, hypervisor_error."""

    def await_ready(self, batch: Batch) -> AsyncIterator[StepResult]:
        """Each domain ready as the spec's readiness says, remembered with the domain so that a
        restarted agent need not see it again. Kinds: not_ready (its timeout passed; the message
        holds the end of its console), died (not active any more). A wait that was cancelled and
        taken up again has used up its share of the timeout."""

    def stop(self, batch: Batch) -> AsyncIterator[StepResult]:
        """Each domain inactive, still defined. Kinds: hypervisor_error."""

    def undefine(self, batch: Batch) -> AsyncIterator[StepResult]:
        """No domain of this kin for any of the indices; stops active ones first.
        Kinds: hypervisor_error."""

    def changes(self) -> AsyncIterator[None]:
        """Yields whenever something may have happened to a domain behind the agent's back; what
        this driver's own acts bring about is not told. A hint to list again, never more: events
        may be lost or doubled."""

    async def close(self) -> None: ...
