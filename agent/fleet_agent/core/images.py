"""Golden images, decided: what they may be called, what they may be made of, and how large."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import NamedTuple

from fleet.v1 import types_pb2 as types

# As the fleet file has it: an image that no fleet could name would be of no use.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# What ZFS allows in a component, less the space: zfs(8). A leading '-' would be an option.
_COMPONENT = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9_.:-]{0,199}")
MAX_DATASET = 255  # ZFS_MAX_DATASET_NAME_LEN of OpenZFS's sys/fs/zfs.h, less the zero byte
MAX_PATH = 4095  # PATH_MAX of linux/limits.h, less the zero byte

# Sizes are whole blocks of this many bytes on every storage, so that an image has the same
# content, and the same digest, on all of them: OpenZFS's volblocksize since 2.2.
BLOCK = 16 * 1024
MIB = 1 << 20
MAX_SIZE = 64 << 40  # as disk.size in the fleet file


class BadImage(ValueError):
    """What was asked for cannot be meant; one sentence."""


class ImageName(NamedTuple):
    """A golden image: written name@snapshot."""

    name: str
    snapshot: str

    def __str__(self) -> str:
        return f"{self.name}@{self.snapshot}"


@dataclass(frozen=True, slots=True)
class FilePath:
    """Something to import: an absolute path on the host."""

    path: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """Something to import: a ZFS volume, or a snapshot of one (empty: as it is now)."""

    name: str
    snapshot: str = ""

    def __str__(self) -> str:
        return f"{self.name}@{self.snapshot}" if self.snapshot else self.name


@dataclass(frozen=True, slots=True)
class ImportOrder:
    """An image to be made. `digest` may be empty: any; `size` in bytes, 0: as the source.
    `consumes`: the source is nobody else's, and may be made the image rather than copied.
    `origin`: what is recorded as its source; empty: the source itself."""

    image: ImageName
    source: FilePath | Dataset
    digest: str = ""
    size: int = 0
    consumes: bool = False
    origin: str = ""

    @property
    def source_text(self) -> str:
        return self.source.path if isinstance(self.source, FilePath) else str(self.source)

    @property
    def recorded_source(self) -> str:
        return self.origin or self.source_text


def image_name(image: types.Image) -> ImageName:
    """Raises BadImage."""
    for what, text in (("name", image.name), ("snapshot", image.snapshot)):
        if not _NAME.fullmatch(text):
            raise BadImage(
                f"an image's {what} is 1 to 64 letters, digits, '.', '_' and '-', beginning with "
                f"a letter or digit; got {text[:80]!r}"
            )
    return ImageName(image.name, image.snapshot)


def parsed_name(text: str) -> ImageName | None:
    """The image that `text` names as name@snapshot; None when it names none."""
    name, _, snapshot = text.partition("@")
    whole = _NAME.fullmatch(name) and _NAME.fullmatch(snapshot)
    return ImageName(name, snapshot) if whole else None


def import_order(image: types.Image, source: str, size: int) -> ImportOrder:
    """What an import asks for, checked. Raises BadImage."""
    if image.digest and not _DIGEST.fullmatch(image.digest):
        raise BadImage(
            f"a digest is sha256: and 64 lower-case hexadecimal digits; got {image.digest[:80]!r}"
        )
    if size > MAX_SIZE:
        raise BadImage(f"{size} bytes are more than the {MAX_SIZE} that a disk may have")
    return ImportOrder(image_name(image), _source(source), image.digest, size)


def _source(text: str) -> FilePath | Dataset:
    if text.startswith("/"):
        if len(text.encode()) > MAX_PATH or not text.isprintable():
            raise BadImage(f"{text[:80]!r} is no path: too long, or with unprintable characters")
        return FilePath(text)
    name, at, snapshot = text.partition("@")
    components = name.split("/")
    if at:
        components.append(snapshot)
    if len(text) > MAX_DATASET or not all(map(_COMPONENT.fullmatch, components)):
        raise BadImage(
            f"{text[:80]!r} is neither an absolute path on the host nor a dataset or "
            "dataset@snapshot"
        )
    return Dataset(name, snapshot)


def whole_blocks(size: int, block: int = BLOCK) -> int:
    """The size rounded up, in bytes."""
    return -(-size // block) * block


def fitting_size(content: int, asked: int, what: str) -> int:
    """Bytes of the image for so much content, of which `asked` (0: none) were asked for.

    Raises BadImage when it does not fit."""
    if asked and asked < content:
        raise BadImage(f"{what} holds {content} bytes and does not fit in {asked}")
    if not (asked or content):
        raise BadImage(f"{what} is empty")
    return whole_blocks(asked or content)


def directory_size(content: int, inodes: int) -> int:
    """Bytes of an ext4 for so much content, in whole MiB: a quarter of room to write in, and what
    mke2fs takes for itself (256 bytes an inode; a journal of at most 1/8 below 1 GiB)."""
    return whole_blocks((content + inodes * 256) * 5 // 4 + 24 * MIB, MIB)


def inodes_for(entries: int) -> int:
    """How many inodes such an ext4 has: half as many again, and some for the guest's own files."""
    return entries * 3 // 2 + 256


# qcow2's header, big-endian: magic, version, offset of the backing file's name, its length,
# cluster bits, size, encryption; from byte 72, in version 3: incompatible features.
# docs/interop/qcow2.txt of QEMU.
QCOW2_MAGIC = b"QFI\xfb"
QCOW2_HEADER_BYTES = 80
_QCOW2 = struct.Struct(">4sIQIIQI")
_EXTERNAL_DATA_FILE = 1 << 2


def qcow2_size(header: bytes) -> int | None:
    """The virtual size in bytes of a qcow2 that begins so; None when it is none.

    Raises BadImage for one that needs other files (which its maker chose, and not who imports it),
    or a key."""
    if not header.startswith(QCOW2_MAGIC):
        return None
    if len(header) < QCOW2_HEADER_BYTES:
        raise BadImage("it begins like a qcow2 and ends within its header")
    size: int
    _, version, backing, _, _, size, encryption = _QCOW2.unpack_from(header)
    (features,) = struct.unpack_from(">Q", header, 72) if version >= 3 else (0,)
    if version not in (2, 3):
        raise BadImage(f"it is a qcow2 of version {version}; 2 and 3 can be read")
    if backing or features & _EXTERNAL_DATA_FILE:
        raise BadImage(
            "it is a qcow2 that refers to another file; make a whole one of it first, with "
            "'qemu-img convert -O qcow2'"
        )
    if encryption:
        raise BadImage("it is an encrypted qcow2; decrypt it first")
    if not 0 < size <= MAX_SIZE:
        raise BadImage(f"it is a qcow2 of {size} bytes, and a disk has 1 to {MAX_SIZE}")
    return size


def digest_differs(image: ImageName, asked: str, recorded: str) -> str:
    """Why a fleet that asks for this digest cannot have the image; empty when it can."""
    if not asked or asked == recorded:
        return ""
    if not recorded:
        return (
            f"the golden image {image} has no recorded digest to be checked; import it: "
            f"'fleetctl images import NAME@SNAPSHOT SOURCE' records one"
        )
    return f"the golden image {image} has the digest {recorded}, and the fleet asks for {asked}"
