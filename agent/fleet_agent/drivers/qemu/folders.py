"""A folder for each VM: what it is, how its present life was begun, whether that was seen ready.

Written under another name, flushed and renamed, so that half a record is none. Blocking.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from fleet.keys import Epoch, Kin, Term
from fleet.private_file import flush_folder, replace_private
from fleet_agent.core.domain.disks import Disk, DiskFormat
from fleet_agent.core.domain.marks import Marked
from fleet_agent.core.model import Batch, Mark
from fleet_agent.drivers.qemu.processes import OWN_TROUBLE

CONSOLE_LOG = "console.log"
_HIDDEN = "."
_MOST_BYTES = 64 * 1024


class Definition(msgspec.Struct, frozen=True):
    """Whose the VM is, and its disk."""

    uid: str
    index: int
    generation: int
    birth: int
    term: tuple[int, int]
    epoch: tuple[int, int]
    disk: str = ""
    disk_format: str = DiskFormat.RAW.value
    backing: str = ""
    memory_bytes: int = 0
    vcpus: int = 1

    @classmethod
    def of(cls, batch: Batch, index: int, disk: Disk | None) -> Definition:
        kin, mark = batch.kin, batch.mark
        path, kind, below = (
            (disk.path, disk.format.value, disk.backing) if disk else ("", "raw", "")
        )
        whose = (kin.fleet_uid, index, kin.generation, kin.birth)
        size = (batch.spec.memory_bytes, batch.spec.vcpus)
        term, epoch = (mark.term[0], mark.term[1]), (mark.epoch[0], mark.epoch[1])
        return cls(*whose, term, epoch, path, kind, below, *size)

    @property
    def marked(self) -> Marked:
        kin = Kin(self.uid, self.generation, self.birth)
        return Marked(kin, self.index, Mark(Term(*self.term), Epoch(*self.epoch)))

    @property
    def own_disk(self) -> Disk | None:
        return Disk(self.disk, DiskFormat(self.disk_format), self.backing) if self.disk else None


class Life(msgspec.Struct, frozen=True):
    """How a life was begun. `way`: boot or clone; `why` it was not the one asked for; `template`:
    the one that it shares its memory with."""

    restart: int = 0
    way: str = "boot"
    why: str = ""
    template: str = ""


class Ready(msgspec.Struct, frozen=True):
    """The life that was seen ready: a process, and when it was started in this boot of the host."""

    pid: int
    started: int
    boot_id: str


T = TypeVar("T")


class Folders:
    """All of them, below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def of(self, name: str) -> Path:
        return self.root / name

    def names(self) -> Iterator[str]:
        """Of VMs whose folder is whole. What was begun and never came to be is removed."""
        for entry in sorted(os.listdir(self.root)):
            if entry.startswith(_HIDDEN):
                shutil.rmtree(self.root / entry, ignore_errors=True)
            else:
                yield entry

    def make(self, name: str, definition: Definition) -> None:
        """Raises OSError."""
        new = self.root / f"{_HIDDEN}{name}"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        _write(new, definition)
        os.rename(new, self.of(name))
        flush_folder(self.root)

    def remove(self, name: str) -> None:
        """Raises OSError."""
        gone = self.root / f"{_HIDDEN}{name}"
        try:
            os.rename(self.of(name), gone)
        except FileNotFoundError:
            return
        shutil.rmtree(gone)

    def write(self, name: str, record: Definition | Life | Ready) -> None:
        """Raises OSError."""
        _write(self.of(name), record)

    def read(self, name: str, kind: type[T]) -> T | None:
        """None where there is none that is whole. Raises OSError where that cannot be told."""
        try:
            with (self.of(name) / _file_of(kind)).open("rb") as file:
                return msgspec.json.decode(file.read(_MOST_BYTES), type=kind)
        except msgspec.DecodeError:
            return None
        except OSError as error:
            if error.errno in OWN_TROUBLE:
                raise
            return None


def _file_of(kind: type[object]) -> str:
    return f"{kind.__name__.lower()}.json"


def _write(folder: Path, record: object) -> None:
    replace_private(folder / _file_of(type(record)), msgspec.json.encode(record))
