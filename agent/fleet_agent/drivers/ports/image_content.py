"""The port to an image's content in chunks: read for other hosts, and written as it is fetched.

What was fetched outlives the agent: whoever begins the same content again finds what is there, and
only what has its digest counts. No call blocks the event loop.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from fleet.image_content.manifest import Manifest
from fleet.image_content.packing import Packed
from fleet_agent.core.images import ImageName
from fleet_agent.drivers.ports.images import ImageError, ImportProgress


class WrongChunk(ImageError):
    """It does not have its digest: whoever sent it lied, or its disk does."""

    reason = "WRONG_CHUNK"


class NotReadable(ImageError):
    """This host has the image, and cannot hand it on."""

    reason = "NOT_READABLE"


class ImageContent(Protocol):
    """One content on this host, open until it is closed."""

    @property
    def manifest(self) -> Manifest: ...

    @property
    def present(self) -> set[int]:
        """Chunks that are here. Those of nothing but zeros are not named, and always are."""

    async def read(self, number: int) -> Packed:
        """One that is present. Raises DriverError."""

    async def write(self, number: int, chunk: Packed) -> None:
        """It is present from then on. Raises WrongChunk, PoolFull, DriverError."""

    async def spoiled(self) -> set[int]:
        """Chunks that were present and do not have their digest any more; they are not present from
        then on. Raises DriverError."""

    def keep(
        self, image: ImageName, digest: str, origin: str, size: int = 0
    ) -> AsyncGenerator[ImportProgress]:
        """Make it the image of this name, with this digest where one is given, once all chunks are
        present; it can be read until it is closed. `origin` and `size` as of an ImportOrder. Raises
        ImageError, DriverError."""

    async def close(self) -> None: ...


class ImageContents(Protocol):
    """What this host can hand on and fetch."""

    async def of_image(self, image: ImageName) -> ImageContent:
        """Of an image that is here. Raises NoSuchImage, NotReadable, DriverError."""

    async def begun(self, manifest: Manifest, image: ImageName) -> ImageContent:
        """With what is there of it already: because it was begun before, or because other
        images of that name have the same chunks. Raises PoolFull, DriverError."""

    async def begun_before(self, root: bytes, image: ImageName) -> ImageContent | None:
        """The same for one that was begun, of which the root alone is known. Raises as `begun`."""

    async def forget(self, image: ImageName) -> None:
        """Remove what an image that was deleted had beside its disk. Raises DriverError."""

    async def discard(self, keeping: set[bytes], older_than: float) -> None:
        """Remove what was begun, is not under one of these roots, and was not written to for so
        many seconds. Raises DriverError."""

    async def close(self) -> None: ...
