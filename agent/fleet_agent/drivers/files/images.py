"""Golden images as files: <folder>/images/<name>@<snapshot>, with digest and source in an
extended attribute.

An image is raw, whatever it was imported from. It is written under a temporary name that says it is
being imported, flushed, and only then linked to its own name. A clone remembers its image, and an
image with clones stays: overlays need it, files that share its blocks would not. What is shared
between files is not known without asking for each of their extents, so all blocks of a file count
as its own: `unique` says more than would be freed where the file system shares blocks.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from functools import partial
from pathlib import Path

from fleet_agent.core.domain.marks import Marked
from fleet_agent.core.images import (
    Dataset,
    FilePath,
    ImageName,
    ImportOrder,
    parsed_name,
)
from fleet_agent.drivers.files import calls as file_calls
from fleet_agent.drivers.files.storage import (
    CLONES,
    IMAGES,
    PART_SUFFIX,
    begins_as_qcow2,
    flush_folder,
    own_mark,
)
from fleet_agent.drivers.images import content as image_content
from fleet_agent.drivers.images.jobs import ImageJobs, JobWatcher
from fleet_agent.drivers.ports.errors import NO_ROOM, DriverError
from fleet_agent.drivers.ports.images import (
    BadSource,
    FleetUse,
    Holdings,
    Image,
    ImageError,
    ImportProgress,
    NoSuchImage,
    Pool,
    PoolFull,
    Space,
    already_there,
    image_matches,
    in_use,
)

# What link(2) says where a file cannot have a second name there.
_NO_LINK = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)


class FileImages:
    """The Images port over the folder of a FileStorage."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """The folder must exist when first used; what is below it is made."""
        self._folder = Path(folder)
        self._images = self._folder / IMAGES
        self._clones = self._folder / CLONES
        self._jobs = ImageJobs("images")
        self._preparing = threading.Lock()

    async def holdings(self) -> Holdings:
        return await self._jobs.read(self._holdings)

    def bring(self, order: ImportOrder) -> AsyncGenerator[ImportProgress, None]:
        return self._jobs.watched(partial(self._bring, order))

    def opened(self, image: ImageName) -> int:
        """The image as an open file, to be closed by the caller. Blocking; raises OSError."""
        return os.open(self._images / str(image), os.O_RDONLY | os.O_CLOEXEC)

    async def delete(self, image: ImageName) -> None:
        await self._jobs.change(partial(self._delete, image))

    async def close(self) -> None:
        await self._jobs.close()

    # Looking ------------------------------------------------------------------------------

    def _holdings(self) -> Holdings:
        self._prepare()
        try:
            clones = list(self._marked_clones())
            using = Counter(golden for _, golden, _ in clones)
            images = [
                self._image(named, path, using[str(named)])
                for path in self._images.iterdir()
                if (named := parsed_name(path.name)) and path.is_file()
            ]
            space = os.statvfs(self._folder)
        except OSError as error:
            raise DriverError(f"cannot list {self._folder}: {error.strerror}") from error
        pool = Pool(
            f"{file_calls.filesystem_of(self._folder)} at {self._folder}",
            space.f_blocks * space.f_frsize,
            space.f_bavail * space.f_frsize,
        )
        images.sort(key=lambda one: one.image)
        return Holdings(tuple(images), _fleets(clones), pool)

    def _image(self, named: ImageName, path: Path, clones: int) -> Image:
        held = path.stat()
        recorded = file_calls.image_fields(path)
        taken = held.st_blocks * 512
        digest, source = recorded.get("digest", ""), recorded.get("source", "")
        space = Space(taken, taken)
        return Image(named, digest, held.st_size, space, clones, held.st_mtime, source)

    def _marked_clones(self) -> Iterator[tuple[Marked, str, int]]:
        """Mark, golden image, and bytes taken of each clone of ours."""
        for path in self._clones.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if marked := own_mark(path):
                    taken = path.stat().st_blocks * 512
                    yield marked, file_calls.golden_of(path), taken

    def _one(self, image: ImageName) -> Image | None:
        return self._holdings().get(image)

    def _prepare(self) -> None:
        """Raises DriverError."""
        with self._preparing:
            try:
                for folder in (self._images, self._clones):
                    folder.mkdir(exist_ok=True)
            except OSError as error:
                raise DriverError(
                    f"cannot keep images in {self._folder}: {error.strerror}"
                ) from error

    # Importing ----------------------------------------------------------------------------

    def _bring(self, order: ImportOrder, watcher: JobWatcher) -> Image:
        self._prepare()
        self._sweep()
        existing = self._one(order.image)
        if existing and order.digest and existing.digest == order.digest:
            return existing
        if isinstance(order.source, Dataset):
            raise BadSource(
                f"{order.source} is a dataset, and this host keeps its images as files: give "
                "the absolute path of a file or a directory"
            )
        part = self._images / f".{order.image}{PART_SUFFIX}"
        try:
            self._write(order, order.source, part, watcher)
            return self._publish(order, part, existing)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise PoolFull(f"{self._folder} is full; nothing was kept") from error
            where = error.filename or part
            raise ImageError(f"cannot import: {where}: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)

    def _write(self, order: ImportOrder, source: FilePath, part: Path, watcher: JobWatcher) -> None:
        content = image_content.content_of(order, Path(source.path), watcher)
        if order.consumes and content.raw and self._taken(source, part):
            digest = self._grown(part, content.size, watcher)
        else:
            digest = self._poured(content, part, watcher)
        image_matches(order, digest)
        with part.open("r+b") as file:
            fields = {"digest": digest, "source": order.recorded_source}
            file_calls.write_image_fields(file.fileno(), fields)
            os.fsync(file.fileno())

    def _taken(self, source: FilePath, part: Path) -> bool:
        """Whether the file itself is the part now. It keeps its own name as well: an agent that is
        killed before the image has its own finds the content again."""
        part.unlink(missing_ok=True)
        try:
            os.link(source.path, part)
        except OSError as error:
            if error.errno in _NO_LINK:
                return False
            raise
        return True

    def _grown(self, part: Path, size: int, watcher: JobWatcher) -> str:
        with part.open("r+b") as file:
            file_calls.write_importing(file.fileno())
            file.truncate(size)
            os.fchmod(file.fileno(), 0o644)
        return image_content.digest_of(part, watcher)

    def _poured(self, content: image_content.Content, part: Path, watcher: JobWatcher) -> str:
        space = os.statvfs(self._folder)
        image_content.check_room(content.needed, space.f_bavail * space.f_frsize, str(self._folder))
        with part.open("wb") as file:
            file_calls.write_importing(file.fileno())
            file.truncate(content.size)
        return content.pour(part, watcher)

    def _publish(self, order: ImportOrder, part: Path, existing: Image | None) -> Image:
        path = self._images / str(order.image)
        fields = file_calls.image_fields(part)
        if existing is None:
            os.link(part, path)
            file_calls.clear_importing(path)
        elif not existing.digest and path.samefile(order.source_text):
            if begins_as_qcow2(path):
                raise BadSource(
                    f"{path} is a qcow2, and images there are raw: move it away and import it from "
                    "where it is then"
                )
            with path.open("rb") as file:
                file_calls.write_image_fields(file.fileno(), fields)
        elif existing.digest != fields["digest"]:
            raise already_there(existing, fields["digest"])
        flush_folder(self._images)
        made = self._one(order.image)
        if made is None:
            raise ImageError(f"{path} vanished as soon as it was made")
        return made

    def _sweep(self) -> None:
        """Remove what imports of a killed agent have left."""
        for part in self._images.glob(f".*{PART_SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):
                if file_calls.is_importing(part):
                    part.unlink()

    # Removing -----------------------------------------------------------------------------

    def _delete(self, image: ImageName) -> None:
        self._prepare()
        with file_calls.held(self._images, turn=self._clones, alone=True):
            self._delete_unused(image)

    def _delete_unused(self, image: ImageName) -> None:
        existing = self._one(image)
        if existing is None:
            raise NoSuchImage(f"there is no image {image} in {self._images}")
        if existing.clones:
            raise in_use(existing)
        try:
            (self._images / str(image)).unlink(missing_ok=True)
            flush_folder(self._images)
        except OSError as error:
            raise ImageError(f"cannot remove {image}: {error.strerror}") from error


def _fleets(clones: list[tuple[Marked, str, int]]) -> tuple[FleetUse, ...]:
    counts: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    for marked, _, size in clones:
        counts[marked.kin.fleet_uid] += 1
        taken[marked.kin.fleet_uid] += size
    return tuple(
        FleetUse(uid, counts[uid], Space(taken[uid], taken[uid])) for uid in sorted(counts)
    )
