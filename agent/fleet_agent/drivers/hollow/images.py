"""Golden images that exist only in memory, beside a hollow host's clones.

Nothing is read on an import: the digest follows from what the source is called, and the size is
the one asked for. Images of clones that were never imported are listed too, as they would be
on a host where somebody made them by hand. A clone takes no bytes of its own.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncGenerator

from fleet_agent.core.images import FilePath, ImageName, ImportOrder, whole_blocks
from fleet_agent.core.model import CloneRun
from fleet_agent.drivers.hollow.storage import HollowStorage
from fleet_agent.drivers.ports.images import (
    FleetUse,
    Holdings,
    Image,
    ImportProgress,
    NoSuchImage,
    Pool,
    PoolFull,
    Space,
    already_there,
    image_matches,
    in_use,
)

# Of an image whose size nobody has said.
SIZE = 1 << 30


class HollowImages:
    """The Images port in memory."""

    def __init__(self, storage: HollowStorage) -> None:
        self._storage = storage
        self._imported: dict[ImageName, Image] = {}

    async def holdings(self) -> Holdings:
        runs = await self._storage.listing()
        using = self._clones_by_image(runs)
        images = tuple(
            self._image(named, using[named]) for named in sorted({*self._imported, *using})
        )
        total = self._storage.pool_bytes
        taken = sum(one.space.unique for one in images)
        pool = Pool("hollow", total, max(0, total - taken))
        return Holdings(images, self._fleets(runs), pool)

    async def bring(self, order: ImportOrder) -> AsyncGenerator[ImportProgress, None]:
        held = await self.holdings()
        size = whole_blocks(order.size or SIZE)
        digest = f"sha256:{hashlib.sha256(order.source_text.encode()).hexdigest()}"
        yield ImportProgress("copying", 0, size)
        existing = held.get(order.image)
        if existing is None or not order.digest or existing.digest != order.digest:
            self._add(order, digest, size, held, existing)
        image = (await self.holdings()).get(order.image)
        yield ImportProgress("done", size, size, image)

    def _add(
        self, order: ImportOrder, digest: str, size: int, held: Holdings, existing: Image | None
    ) -> None:
        image_matches(order, digest)
        if existing is None or not existing.digest:
            if size > held.pool.free:
                raise PoolFull(
                    f"the image takes {size} bytes, and the pool has {held.pool.free} free"
                )
            space, source = Space(size, size), order.recorded_source
            self._storage.digests[order.image] = digest
            self._imported[order.image] = Image(order.image, digest, size, space, 0, 0.0, source)
        elif digest != existing.digest:
            raise already_there(existing, digest)

    async def put(self, image: ImageName, digest: str, size: int, origin: str) -> Image:
        """The image, with this content. Raises ImageError."""
        held = await self.holdings()
        existing = held.get(image)
        order = ImportOrder(image, FilePath("/"), digest, size, origin=origin)
        self._add(order, digest, size, held, existing)
        made = (await self.holdings()).get(image)
        assert made is not None
        return made

    async def delete(self, image: ImageName) -> None:
        existing = (await self.holdings()).get(image)
        if existing is None:
            raise NoSuchImage(f"there is no image {image} on this host")
        if existing.clones:
            raise in_use(existing)
        self._imported.pop(image, None)
        self._storage.digests.pop(image, None)

    async def close(self) -> None:
        """Nothing is held."""

    def _clones_by_image(self, runs: tuple[CloneRun, ...]) -> Counter[ImageName]:
        using: Counter[ImageName] = Counter()
        for run in runs:
            using[self._storage.golden[run.kin]] += len(run.indices)
        return using

    def _image(self, named: ImageName, clones: int) -> Image:
        one = self._imported.get(named)
        if one is None:
            return Image(named, "", SIZE, Space(SIZE, SIZE), clones, 0.0, "")
        return Image(named, one.digest, one.size, one.space, clones, one.created, one.source)

    def _fleets(self, runs: tuple[CloneRun, ...]) -> tuple[FleetUse, ...]:
        clones: Counter[str] = Counter()
        referenced: Counter[str] = Counter()
        for run in runs:
            image = self._image(self._storage.golden[run.kin], 0)
            clones[run.kin.fleet_uid] += len(run.indices)
            referenced[run.kin.fleet_uid] += image.size * len(run.indices)
        return tuple(
            FleetUse(uid, clones[uid], Space(referenced[uid], 0)) for uid in sorted(clones)
        )
