"""What is behind a disk of a domain: a path, and how its bytes are to be read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class DiskFormat(StrEnum):
    """As QEMU names it. Always told and never probed: a guest writes what it likes on a raw disk,
    the header of another format too, and such a header can name any file of the host."""

    RAW = "raw"
    QCOW2 = "qcow2"


@dataclass(frozen=True, slots=True)
class Disk:
    """`path`: a block device below /dev, or a file. `backing`: the raw file that an overlay shows
    where nothing was written yet; empty for what is whole by itself. There is never a second."""

    path: str
    format: DiskFormat = DiskFormat.RAW
    backing: str = ""

    @property
    def is_block(self) -> bool:
        return self.path.startswith("/dev/")
