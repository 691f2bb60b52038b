"""Clones as files, for hosts without ZFS: <folder>/clones/<fleet name>-<index>, made from
<folder>/images/<image>@<snapshot>: sharing its blocks where the file system can (xfs, btrfs), else
as an overlay on it or copied. A clone says itself what it is, so a folder may hold all kinds.

A clone is written under a temporary name, marked, flushed, and only then linked to its own
name: whatever has that name is whole. Temporary files of a killed agent are swept at start.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import BinaryIO

from fleet.identity import Fleet
from fleet_agent.core.domain.disks import CloneWay, Disk, DiskFormat
from fleet_agent.core.domain.marks import Marked, clone_runs, foreign_mark, mark_fields
from fleet_agent.core.images import QCOW2_MAGIC, ImageName, digest_differs
from fleet_agent.core.model import Batch, CloneRun, StepResult
from fleet_agent.drivers.files import calls as file_calls
from fleet_agent.drivers.files import overlays
from fleet_agent.drivers.files.ways import FOR_ALL, taken, way_in_words
from fleet_agent.drivers.lanes import ActFailed, Lanes
from fleet_agent.drivers.ports.errors import NO_ROOM, DriverError
from fleet_agent.drivers.ports.images import ImageError
from fleet_agent.drivers.ports.storage import StorageFacts

IMAGES = "images"
CLONES = "clones"
PART_SUFFIX = ".part"

LOOKING_THREADS = 2


class FileStorage:
    """The Storage port over one folder."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        ways: Sequence[CloneWay] = FOR_ALL,
        threads: int = 4,
    ) -> None:
        """The folder must exist when first used; what is below it is made. `ways`: to make a
        clone, the best one first; the last one is always possible."""
        self._folder = Path(folder).absolute()  # overlays and definitions name it
        self._images = self._folder / IMAGES
        self._clones = self._folder / CLONES
        self._preparing = threading.Lock()
        self._prepared = False
        self._ways = ways
        self._way: CloneWay | None = None
        self._lanes = Lanes()
        self._acting = ThreadPoolExecutor(threads, "files")
        self._looking = ThreadPoolExecutor(LOOKING_THREADS, "files-look")

    async def facts(self) -> StorageFacts:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._looking, self._facts)

    async def listing(self) -> tuple[CloneRun, ...]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._looking, self._listing)

    def clone(self, batch: Batch) -> AsyncIterator[StepResult]:
        # Looked up once, not for each VM; a failure is not kept, so that each VM tells of it.
        golden = cache(partial(self._golden, batch))
        act, name_of = partial(self._clone, batch, golden), batch.fleet.domain_name
        return self._lanes.run(self._acting, name_of, batch.indices, act)

    def destroy(self, batch: Batch) -> AsyncIterator[StepResult]:
        act, name_of = partial(self._destroy, batch), batch.fleet.domain_name
        return self._lanes.run(self._acting, name_of, batch.indices, act)

    def disk(self, batch: Batch, index: int) -> Disk:
        clone = self._path(batch.fleet, index)
        try:
            format = file_calls.format_of(clone)
            backing = file_calls.golden_of(clone) if format is DiskFormat.QCOW2 else ""
        except FileNotFoundError:
            return Disk(str(clone))
        except (OSError, ValueError) as error:
            raise ActFailed("storage_error", f"cannot tell what {clone} is: {error}") from error
        return Disk(str(clone), format, str(self._images / backing) if backing else "")

    async def close(self) -> None:
        """Wait for the acts that threads have begun."""
        await self._lanes.idle()
        for pool in (self._acting, self._looking):
            pool.shutdown(wait=False)

    def _path(self, fleet: Fleet, index: int) -> Path:
        return self._clones / fleet.dataset_name(index)

    def _prepare(self) -> None:
        """Once: the folders and the sweep. Needs no room, so that clones can always be listed
        and destroyed. Raises DriverError."""
        with self._preparing:
            if self._prepared and self._clones.is_dir():
                return
            try:
                for folder in (self._images, self._clones):
                    folder.mkdir(exist_ok=True)
                for part in self._clones.glob(f".*{PART_SUFFIX}"):
                    part.unlink(missing_ok=True)
            except OSError as error:
                raise DriverError(
                    f"cannot keep clones in {self._folder}: {error.strerror}"
                ) from error
            self._prepared = True

    def _facts(self) -> StorageFacts:
        self._prepare()
        space = os.statvfs(self._folder)
        filesystem = file_calls.filesystem_of(self._folder)
        self._way = self._way or self._found_way()
        words = way_in_words(self._ways, self._way) if self._way else "files"
        return StorageFacts(
            f"{words} on {filesystem} at {self._folder}",
            space.f_blocks * space.f_frsize,
            space.f_bavail * space.f_frsize,
            self._way,
        )

    def _found_way(self) -> CloneWay | None:
        """How clones are made here; None when a full disk leaves no room to find out."""
        if CloneWay.REFLINK not in self._ways:
            return taken(self._ways, shares=False)
        try:
            return taken(self._ways, file_calls.can_reflink(self._images, self._clones))
        except OSError as error:
            if error.errno in NO_ROOM:
                return None
            raise DriverError(f"cannot write in {self._clones}: {error.strerror}") from error

    def _listing(self) -> tuple[CloneRun, ...]:
        self._prepare()
        return clone_runs(one for path in self._clones.iterdir() if (one := own_mark(path)))

    def _clone(self, batch: Batch, golden: Callable[[], Path], index: int) -> None:
        self._prepare()
        clone = self._path(batch.fleet, index)
        if _is_done(clone, batch, index):
            return
        part = clone.with_name(f".{clone.name}{PART_SUFFIX}")
        try:
            # Nobody removes the image before its clone is there to be counted.
            with file_calls.held(self._images, turn=self._clones, alone=False):
                self._write(golden(), part, batch, index)
                with contextlib.suppress(FileExistsError):
                    os.link(part, clone)
            flush_folder(self._clones)
        except OSError as error:
            raise _refusal(error, clone) from error
        except ImageError as error:
            raise ActFailed("storage_error", f"cannot make {clone}: {error}") from error
        finally:
            part.unlink(missing_ok=True)
        if not _is_done(clone, batch, index):
            raise ActFailed("storage_error", f"{clone} vanished as soon as it was made")

    def _write(self, image: Path, part: Path, batch: Batch, index: int) -> None:
        with image.open("rb") as golden, part.open("w+b") as file:
            self._fill(golden, file, image, batch.spec.disk.size_bytes)
            file_calls.write_golden(file.fileno(), image.name)
            file_calls.write_mark(file.fileno(), mark_fields(batch, index))
            os.fsync(file.fileno())

    def _fill(self, golden: BinaryIO, clone: BinaryIO, image: Path, size: int) -> None:
        """The first of the ways that can be gone. `size` in bytes; 0: the image's."""
        shares = CloneWay.REFLINK in self._ways and file_calls.reflink(
            golden.fileno(), clone.fileno()
        )
        way = taken(self._ways, shares)
        if way is CloneWay.OVERLAY:
            overlays.seal(image)
            whole = size or os.fstat(golden.fileno()).st_size
            overlays.write_overlay(clone.fileno(), overlays.empty_overlay(image, whole))
            file_calls.write_format(clone.fileno(), DiskFormat.QCOW2)
            return
        if way is CloneWay.COPY:
            file_calls.copy(golden.fileno(), clone.fileno())
        if size:
            clone.truncate(size)

    def _golden(self, batch: Batch) -> Path:
        image = batch.spec.image
        name = f"{image.name}@{image.snapshot}"
        if "/" in name or "\0" in name or not image.name:
            raise ActFailed("bad_spec", f"{name!r} names no image", retry=False)
        golden = self._images / name
        if not golden.is_file():
            raise ActFailed("image_missing", f"the golden image {golden} is not on this host")
        recorded = file_calls.image_fields(golden).get("digest", "")
        if not recorded and begins_as_qcow2(golden):
            raise ActFailed(
                "image_mismatch",
                f"{golden} is a qcow2 that was put there by hand, and images there are raw: move "
                f"it away and import it ('fleetctl images import {name} FILE')",
                retry=False,
            )
        named = ImageName(image.name, image.snapshot)
        if differs := digest_differs(named, image.digest, recorded):
            raise ActFailed("image_mismatch", differs, retry=False)
        return golden

    def _destroy(self, batch: Batch, index: int) -> None:
        self._prepare()
        clone = self._path(batch.fleet, index)
        try:
            marked = file_calls.mark_of(clone)
            if marked is not None and marked.is_of(batch, index):
                clone.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            raise ActFailed("storage_error", f"cannot remove {clone}: {error.strerror}") from error


