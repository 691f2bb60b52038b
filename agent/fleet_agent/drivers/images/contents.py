"""The ImageContents port over a host's images and a folder for what is fetched.

An image's kernel and initrd lie in a folder of kernels, named after the image.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from fleet.image_content.manifest import DISK, MAX_BYTES, PARTS, Manifest, Part
from fleet.image_content.packing import Packed
from fleet_agent.core.images import FilePath, ImageName, ImportOrder
from fleet_agent.drivers.images.boot_files import BootFiles
from fleet_agent.drivers.images.earlier_versions import EarlierVersion, by_digest, versions_of
from fleet_agent.drivers.images.staged_content import (
    OpenFile,
    OpenParts,
    StagingFolder,
    chunks_of,
    whole_chunks,
)
from fleet_agent.drivers.ports.errors import DriverError
from fleet_agent.drivers.ports.image_content import ImageContent, NotReadable
from fleet_agent.drivers.ports.images import (
    ImageMismatch,
    Images,
    ImportProgress,
    NoSuchImage,
    already_there,
)

log = structlog.get_logger()

T = TypeVar("T")
_REMEMBERED = 16

Stamps = tuple[tuple[str, int, int, int], ...]

Opened = Callable[[ImageName], int]
"""A file that reads as the image of this name, to be closed by the caller. Blocking; raises
OSError, NotReadable."""


class StagedContents:
    """`disks`: opens the disks of images that are there; `kernels`: the folder of kernels."""

    def __init__(
        self,
        images: Images,
        folder: Path,
        kernels: Path,
        disks: Opened,
        versions: Opened | None = None,
    ) -> None:
        """`versions` opens a disk that has much in common with an image that is there, where the
        image itself cannot be read."""
        self._images = images
        self._staging = StagingFolder(folder)
        self._boot_files = BootFiles(kernels)
        self._disks = disks
        self._versions = versions or disks
        self._threads = ThreadPoolExecutor(2, "image-content")
        self._known: dict[tuple[ImageName, str, Stamps], Manifest] = {}

    async def of_image(self, image: ImageName) -> ImageContent:
        held = (await self._images.holdings()).get(image)
        if held is None:
            raise NoSuchImage(f"there is no image {image} on this host")
        parts = await self._in_thread(lambda: self._whole(image, held.digest))
        return StagedContent(self, parts, set(parts.manifest.filled()))

    async def begun(self, manifest: Manifest, image: ImageName) -> ImageContent:
        parts = await self._in_thread(lambda: self._staging.begun(manifest))
        return await self._content(parts, image)

    async def begun_before(self, root: bytes, image: ImageName) -> ImageContent | None:
        parts = await self._in_thread(lambda: self._staging.begun_before(root))
        return None if parts is None else await self._content(parts, image)

    async def discard(self, keeping: set[bytes], older_than: float) -> None:
        await self._in_thread(lambda: self._staging.discard(keeping, older_than))

    async def forget(self, image: ImageName) -> None:
        await self._in_thread(lambda: self._boot_files.remove(image))

    async def close(self) -> None:
        self._threads.shutdown(wait=False)

    async def _content(self, parts: OpenParts, image: ImageName) -> StagedContent:
        present = await self._in_thread(lambda: whole_chunks(parts))
        taken = await self._taken_over(parts, present, image)
        return StagedContent(self, parts, present | taken)

    async def _taken_over(self, parts: OpenParts, present: set[int], image: ImageName) -> set[int]:
        """What other versions of the image have of it. Raises PoolFull, DriverError."""
        taken: set[int] = set()
        lacking = by_digest(parts.manifest, set(parts.manifest.filled()) - present)
        if not lacking:
            return taken
        for version in versions_of(image, (await self._images.holdings()).images):
            with contextlib.suppress(OSError, NotReadable):  # then it is fetched
                earlier = await self._in_thread(partial(self._version, version))
                for offsets in earlier.stretches():
                    if lacking:
                        taken |= await self._in_thread(
                            partial(earlier.give, offsets, lacking, parts)
                        )
        if taken:
            log.info("chunks were here already", image=str(image), chunks=len(taken))
        return taken

    def _version(self, image: ImageName) -> EarlierVersion:
        """Raises OSError, NotReadable."""
        return EarlierVersion(OpenFile(self._versions(image)))

    async def _in_thread(self, job: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, job)

    def _whole(self, image: ImageName, digest: str) -> OpenParts:
        """Raises NotReadable, DriverError."""
        files: dict[str, OpenFile] = {}
        try:
            files[DISK] = OpenFile(self._disks(image))
            for part, path in self._boot_files.of(image).items():
                if path.is_file():
                    files[part] = OpenFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            # The digest tells another disk, and nothing of the kernel.
            known = image, digest, _stamps(files)
            manifest = self._known.get(known) or _manifest(files)
        except OSError as error:
            raise DriverError(f"cannot read {image}: {error.strerror}") from error
        if digest:
            while len(self._known) >= _REMEMBERED:
                self._known.pop(next(iter(self._known)))
            self._known[known] = manifest
        return OpenParts(manifest, files)

    async def keep(
        self, parts: OpenParts, image: ImageName, digest: str, size: int, origin: str
    ) -> AsyncGenerator[ImportProgress]:
        """As of the port."""
        existing = (await self._images.holdings()).get(image)
        if existing and digest and existing.digest != digest:
            raise already_there(existing, digest)
        await self._in_thread(parts.flush)
        beside = {
            part.name: self._staging.path(parts.manifest, part.name)
            for part in parts.manifest.parts[1:]
        }
        mark = parts.manifest.root.hex()[:16]
        source = FilePath(str(self._staging.path(parts.manifest, DISK)))
        order = ImportOrder(image, source, digest, size, consumes=True, origin=origin)
        try:
            await self._in_thread(lambda: self._boot_files.copy(image, beside, mark))
            async with aclosing(self._images.bring(order)) as bringing:
                async for progress in bringing:
                    if progress.image is not None:
                        await self._in_thread(lambda: self._boot_files.put(image, mark))
                        await self._in_thread(lambda: self._staging.forget(parts.manifest))
                    yield progress
        except ImageMismatch:
            # All chunks are as they should be, and the whole is not: nothing of it is of use.
            await self._in_thread(lambda: self._staging.forget(parts.manifest))
            raise
        finally:
            await self._in_thread(lambda: self._boot_files.drop(image, mark))


class StagedContent:
    """The ImageContent port over open files."""

    def __init__(self, contents: StagedContents, parts: OpenParts, present: set[int]) -> None:
        self._contents = contents
        self._parts = parts
        self._present = present

    @property
    def manifest(self) -> Manifest:
        return self._parts.manifest

    @property
    def present(self) -> set[int]:
        return self._present

    async def read(self, number: int) -> Packed:
        return await self._contents._in_thread(lambda: self._parts.packed(number))

    async def write(self, number: int, chunk: Packed) -> None:
        await self._contents._in_thread(lambda: self._parts.write(number, chunk))
        self._present.add(number)

    async def spoiled(self) -> set[int]:
        there = await self._contents._in_thread(lambda: whole_chunks(self._parts))
        bad = self._present - there
        self._present -= bad
        return bad

    def keep(
        self, image: ImageName, digest: str, origin: str, size: int = 0
    ) -> AsyncGenerator[ImportProgress]:
        return self._contents.keep(self._parts, image, digest, size, origin)

    async def close(self) -> None:
        self._parts.close()


def _manifest(files: dict[str, OpenFile]) -> Manifest:
    """Raises OSError, NotReadable."""
    sizes = {name: os.lseek(file.number, 0, os.SEEK_END) for name, file in files.items()}
    if sizes[DISK] > MAX_BYTES:
        raise NotReadable(f"an image that travels has at most {MAX_BYTES:,} bytes")
    return Manifest(
        tuple(
            Part(name, sizes[name], chunks_of(files[name].number, sizes[name]))
            for name in PARTS
            if name in files
        )
    )


def _stamps(files: dict[str, OpenFile]) -> Stamps:
    """Of the files beside the disk. Raises OSError."""
    return tuple(
        (name, about.st_size, about.st_mtime_ns, about.st_ino)
        for name, about in ((name, os.fstat(file.number)) for name, file in files.items())
        if name != DISK
    )
