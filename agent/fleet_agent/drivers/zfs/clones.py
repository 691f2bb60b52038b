"""The acts on clones: clone, see the node, destroy, list. Blocking, callable from any thread."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Mapping

from fleet.identity import Fleet
from fleet.ranges import IndexSet
from fleet_agent.core.domain.disks import CloneWay
from fleet_agent.core.domain.marks import Marked, clone_runs, foreign_mark, mark_fields, read_mark
from fleet_agent.core.images import ImageName, digest_differs
from fleet_agent.core.model import Batch, CloneRun
from fleet_agent.drivers.lanes import ActFailed, ActFailures
from fleet_agent.drivers.ports.errors import NO_ROOM, DriverError
from fleet_agent.drivers.ports.storage import StorageFacts
from fleet_agent.drivers.zfs.calls import ZfsCalls, ZfsError

Volumes = Mapping[str, Mapping[str, str]]


class ListedVolumes:
    """The volumes as they were when one batch first asked: a listing costs a process."""

    def __init__(self, calls: ZfsCalls, parent: str) -> None:
        self._calls = calls
        self._parent = parent
        self._lock = threading.Lock()
        self._volumes: Volumes | None = None

    def mark(self, name: str) -> Marked | None:
        """The mark of a volume; None without one. Raises DriverError."""
        with self._lock:
            if self._volumes is None:
                self._volumes = self._calls.volumes(self._parent)
            return read_mark(self._volumes.get(name, {}))

    def mark_of_existing(self, name: str) -> Marked | None:
        """The same, listing again when the volume, which exists, was not seen yet."""
        with self._lock:
            if self._volumes is None or name not in self._volumes:
                self._volumes = self._calls.volumes(self._parent)
        return self.mark(name)


class Clones:
    """Clones right below one dataset."""

    def __init__(self, calls: ZfsCalls, parent: str) -> None:
        self._calls = calls
        self._parent = parent

    def listed_volumes(self) -> ListedVolumes:
        return ListedVolumes(self._calls, self._parent)

    def dataset(self, fleet: Fleet, index: int) -> str:
        return f"{self._parent}/{fleet.dataset_name(index)}"

    def clone(self, batch: Batch, volumes: ListedVolumes, index: int) -> None:
        name, origin = self.dataset(batch.fleet, index), self._origin(batch)
        marks, size = mark_fields(batch, index), batch.spec.disk.size_bytes
        try:
            self._calls.clone(name, origin, marks, size)
        except ZfsError as error:
            if error.number == errno.EEXIST:
                _check_ours(volumes.mark_of_existing(name), batch, index, name)
                return
            if error.number == errno.ENOENT:
                raise self._missing(name, origin) from error
            kind = "no_space" if error.number in NO_ROOM else "storage_error"
            raise ActFailed(kind, f"cannot clone {origin} to {name}: {error}") from error

    def opened(self, batch: Batch, indices: IndexSet) -> IndexSet:
        """Those whose device node opens and is that volume, with the size asked for."""
        if indices:
            self._calls.link_nodes({self.dataset(batch.fleet, index) for index in indices})
        return IndexSet.of(index for index in indices if self._is_open(batch, index))

    def destroy(self, batch: Batch, volumes: ListedVolumes, part: IndexSet) -> ActFailures:
        """Destroys those that are ours, together; the others are not there."""
        names = {self.dataset(batch.fleet, index): index for index in part}
        ours = {
            name: index
            for name, index in names.items()
            if (marked := volumes.mark(name)) is not None and marked.is_of(batch, index)
        }
        if not ours:
            return {}
        try:
            ended = self._calls.destroy_marked(batch.kin, ours)
        except ZfsError:
            # Not permitted, not known to this host, or over its limits: one by one, then.
            ended = {name: self._destroy(name) for name in ours}
        return {
            ours[name]: _not_destroyed(name, number) for name, number in ended.items() if number
        }

    def _destroy(self, name: str) -> int:
        """An errno; 0 when it is gone."""
        try:
            self._calls.destroy(name)
        except ZfsError as error:
            return 0 if error.number == errno.ENOENT else error.number
        return 0

    def image_fault(self, batch: Batch) -> ActFailed | None:
        """Why none of a batch may be cloned: its golden image is not the one asked for. Whether
        there is an image at all, cloning tells. Raises DriverError."""
        image = batch.spec.image
        if not image.digest:
            return None
        try:
            recorded = self._calls.recorded(self._origin(batch))
        except ActFailed as refused:
            return refused
        if recorded is None:
            return None
        differs = digest_differs(ImageName(image.name, image.snapshot), image.digest, recorded)
        return ActFailed("image_mismatch", differs, retry=False) if differs else None

    def listing(self) -> tuple[CloneRun, ...]:
        """Every volume with our mark, under the name that its mark says. Raises DriverError."""
        volumes = self._calls.volumes(self._parent)
        marked = ((name, read_mark(fields)) for name, fields in volumes.items())
        # A child inherits user properties: the index tells a mark of its own from one inherited.
        return clone_runs(
            one for name, one in marked if one is not None and name.endswith(f"-{one.index}")
        )

    def facts(self) -> StorageFacts:
        used, available = self._calls.space(self._parent)
        description = f"zfs {self._calls.version()} at {self._parent}"
        return StorageFacts(description, used + available, available, CloneWay.VOLUME)

    def _origin(self, batch: Batch) -> str:
        image = batch.spec.image
        for what, part in (("image", image.name), ("snapshot", image.snapshot)):
            if not part or not set("/@#%").isdisjoint(part) or ".." in part:
                raise ActFailed("bad_spec", f"{part!r} names no {what}", retry=False)
        return f"{self._parent}/{image.name}@{image.snapshot}"

    def _is_open(self, batch: Batch, index: int) -> bool:
        name = self.dataset(batch.fleet, index)
        node = self._calls.node(name)
        if node is None or node.zvol != name:
            return False
        return node.size == (batch.spec.disk.size_bytes or node.size) and node.size > 0

    def _missing(self, name: str, origin: str) -> Exception:
        if not self._calls.exists(self._parent):
            return DriverError(f"there is no dataset {self._parent} on this host")
        if not self._calls.exists(origin):
            return ActFailed("image_missing", f"the golden image {origin} is not on this host")
        return ActFailed("storage_error", f"{origin} could not be found when cloning it to {name}")


def _not_destroyed(name: str, number: int) -> ActFailed:
    if number == errno.EBUSY:
        return ActFailed("busy", f"{name} is held open, or has snapshots")
    return ActFailed("storage_error", f"cannot destroy {name}: {os.strerror(number)}")


def _check_ours(marked: Marked | None, batch: Batch, index: int, name: str) -> None:
    if whose := foreign_mark(marked, batch, index):
        raise ActFailed(
            "conflict", f"{name} exists, a dataset {whose}; it is left alone", retry=False
        )