def begins_as_qcow2(image: Path) -> bool:
    with image.open("rb") as file:
        return file.read(len(QCOW2_MAGIC)) == QCOW2_MAGIC


def _is_done(clone: Path, batch: Batch, index: int) -> bool:
    """Whether this very clone exists. Raises ActFailed when something else has its name."""
    try:
        marked = file_calls.mark_of(clone)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _refusal(error, clone) from error
    if whose := foreign_mark(marked, batch, index):
        raise ActFailed(
            "conflict", f"{clone} exists, a file {whose}; it is left alone", retry=False
        )
    return True


def own_mark(path: Path) -> Marked | None:
    """The mark of a clone under its own name; None for anything else, or when it vanished."""
    try:
        marked = file_calls.mark_of(path)
    except FileNotFoundError:
        return None
    if marked is None or not path.name.endswith(f"-{marked.index}"):
        return None
    return None if path.name.startswith(".") else marked


def _refusal(error: OSError, clone: Path) -> ActFailed:
    kind = "no_space" if error.errno in NO_ROOM else "storage_error"
    hint = "; the file system needs user attributes" if error.errno == errno.ENOTSUP else ""
    return ActFailed(kind, f"cannot make {clone}: {error.strerror}{hint}")


def flush_folder(folder: Path) -> None:
    """Make a new name in the folder outlast a crash of the host."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
