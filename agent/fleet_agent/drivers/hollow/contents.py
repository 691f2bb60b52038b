"""Contents of hollow hosts' images: a chunk is its digest, and takes no room.

What is handed in from outside is checked as anywhere else, and then forgotten but for its digests.
So thousands of hosts hand images on for real, and what travels is small.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator

from fleet.image_content.manifest import (
    CHUNK,
    DIGEST_BYTES,
    DISK,
    Manifest,
    Part,
    chunk_digest,
)
from fleet.image_content.packing import BadPacking, Packed, unpacked
from fleet_agent.core.images import ImageName
from fleet_agent.drivers.hollow.images import HollowImages
from fleet_agent.drivers.ports.image_content import ImageContent, WrongChunk
from fleet_agent.drivers.ports.images import Image, ImportProgress, NoSuchImage


class HollowContents:
    """The ImageContents port in memory."""

    def __init__(self, images: HollowImages) -> None:
        self._images = images
        self._manifests: dict[ImageName, Manifest] = {}
        self._begun: dict[bytes, tuple[Manifest, set[int]]] = {}

    async def of_image(self, image: ImageName) -> ImageContent:
        held = (await self._images.holdings()).get(image)
        if held is None:
            raise NoSuchImage(f"there is no image {image} on this host")
        manifest = self._manifests.get(image) or _made_up(held)
        return HollowContent(self, manifest, set(manifest.filled()))

    async def begun(self, manifest: Manifest, image: ImageName) -> ImageContent:
        _, present = self._begun.setdefault(manifest.root, (manifest, set()))
        present |= await self._taken_over(manifest, image)
        return HollowContent(self, manifest, present)

    async def begun_before(self, root: bytes, image: ImageName) -> ImageContent | None:
        found = self._begun.get(root)
        return None if found is None else await self.begun(found[0], image)

    async def _taken_over(self, manifest: Manifest, image: ImageName) -> set[int]:
        """Chunks that other versions of the image have as well."""
        here: set[bytes] = set()
        for one in (await self._images.holdings()).images:
            if one.image.name == image.name and one.image != image:
                made = self._manifests.get(one.image) or _made_up(one)
                here |= {made.digest(number) for number in made.filled()}
        return {number for number in manifest.filled() if manifest.digest(number) in here}

    async def forget(self, image: ImageName) -> None:
        self._manifests.pop(image, None)

    async def discard(self, keeping: set[bytes], older_than: float) -> None:
        """Nothing takes room."""

    async def close(self) -> None:
        """Nothing is held."""

    async def keep(
        self, manifest: Manifest, image: ImageName, digest: str, origin: str
    ) -> AsyncGenerator[ImportProgress]:
        """Raises ImageError."""
        content = digest or f"sha256:{manifest.root.hex()}"
        size = manifest.parts[0].size
        made = await self._images.put(image, content, size, origin)
        self._manifests[image] = manifest
        self._begun.pop(manifest.root, None)
        yield ImportProgress("done", size, size, made)


class HollowContent:
    """The ImageContent port in memory."""

    def __init__(self, contents: HollowContents, manifest: Manifest, present: set[int]) -> None:
        self._contents = contents
        self._manifest = manifest
        self._present = present

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    @property
    def present(self) -> set[int]:
        return self._present

    async def read(self, number: int) -> Packed:
        return Packed(self._manifest.digest(number), False)

    async def write(self, number: int, chunk: Packed) -> None:
        digest = self._manifest.digest(number)
        try:
            data = unpacked(chunk.data, compressed=chunk.compressed)
        except BadPacking as error:
            raise WrongChunk(str(error)) from error
        if data != digest and chunk_digest(data) != digest:
            raise WrongChunk(f"chunk {number} does not have its digest")
        self._present.add(number)

    async def spoiled(self) -> set[int]:
        return set()

    def keep(
        self, image: ImageName, digest: str, origin: str, size: int = 0
    ) -> AsyncGenerator[ImportProgress]:
        return self._contents.keep(self._manifest, image, digest, origin)

    async def close(self) -> None:
        """Nothing is held."""


def _made_up(held: Image) -> Manifest:
    """The same for all hosts that have the same image."""
    count = -(-held.size // CHUNK)
    seed = f"{held.digest} {held.size}".encode()
    chunks = b"".join(
        hashlib.sha256(seed + number.to_bytes(8, "big")).digest() for number in range(count)
    )
    assert len(chunks) == count * DIGEST_BYTES
    return Manifest((Part(DISK, held.size, chunks),))
