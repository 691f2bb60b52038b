"""Storage that exists only in memory; obeys the port to the letter."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fleet.keys import NO_EPOCH, Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.domain.disks import Disk
from fleet_agent.core.images import ImageName, digest_differs
from fleet_agent.core.model import Batch, CloneRun, StepFailure, StepKind, StepResult
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.kins import KinsByName, conflicts
from fleet_agent.drivers.ports.storage import StorageFacts


class HollowStorage:
    """Storage in memory."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._clones = KinsByName()
        # Of the kins that have clones: the image they are of. Of imported images: the digest.
        self.golden: dict[Kin, ImageName] = {}
        self.digests: dict[ImageName, str] = {}

    @property
    def pool_bytes(self) -> int:
        return self._behaviour.profile.pool_bytes

    async def facts(self) -> StorageFacts:
        pool = self.pool_bytes
        return StorageFacts("hollow", pool, pool)

    async def listing(self) -> tuple[CloneRun, ...]:
        newest = self._clones.newest
        return tuple(
            CloneRun(kin, have, newest.get(kin, NO_EPOCH))
            for kin, have in sorted(self._clones.all().items())
        )

    def clone(self, batch: Batch) -> AsyncIterator[StepResult]:
        return self._behaviour.perform(StepKind.CLONE, batch, self._clone)

    def destroy(self, batch: Batch) -> AsyncIterator[StepResult]:
        return self._behaviour.perform(StepKind.DESTROY, batch, self._destroy)

    def disk(self, batch: Batch, index: int) -> Disk:
        return Disk(f"/hollow/{batch.fleet.dataset_name(index)}")

    async def close(self) -> None:
        """Nothing is held."""

    def _clone(self, batch: Batch, indices: IndexSet) -> StepResult:
        image = ImageName(batch.spec.image.name, batch.spec.image.snapshot)
        # Of an image that was never imported nobody knows the content: any digest will do.
        asked = batch.spec.image.digest
        if differs := digest_differs(image, asked, self.digests.get(image, asked)):
            return StepResult(EMPTY, _failures(indices, "image_mismatch", differs))
        taken = self._clones.taken(batch, indices)
        done = indices - taken
        self._clones.add(batch, done)
        self.golden[batch.kin] = image
        return StepResult(done, conflicts(batch, taken))

    def _destroy(self, batch: Batch, indices: IndexSet) -> StepResult:
        self._clones.remove(batch, indices)
        if batch.kin not in self._clones.by_name.get(batch.fleet.name, {}):
            self.golden.pop(batch.kin, None)
        return StepResult(indices)


def _failures(indices: IndexSet, kind: str, message: str) -> tuple[StepFailure, ...]:
    return tuple(StepFailure(index, kind, message, retry=False) for index in indices)
