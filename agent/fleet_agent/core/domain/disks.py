"""What is behind a disk of a domain: a path, how its bytes are to be read, how it was made."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class DiskFormat(StrEnum):
    """As QEMU names it. Always told and never probed: a guest writes what it likes on a raw disk,
    the header of another format too, and such a header can name any file of the host."""

    RAW = "raw"
    QCOW2 = "qcow2"


class CloneWay(StrEnum):
    """How a clone comes to the content of its image."""

    COPY = "copy"
    REFLINK = "reflink"  # a file that shares the image's blocks: XFS, btrfs
    OVERLAY = "qcow2 overlay"  # a file of what differs from the image; read by QEMU alone
    VOLUME = "ZFS volume"


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
