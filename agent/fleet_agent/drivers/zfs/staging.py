"""The content of an import into a ZFS volume of its own: poured into its node, or received.

Blocking.
"""

from __future__ import annotations

import contextlib
import errno
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from fleet_agent.core.images import BadImage, Dataset, ImportOrder, fitting_size
from fleet_agent.drivers.images import content as image_content
from fleet_agent.drivers.images.jobs import JobWatcher
from fleet_agent.drivers.ports.images import BadSource, ImageError
from fleet_agent.drivers.zfs.calls import BUSY_WAITS, ZfsError
from fleet_agent.drivers.zfs.holdings import volumes_of
from fleet_agent.drivers.zfs.image_calls import IMPORTING, SourceDataset, ZfsImageCalls
from fleet_agent.drivers.zfs.nodes import NODE_PACE, NODE_SECONDS

T = TypeVar("T")

SENT = "megafleet-import-"  # begins the names of snapshots taken of a source
SENDING = "sending and receiving"
AWAITING = "waiting for the device node"

# Of a new volume that is busy: udev's programs look at each new node, longer than backends do.
NEW_BUSY_WAITS = (*BUSY_WAITS, 3.2)


class Staging:
    """Volumes being made right below one dataset."""

    def __init__(self, calls: ZfsImageCalls, parent: str) -> None:
        self._calls = calls
        self._parent = parent

    def stage(self, order: ImportOrder, staged: str, watcher: JobWatcher) -> str:
        """The whole content, in a volume of its own; its digest."""
        if isinstance(order.source, Dataset):
            return self._stage_dataset(order, order.source, staged, watcher)
        content = image_content.content_of(order, Path(order.source.path), watcher)
        _, available = self._calls.pool_space(self._parent)
        image_content.check_room(content.needed, available, self._parent)
        self._calls.create(staged, content.size, self._parent)
        return content.pour(self.node(staged, content.size, watcher), watcher)

    def _stage_dataset(
        self, order: ImportOrder, source: Dataset, staged: str, watcher: JobWatcher
    ) -> str:
        held = self._source(source)
        try:
            size = fitting_size(held.size, order.size, str(source))
        except BadImage as error:
            raise BadSource(str(error)) from error
        _, available = self._calls.pool_space(self._parent)
        image_content.check_room(held.referenced, available, self._parent)
        with self._snapshot_of(source) as snapshot:
            on_sent = partial(_progressed, watcher, held.referenced)
            self._calls.receive(snapshot, staged, self._parent, on_sent)
        for one in volumes_of(self._calls.entries(self._parent), self._parent)[
            staged.removeprefix(f"{self._parent}/")
        ].snapshots.values():
            self._calls.destroy(one.name)
        if order.size and size != held.size:
            self._calls.set_properties(staged, {"volsize": str(size)})
        return image_content.digest_of(self.node(staged, 0, watcher), watcher)

    def _source(self, source: Dataset) -> SourceDataset:
        """Raises BadSource unless it is a volume or a volume's snapshot."""
        held = self._calls.source(str(source))
        if held is None:
            raise BadSource(f"there is no dataset {source} on this host")
        if held.type != "volume":
            raise BadSource(
                f"{source} is a {held.type}, not a volume; give the absolute path of a directory "
                "to make an image of the files in it"
            )
        return held

    @contextlib.contextmanager
    def _snapshot_of(self, source: Dataset) -> Iterator[str]:
        """The snapshot asked for, or one taken of the volume and removed again."""
        if source.snapshot:
            yield str(source)
            return
        taken = f"{source.name}@{SENT}{uuid.uuid4().hex[:12]}"
        self._calls.snapshot(taken, {IMPORTING: self._parent})
        try:
            yield taken
        finally:
            destroy(self._calls, taken)  # what sends it holds it until it has ended

    def node(self, name: str, size: int, watcher: JobWatcher) -> Path:
        """The device node of a volume of so many bytes (0: any), once it opens. Raises
        ImageError, Abandoned."""
        deadline = time.monotonic() + NODE_SECONDS
        while True:
            node = self._calls.node(name)
            if node is not None and node.zvol == name and node.size and size in (0, node.size):
                return self._calls.node_path(name)
            if time.monotonic() >= deadline:
                raise ImageError(
                    f"{self._calls.node_path(name)} did not become that volume's node within "
                    f"{NODE_SECONDS:g} s"
                )
            watcher.progressed(AWAITING)
            time.sleep(NODE_PACE)  # the kernel makes nodes, and tells nobody here when it has


def destroy(calls: ZfsImageCalls, name: str) -> None:
    """A volume without snapshots, or a snapshot without clones. Raises ZfsError."""
    retried(lambda: calls.destroy(name))


def retried(act: Callable[[], T]) -> T:
    """Once what is busy is no longer. Raises ZfsError."""
    for wait in NEW_BUSY_WAITS:
        try:
            return act()
        except ZfsError as error:
            if error.number != errno.EBUSY:
                raise
        time.sleep(wait)  # whoever holds a volume open tells nobody when he lets go
    return act()


def _progressed(watcher: JobWatcher, total: int, sent: int) -> None:
    """A stream holds more than its blocks: what it will have in all is not known."""
    watcher.progressed(SENDING, sent, max(total, sent))
