"""The port behind which seeds are kept: a small disk for each VM that says who it is."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from fleet_agent.core.model import Batch, StepResult
from fleet_agent.core.seed.seed_name import SeedName


class Seeds(Protocol):
    """Seeds, each of one VM and one birth. What is half made counts as not there."""

    def path(self, batch: Batch, index: int) -> str:
        """Where the hypervisor finds the seed. Pure. Raises ValueError."""

    async def make(self, batch: Batch) -> StepResult:
        """A seed for each index; those that exist stay as they are. Failure kinds: bad_spec,
        no_space, storage_error."""

    async def listing(self) -> frozenset[SeedName]:
        """All of them. Raises DriverError."""

    async def remove(self, seeds: Collection[SeedName]) -> None:
        """None of these is there. What cannot be removed is logged."""

    async def close(self) -> None: ...
