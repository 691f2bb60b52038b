"""The port behind which every storage looks alike. How batches are done: see `drivers.ports`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from fleet_agent.core.domain.disks import CloneWay, Disk
from fleet_agent.core.model import Batch, CloneRun, StepResult


@dataclass(frozen=True, slots=True)
class StorageFacts:
    """Bytes of the pool, and a name for people, which says how clones are made and why so."""

    description: str
    total_bytes: int
    free_bytes: int
    way: CloneWay | None = None  # None: not known, as while a disk is too full to find out


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

    def disk(self, batch: Batch, index: int) -> Disk:
        """What the hypervisor is to open for the clone, and how. Looks at the clone at most, which
        takes no time; of one that is not there only the path is sure. Raises ActFailed for one that
        cannot be read: it is no matter of the others."""

    async def close(self) -> None: ...
