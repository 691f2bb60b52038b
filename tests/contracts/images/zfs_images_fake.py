"""ZFS's calls for images over real files: a volume, and each snapshot of it, is a sparse file."""

from __future__ import annotations

import errno
import filecmp
from collections.abc import Callable, Mapping
from pathlib import Path

from fleet_agent.core.images import BLOCK
from fleet_agent.drivers.files import calls as file_calls
from fleet_agent.drivers.zfs.calls import DIGEST, ZfsError
from fleet_agent.drivers.zfs.image_calls import IMPORTING, SOURCE, ImageEntry, SourceDataset
from fleet_agent.drivers.zfs.nodes import Node
from tests.contracts.storage.storage_hosts import FakeZfs

POOL = 1 << 40


class FakeZfsImages:
    """Shares names, sizes, marks and origins with the FakeZfs that makes the clones."""

    def __init__(self, zfs: FakeZfs, folder: Path) -> None:
        self.zfs = zfs
        self.folder = folder
        self.properties: dict[str, dict[str, str]] = {}
        self.created: dict[str, int] = {}
        self.filesystems: set[str] = set()
        self.fails: dict[str, int] = {}  # what is called, and the errno it fails with from now on
        self.looks = 0
        zfs.volumes_by_name.clear()
        zfs.sizes.clear()

    # Looking ------------------------------------------------------------------------------

    def entries(self, parent: str) -> list[ImageEntry]:
        self.zfs.checked()
        names = [name for name in self.zfs.sizes if name.startswith(f"{parent}/")]
        return [self._entry(name) for name in sorted(names) if name.count("/") == 1]

    def _entry(self, name: str) -> ImageEntry:
        volume = name.partition("@")[0]
        held = self.properties.get(volume, {}) | self.properties.get(name, {})
        taken = self._taken(name)
        return ImageEntry(
            name,
            0 if "@" in name else taken,
            taken,
            self.zfs.sizes[name],
            self._written(name),
            sum(origin == name for origin in self.zfs.origins.values()),
            self.zfs.origins.get(name, ""),
            float(self.created.get(name, 0)),
            self.created.get(name, 0),
            held.get(DIGEST, ""),
            held.get(SOURCE, ""),
            held.get(IMPORTING, ""),
            self.zfs.volumes_by_name.get(name, {}),
        )

    def _taken(self, name: str) -> int:
        path = self.node_path(name)
        return path.stat().st_blocks * 512 if path.exists() else 0

    def _written(self, name: str) -> int:
        latest = self._latest(name)
        if name in self.zfs.origins:  # a clone, which has no bytes here
            return 0
        if latest is None or filecmp.cmp(self.node_path(name), self.node_path(latest), False):
            return 0
        return BLOCK

    def _latest(self, name: str) -> str | None:
        snapshots = [one for one in self.zfs.sizes if one.startswith(f"{name}@")]
        return max(snapshots, key=self.created.__getitem__, default=None)

    def pool_space(self, parent: str) -> tuple[int, int]:
        return 1 << 30, POOL

    def source(self, name: str) -> SourceDataset | None:
        if name in self.filesystems:
            return SourceDataset("filesystem", 0, 0)
        if name not in self.zfs.sizes:
            return None
        return SourceDataset("volume", self.zfs.sizes[name], self._taken(name))

    def left_snapshots(self, parent: str) -> list[str]:
        # As zfs(8) lists them: a snapshot inherits what its volume has.
        return [
            name for name in self.zfs.sizes if "@" in name and self._entry(name).importing == parent
        ]

    def node(self, name: str) -> Node | None:
        self.looks += 1
        if name not in self.zfs.sizes or self.looks % 2:  # a node comes late
            return None
        return Node(name, self.node_path(name).stat().st_size)

    def node_path(self, name: str) -> Path:
        return self.folder / name.replace("/", "%")

    # Changing -----------------------------------------------------------------------------

    def create(self, name: str, size: int, parent: str) -> None:
        self._begin("create")
        assert size % BLOCK == 0
        self._new(name, size)
        self.properties[name] = {IMPORTING: parent}
        with self.node_path(name).open("wb") as file:
            file.truncate(size)

    def snapshot(self, name: str, properties: Mapping[str, str]) -> None:
        self._begin("snapshot")
        volume = name.partition("@")[0]
        self._new(name, self.zfs.sizes[volume])
        self._copy(volume, name)
        self._put(name, properties)

    def receive(
        self, snapshot: str, name: str, parent: str, on_sent: Callable[[int], None]
    ) -> None:
        self._begin("receive")
        on_sent(self._taken(snapshot))
        copied = f"{name}@{snapshot.partition('@')[2]}"
        for one in (name, copied):
            self._new(one, self.zfs.sizes[snapshot])
            self._copy(snapshot, one)
        self.properties[name] = {IMPORTING: parent}

    def rename(self, name: str, to: str) -> None:
        self._begin("rename")
        for old in [one for one in self.zfs.sizes if one.partition("@")[0] == name]:
            new = to + old.removeprefix(name)
            self._new(new, self.zfs.sizes.pop(old))
            self.created[new] = self.created.pop(old)
            self.properties[new] = self.properties.pop(old, {})
            if old in self.zfs.digests:
                self.zfs.digests[new] = self.zfs.digests.pop(old)
            self.zfs.volumes_by_name.pop(old, None)
            self.node_path(old).rename(self.node_path(new))

    def set_properties(self, name: str, properties: Mapping[str, str]) -> None:
        self._begin("put")
        self._put(name, properties)

    def _put(self, name: str, properties: Mapping[str, str]) -> None:
        self.properties.setdefault(name, {}).update(properties)
        if DIGEST in properties:
            self.zfs.digests[name] = properties[DIGEST]
        if "volsize" in properties:
            self.zfs.sizes[name] = int(properties["volsize"])
            with self.node_path(name).open("r+b") as file:
                file.truncate(int(properties["volsize"]))

    def clear(self, name: str, field: str) -> None:
        self._begin("clear")
        self.properties.get(name, {}).pop(field, None)

    def roll_back(self, snapshot: str) -> None:
        self._begin("roll_back")
        volume = snapshot.partition("@")[0]
        assert self._latest(volume) == snapshot, "rolling back further would destroy snapshots"
        self._copy(snapshot, volume)
        self.zfs.sizes[volume] = self.zfs.sizes[snapshot]

    def destroy(self, name: str) -> None:
        self._begin("destroy")
        if "@" in name and name in self.zfs.origins.values():
            raise ZfsError(errno.EBUSY, f"cannot destroy '{name}': snapshot has dependent clones")
        if any(one.startswith(f"{name}@") for one in self.zfs.sizes):
            raise ZfsError(errno.EIO, f"cannot destroy '{name}': volume has children")
        if name not in self.zfs.sizes:
            raise ZfsError(errno.ENOENT, f"cannot open '{name}': dataset does not exist")
        del self.zfs.sizes[name]
        self.zfs.volumes_by_name.pop(name, None)
        for held in (self.properties, self.created, self.zfs.digests):
            held.pop(name, None)
        self.node_path(name).unlink()

    def _begin(self, call: str) -> None:
        if call in self.fails:
            raise ZfsError(self.fails[call], f"cannot {call}: told to fail")

    def _new(self, name: str, size: int) -> None:
        if name in self.zfs.sizes:
            raise ZfsError(errno.EEXIST, f"cannot create '{name}': dataset already exists")
        self.zfs.sizes[name] = size
        self.created[name] = max(self.created.values(), default=0) + 1
        if "@" not in name:
            self.zfs.volumes_by_name[name] = {}

    def _copy(self, source: str, target: str) -> None:
        with self.node_path(source).open("rb") as old, self.node_path(target).open("wb") as new:
            file_calls.copy(old.fileno(), new.fileno())
