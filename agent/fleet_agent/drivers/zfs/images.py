"""Golden images as ZFS volumes: <parent>/<name> with a snapshot <snapshot>, digest and source as
user properties of the snapshot.

An import is staged in a volume of its own, marked as being imported. When it is whole and has
the digest asked for, it gets its snapshot, and then its name: until then there is no image, from
then on a whole one. Where the volume exists already, with other snapshots, the blocks that differ
are written into it, and it is rolled back when that does not come to its end. At every instant
the mark says what a killed agent has left, and the next one removes it.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import AsyncGenerator, Iterator
from functools import partial
from pathlib import Path

from fleet_agent.core.images import ImageName, ImportOrder
from fleet_agent.drivers.images import content as image_content
from fleet_agent.drivers.images.jobs import ImageJobs, JobWatcher
from fleet_agent.drivers.ports.errors import NO_ROOM
from fleet_agent.drivers.ports.image_content import NotReadable
from fleet_agent.drivers.ports.images import (
    Holdings,
    Image,
    ImageError,
    ImportProgress,
    NoSuchImage,
    NotAnImage,
    Pool,
    PoolFull,
    already_there,
    image_matches,
    in_use,
)
from fleet_agent.drivers.zfs.calls import DIGEST, ZfsError
from fleet_agent.drivers.zfs.holdings import (
    STAGED,
    Volume,
    Volumes,
    fleets_of,
    images_of,
    volumes_of,
)
from fleet_agent.drivers.zfs.image_calls import (
    IMPORTING,
    SOURCE,
    HostZfsImages,
    ZfsImageCalls,
)
from fleet_agent.drivers.zfs.staging import SENT, Staging, destroy, retried


class ZfsImages:
    """The Images port over one dataset, which holds golden images and clones alike."""

    def __init__(self, parent: str, *, calls: ZfsImageCalls | None = None) -> None:
        """`parent`: a pool or a dataset of it. Raises DriverError when the host's libzfs_core is
        missing or not the host's."""
        self._calls = calls or HostZfsImages()
        self._parent = parent
        self._staging = Staging(self._calls, parent)
        self._jobs = ImageJobs("images")
        self._swept = False

    async def holdings(self) -> Holdings:
        if not self._swept:
            await self._jobs.change(self._sweep)
        return await self._jobs.read(self._holdings)

    def bring(self, order: ImportOrder) -> AsyncGenerator[ImportProgress, None]:
        return self._jobs.watched(partial(self._bring, order))

    def opened(self, image: ImageName) -> int:
        """Blocking; raises NotReadable: a snapshot has no device node to be read from."""
        raise NotReadable(
            f"this host keeps {image} as a ZFS snapshot, which it does not hand on; push it to a "
            "host that keeps its images as files"
        )

    def opened_volume(self, image: ImageName) -> int:
        """The volume that the image is a snapshot of, as it is now: its content, where it is the
        latest one. Blocking; raises OSError."""
        name = f"{self._parent}/{image.name}"
        self._calls.node(name)
        return os.open(self._calls.node_path(name), os.O_RDONLY | os.O_CLOEXEC)

    async def delete(self, image: ImageName) -> None:
        await self._jobs.change(partial(self._delete, image))

    async def close(self) -> None:
        await self._jobs.close()

    def _volumes(self) -> Volumes:
        return volumes_of(self._calls.entries(self._parent), self._parent)

    def _holdings(self) -> Holdings:
        volumes = self._volumes()
        used, available = self._calls.pool_space(self._parent)
        pool = Pool(self._parent.partition("/")[0], used + available, available)
        return Holdings(images_of(volumes), fleets_of(volumes), pool)

    # Importing ----------------------------------------------------------------------------

    def _bring(self, order: ImportOrder, watcher: JobWatcher) -> Image:
        self._swept = True
        self._sweep()
        existing = self._there(order.image)
        if existing and order.digest and existing.digest == order.digest:
            return existing
        staged = f"{self._parent}/{STAGED}{uuid.uuid4().hex[:12]}"
        try:
            with self._translated(f"cannot import {order.source_text}"):
                digest = self._staging.stage(order, staged, watcher)
                image_matches(order, digest)
                self._publish(order, staged, digest, watcher)
        finally:
            self._discard(staged)
        made = self._there(order.image)
        if made is None:
            raise ImageError(f"{order.image} vanished as soon as it was made")
        return made

    def _there(self, image: ImageName) -> Image | None:
        """Raises NotAnImage when something else has its name."""
        volumes = self._volumes()
        volume, name = volumes.get(image.name), f"{self._parent}/{image.name}"
        if volume is None:
            if self._calls.source(name) is not None:
                raise NotAnImage(f"{name} exists and is no volume; choose another name")
            return None
        if not volume.is_golden:
            raise NotAnImage(f"{name} is a clone or a VM's disk; choose another name")
        if not volume.snapshots:
            raise NotAnImage(
                f"{name} exists without a snapshot, so it is no image yet: snapshot it, or choose "
                "another name"
            )
        return next((one for one in images_of(volumes) if one.image == image), None)

    def _publish(self, order: ImportOrder, staged: str, digest: str, watcher: JobWatcher) -> None:
        name = f"{self._parent}/{order.image.name}"
        recorded = {DIGEST: digest, SOURCE: order.recorded_source}
        existing = self._there(order.image)
        volume = self._volumes().get(order.image.name)
        if existing is not None:
            if not existing.digest and order.source_text == f"{self._parent}/{order.image}":
                self._calls.set_properties(order.source_text, recorded)
            elif existing.digest != digest:
                raise already_there(existing, digest)
        elif volume is not None:
            self._merge(volume, staged, order.image, recorded, watcher)
        else:
            self._calls.snapshot(f"{staged}@{order.image.snapshot}", recorded)
            retried(lambda: self._calls.rename(staged, name))
            self._calls.clear(name, IMPORTING)

    def _merge(
        self,
        volume: Volume,
        staged: str,
        image: ImageName,
        recorded: dict[str, str],
        watcher: JobWatcher,
    ) -> None:
        """A further snapshot of a volume that has some: what does not differ is shared."""
        name = volume.entry.name
        if volume.entry.written:
            raise NotAnImage(
                f"{name} has been written to since its latest snapshot; snapshot that, or choose "
                "another name"
            )
        self._calls.set_properties(name, {IMPORTING: self._parent})
        try:
            self._overwrite(name, staged, watcher)
            self._calls.snapshot(f"{name}@{image.snapshot}", recorded)
        finally:
            self._restore(image.name)

    def _overwrite(self, name: str, staged: str, watcher: JobWatcher) -> None:
        source = self._staging.node(staged, 0, watcher)
        size = _device_size(source)
        self._calls.set_properties(name, {"volsize": str(size)})
        # Exclusively: a volume that is mounted, or a guest's disk, must not change beneath it.
        target = os.open(
            self._staging.node(name, size, watcher), os.O_RDWR | os.O_EXCL | os.O_CLOEXEC
        )
        try:
            with source.open("rb", buffering=0) as staged_node:
                image_content.copy(staged_node.fileno(), target, size, watcher, over=True)
        finally:
            os.close(target)

    # Removing -----------------------------------------------------------------------------

    def _delete(self, image: ImageName) -> None:
        self._swept = True
        self._sweep()
        volumes = self._volumes()
        volume = volumes.get(image.name)
        if volume is not None and not volume.is_golden:
            raise NotAnImage(f"{self._parent}/{image.name} is a clone or a VM's disk, not an image")
        existing = next((one for one in images_of(volumes) if one.image == image), None)
        if existing is None or volume is None:
            raise NoSuchImage(f"there is no image {image} in {self._parent}")
        if existing.clones:
            raise in_use(existing)
        with self._translated(f"cannot remove {image}"):
            # What was written after the only snapshot is somebody's work, and stays.
            whole = len(volume.snapshots) == 1 and not volume.entry.written
            if whole:
                self._calls.set_properties(volume.entry.name, {IMPORTING: self._parent})
            try:
                destroy(self._calls, f"{self._parent}/{image}")
            except ZfsError:
                if whole:
                    self._calls.clear(volume.entry.name, IMPORTING)
                raise
            if whole:
                destroy(self._calls, volume.entry.name)

    def _sweep(self) -> None:
        """Remove what a killed agent has left: only what bears the mark of such work. What is
        still busy is left for the next time."""
        volumes = self._volumes()
        for name, volume in volumes.items():
            if volume.entry.importing == self._parent and volume.is_golden:
                with contextlib.suppress(ZfsError):
                    if name.startswith(STAGED) or not volume.snapshots:
                        self._discard_volume(volume)
                    else:
                        self._restore(name)
        for snapshot in self._calls.left_snapshots(self._parent):
            if snapshot.partition("@")[2].startswith(SENT):
                with contextlib.suppress(ZfsError):
                    destroy(self._calls, snapshot)
        self._swept = True

    def _discard(self, staged: str) -> None:
        """Nothing of it is left, unless it is busy: then the next sweep takes it."""
        volume = self._volumes().get(staged.removeprefix(f"{self._parent}/"))
        if volume is not None:
            with contextlib.suppress(ZfsError):
                self._discard_volume(volume)

    def _discard_volume(self, volume: Volume) -> None:
        for snapshot in volume.snapshots.values():
            destroy(self._calls, snapshot.name)
        destroy(self._calls, volume.entry.name)

    def _restore(self, name: str) -> None:
        """A volume of images is as its latest snapshot, and no longer being imported."""
        volume = self._volumes()[name]
        if volume.latest is not None:
            latest = volume.latest.name
            retried(lambda: self._calls.roll_back(latest))
        self._calls.clear(volume.entry.name, IMPORTING)

    @contextlib.contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        """Errors of the system as errors of the port."""
        try:
            yield
        except (ZfsError, OSError) as error:
            number = error.number if isinstance(error, ZfsError) else error.errno
            if number in NO_ROOM:
                raise PoolFull(f"{what}: the pool is full; nothing was kept") from error
            words = str(error) if isinstance(error, ZfsError) else error.strerror
            raise ImageError(f"{what}: {words}") from error


def _device_size(node: Path) -> int:
    with node.open("rb", buffering=0) as file:
        return file.seek(0, os.SEEK_END)
