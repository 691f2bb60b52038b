"""Which storage the settings mean, where they leave it to the host."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fleet_agent.daemon.settings import BadSettings, Settings

# The pool that is meant where none is named.
POOL = "tank"
# Beside the ledger, where no folder is named.
FOLDER = "storage"
NAMED = "storage.kind says so"


@dataclass(frozen=True, slots=True)
class StorageChoice:
    """`files`: of any kind that is a folder. `why`: for people. `own`: the folder is the agent's to
    make."""

    kind: Literal["zfs", "files", "reflink", "overlay"]
    parent: str
    why: str
    own: bool = False

    @property
    def is_zfs(self) -> bool:
        return self.kind == "zfs"


def has_pool(name: str) -> bool:
    """Whether a ZFS pool of this name is imported, and the library is there to use it."""
    imported = Path("/proc/spl/kstat/zfs", name).is_dir()
    return imported and importlib.util.find_spec("libzfs_core") is not None


def storage_choice(asked: Settings, pool: Callable[[str], bool] = has_pool) -> StorageChoice:
    """Raises BadSettings for a storage that the hypervisor cannot read."""
    kind, parent = asked.storage.kind, asked.storage.parent
    if kind == "overlay" and not on_qemu(asked):
        raise BadSettings(
            f"storage.kind overlay is for QEMU alone, and hypervisor.uri is "
            f"{asked.hypervisor.uri}: set the kind to zfs or reflink"
        )
    if kind == "zfs":
        return StorageChoice(kind, parent or POOL, NAMED)
    if kind != "auto":
        return _folder(asked, kind, NAMED)
    if parent:
        if parent.startswith("/"):
            return StorageChoice("files", parent, "storage.parent is a folder")
        return StorageChoice("zfs", parent, "storage.parent is a dataset")
    if not on_qemu(asked):
        return StorageChoice("zfs", POOL, "Xen's disks are ZFS volumes unless told otherwise")
    if pool(POOL):
        return StorageChoice("zfs", POOL, f"there is a pool {POOL}")
    return _folder(asked, "files", f"there is no pool {POOL}, or no python3-pyzfs to use it")


def on_qemu(asked: Settings) -> bool:
    return asked.hypervisor.uri.startswith("qemu")


def _folder(
    asked: Settings, kind: Literal["files", "reflink", "overlay"], why: str
) -> StorageChoice:
    if asked.storage.parent:
        return StorageChoice(kind, asked.storage.parent, why)
    return StorageChoice(kind, str(Path(asked.ledger).with_name(FOLDER)), why, own=True)
