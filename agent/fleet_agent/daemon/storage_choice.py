"""Which storage the settings mean, where they leave it to the host."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import structlog

from fleet_agent.daemon.settings import BadSettings, Settings

log = structlog.get_logger()

# The pool that is meant where none is named.
POOL = "tank"
# Beside the ledger, where no folder is named.
FOLDER = "storage"
NAMED = "storage.kind says so"
# Beside the ledger: what was found where the settings leave it to the host.
MEMORY = "storage-found"


@dataclass(frozen=True, slots=True)
class StorageChoice:
    """`files`: of any kind that is a folder. `why`: for people. `own`: the folder is the agent's to
    make. `found`: by a look at the host, this time."""

    kind: Literal["zfs", "files", "reflink", "overlay"]
    parent: str
    why: str
    own: bool = False
    found: bool = False

    @property
    def is_zfs(self) -> bool:
        return self.kind == "zfs"


def has_pool(name: str) -> bool:
    """Whether a ZFS pool of this name is imported, and the library is there to use it."""
    imported = Path("/proc/spl/kstat/zfs", name).is_dir()
    return imported and importlib.util.find_spec("libzfs_core") is not None


def settled_choice(asked: Settings) -> StorageChoice:
    """What the host was found to have is found once: a pool that is not imported at a later start
    is trouble, and no reason to make all VMs anew elsewhere. Raises BadSettings."""
    memory = Path(asked.ledger).with_name(MEMORY)
    choice = storage_choice(asked, has_pool, _remembered(memory))
    if choice.found:
        try:
            memory.parent.mkdir(parents=True, exist_ok=True)
            memory.write_text(f"{choice.kind}\n")
        except OSError as error:
            log.warning("which storage was found is not remembered", error=str(error))
    return choice


def _remembered(memory: Path) -> str:
    try:
        return memory.read_text()[:20].strip()
    except (OSError, UnicodeDecodeError):
        return ""


def storage_choice(
    asked: Settings, pool: Callable[[str], bool] = has_pool, before: str = ""
) -> StorageChoice:
    """`before`: the kind that was found at an earlier start; anything else counts as none. Raises
    BadSettings for a storage that the hypervisor cannot read."""
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
    if before == "zfs":
        return StorageChoice("zfs", POOL, f"a pool {POOL} was found at an earlier start")
    if before == "files":
        return _folder(asked, "files", f"no pool {POOL} was found at the first start")
    if pool(POOL):
        return StorageChoice("zfs", POOL, f"there is a pool {POOL}", found=True)
    why = f"there is no pool {POOL}, or no python3-pyzfs to use it"
    return replace(_folder(asked, "files", why), found=True)


def on_qemu(asked: Settings) -> bool:
    return asked.hypervisor.uri.startswith("qemu")


def _folder(
    asked: Settings, kind: Literal["files", "reflink", "overlay"], why: str
) -> StorageChoice:
    if asked.storage.parent:
        return StorageChoice(kind, asked.storage.parent, why)
    return StorageChoice(kind, str(Path(asked.ledger).with_name(FOLDER)), why, own=True)
