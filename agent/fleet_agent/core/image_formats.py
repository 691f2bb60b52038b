"""What a file is that shall become an image, from its bytes alone: never from its name.

Magic numbers are those of the formats' own specifications, as file(1) has them as well.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

# Bytes that `recognised` wants of the beginning (btrfs begins last, at 64 KiB) and of the end.
HEAD_BYTES = 128 * 1024
TAIL_BYTES = 512


class Handling(StrEnum):
    """What is done with a file of a format."""

    COPIED = "copied"  # it is a disk, byte by byte
    CONVERTED = "converted"  # by qemu-img, which is told the format by this name
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Format:
    """`name`: for people, with its article; of what is converted, `driver` is qemu-img's name.
    `remedy`: of what is refused, what to do, in half a sentence."""

    name: str
    handling: Handling = Handling.REFUSED
    driver: str = ""
    remedy: str = ""


DISK = Format("a disk", Handling.COPIED)
QCOW2 = Format("a qcow2", Handling.CONVERTED, "qcow2")
VMDK = Format("a VMDK", Handling.CONVERTED, "vmdk")
VHD = Format("a VHD", Handling.CONVERTED, "vpc")
VHDX = Format("a VHDX", Handling.CONVERTED, "vhdx")
VDI = Format("a VDI", Handling.CONVERTED, "vdi")


def _refused(name: str, remedy: str) -> Format:
    return Format(name, remedy=remedy)


def _packed(name: str, command: str) -> Format:
    return _refused(f"{name} compressed file", f"unpack it first, with '{command} FILE'")


def _part(name: str) -> Format:
    return _refused(f"part of {name}: its end is missing", "download it again")


def _foreign(name: str, driver: str) -> Format:
    return _refused(
        name, f"convert it first, with 'qemu-img convert -f {driver} -O qcow2 FILE NEW'"
    )


_WHOLE = "make one whole file of it first, with 'qemu-img convert -O qcow2 FILE NEW'"
_DOWNLOAD = "what was downloaded is not the image; look at the address"
_ARCHIVE = "unpack it first, and import the disk that is in it"
PARTS = _refused("a VMDK whose data is in other files", _WHOLE)
CHILD = _refused("a disk that holds only what differs from another file", _WHOLE)
TEXT = _refused("a text", _DOWNLOAD)
UNKNOWN = _refused(
    "nothing that is known here: no partition table, no file system, no format of disks",
    "look whether all of it was downloaded ('file FILE', its checksum)",
)

# Offset, bytes, format: the first that fits counts. Archives and the like come before disks.
_MAGIC: tuple[tuple[int, bytes, Format], ...] = (
    (0, b"QFI\xfb\0\0\0\1", _foreign("a qcow of the first version", "qcow")),
    (0, b"QFI\xfb", QCOW2),
    (0, b"QED\0", _foreign("a QED", "qed")),
    (0, b"WithoutFreeSpace", _foreign("a disk of Parallels", "parallels")),
    (0, b"WithouFreSpacExt", _foreign("a disk of Parallels", "parallels")),
    (0, b"KDMV", VMDK),
    (0, b"COWD", PARTS),
    (0, b"# Disk DescriptorFile", PARTS),
    (0, b"vhdxfile", VHDX),
    (64, b"\x7f\x10\xda\xbe", VDI),
    (0, b"LUKS\xba\xbe", _refused("an encrypted disk (LUKS)", "decrypt it first")),
    (0, b"\xfd7zXZ\0", _packed("an xz", "xz -dk")),
    (0, b"\x28\xb5\x2f\xfd", _packed("a zstd", "zstd -d")),
    (0, b"\x1f\x8b", _packed("a gzip", "gzip -dk")),
    (0, b"BZh", _packed("a bzip2", "bzip2 -dk")),
    (0, b"\x04\x22\x4d\x18", _packed("an lz4", "lz4 -d")),
    (0, b"LZIP", _packed("an lzip", "lzip -dk")),
    (0, b"\x5d\0\0", _packed("an lzma", "xz -dk --format=lzma")),
    (0, b"PK\x03\x04", _refused("a zip", _ARCHIVE)),
    (0, b"7z\xbc\xaf\x27\x1c", _refused("a 7z archive", _ARCHIVE)),
    (0, b"Rar!\x1a\x07", _refused("a rar archive", _ARCHIVE)),
    (257, b"ustar", _refused("a tar archive, as an OVA is", _ARCHIVE)),
    (0, b"!<arch>\n", _refused("an archive of ar, as a Debian package is", _ARCHIVE)),
    (0x8001, b"CD001", _refused("an ISO, which installs systems", "import what it has installed")),
    (
        0,
        b"\x7fELF",
        _refused("a program (ELF)", "a kernel is named in the fleet file's boot.kernel"),
    ),
    (0x202, b"HdrS", _refused("a Linux kernel", "it is named in the fleet file's boot.kernel")),
    (0, b"version https://git-lfs", _refused("a pointer of git-lfs", "fetch it: 'git lfs pull'")),
    # Disks: partition tables, then file systems and what else a guest takes for its disk.
    (510, b"\x55\xaa", DISK),  # MBR, and the boot sectors of FAT and NTFS
    (512, b"EFI PART", DISK),
    (4096, b"EFI PART", DISK),
    (1080, b"\x53\xef", DISK),  # ext2 to ext4
    (0, b"XFSB", DISK),
    (0x10040, b"_BHRfS_M", DISK),
    (1024, b"\x10\x20\xf5\xf2", DISK),  # F2FS
    (1024, b"\xe2\xe1\xf5\xe0", DISK),  # EROFS
    (0, b"hsqs", DISK),  # squashfs
    (0, b"\x45\x3d\xcd\x28", DISK),  # cramfs
    (0, b"-rom1fs-", DISK),
    (0x8000, b"JFS1", DISK),
    (0x2000 + 1372, b"\x54\x19\x01\x00", DISK),  # UFS1
    (0x10000 + 1372, b"\x19\x01\x54\x19", DISK),  # UFS2
    (0, b"LABELONE", DISK),  # LVM
    (512, b"LABELONE", DISK),
    (4086, b"SWAPSPACE2", DISK),
)

_VHD = b"conectix"
_VHD_DIFFERENCING = 4
_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")


def recognised(head: bytes, tail: bytes, size: int) -> Format:
    """What a file of `size` bytes is, that begins with `head` (HEAD_BYTES, or all of it) and ends
    with `tail` (TAIL_BYTES, or all of it)."""
    if head.startswith(_VHD) or tail.startswith(_VHD):
        return _vhd(tail)
    for offset, magic, found in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            closer = _CLOSER.get(found)
            return closer(head, size) if closer else found
    if head.lstrip().lower().startswith(_PAGES):
        return _refused("a web page", _DOWNLOAD)
    if len(head) == HEAD_BYTES and not head.strip(b"\0"):
        return DISK  # an empty one, for guests that make their own file system
    if _is_text(head):
        return TEXT
    return UNKNOWN


def _vhd(footer: bytes) -> Format:
    """A fixed one has nothing but its footer; others repeat it at the beginning."""
    if not footer.startswith(_VHD) or len(footer) < TAIL_BYTES:
        return _part("a VHD")
    (kind,) = struct.unpack_from(">I", footer, 60)
    return CHILD if kind == _VHD_DIFFERENCING else VHD


# Of a VMDK's header: capacity, and offset and size of its description, in sectors.
_VMDK_HEADER = struct.Struct("<4sIIQQQQ")


def _vmdk(head: bytes, size: int) -> Format:
    """With a capacity of 0 the description within names the files that hold the data; it may name
    a parent as well. qemu-img would open what it names."""
    if len(head) < 512:
        return _part("a VMDK")
    _, _, _, capacity, _, at, length = _VMDK_HEADER.unpack_from(head)
    if not capacity:
        return PARTS
    begin, end = at * 512, (at + length) * 512
    if at and end > len(head):
        return _refused("a VMDK whose description is not at its beginning", _WHOLE)
    return CHILD if b"parentfilenamehint" in head[begin:end].lower() else VMDK


def _vdi(head: bytes, size: int) -> Format:
    """Its kind: 1 grows, 2 is fixed; others differ from a parent, or are unknown."""
    (kind,) = struct.unpack_from("<I", head.ljust(392, b"\0"), 76)
    (data,) = struct.unpack_from("<I", head.ljust(392, b"\0"), 344)
    block, _, _, allocated = struct.unpack_from("<4I", head.ljust(392, b"\0"), 376)
    if kind not in (1, 2):
        return CHILD
    return _part("a VDI") if size < data + allocated * block else VDI


def _qcow2(head: bytes, size: int) -> Format:
    """Where a download ended before its tables, qemu-img would read them as zeros: an empty disk.
    Size and offset of the first table, and offset of the second, from byte 36."""
    if len(head) < 56:
        return _part("a qcow2")
    entries, first, second = struct.unpack_from(">IQQ", head, 36)
    return _part("a qcow2") if size < max(first + entries * 8, second + 1) else QCOW2


def _disk(head: bytes, size: int) -> Format:
    """A GPT says in which sector its copy is, which is the last one of the disk."""
    if head[512:520] != b"EFI PART" or len(head) < 552:
        return DISK
    (last,) = struct.unpack_from("<Q", head, 544)
    return _part("a disk") if size < (last + 1) * 512 else DISK


_CLOSER: dict[Format, Callable[[bytes, int], Format]] = {
    VMDK: _vmdk,
    VDI: _vdi,
    QCOW2: _qcow2,
    DISK: _disk,
}


def _is_text(head: bytes) -> bool:
    try:
        text = head[:4096].decode("utf-8")
    except UnicodeDecodeError as error:
        text = head[: error.start].decode("utf-8") if error.start > len(head[:4096]) - 4 else "\0"
    return all(one.isprintable() or one in "\t\r\n\f" for one in text)
