"""What a file is that shall become an image: by its bytes, never by its name."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_agent.core.image_formats import (
    DISK,
    HEAD_BYTES,
    QCOW2,
    TAIL_BYTES,
    VDI,
    VHD,
    VHDX,
    VMDK,
    Format,
    Handling,
    recognised,
)

MIB = 1 << 20


def at(offset: int, magic: bytes, filler: bytes = b"\xa7") -> bytes:
    """Bytes that mean nothing, but for these."""
    return (filler * offset + magic).ljust(HEAD_BYTES, filler)


def of(content: bytes) -> Format:
    return recognised(content[:HEAD_BYTES], content[-TAIL_BYTES:], len(content))


def vmdk(
    capacity: int = 8192, description: bytes = b"# Disk DescriptorFile\n", sector: int = 1
) -> bytes:
    header = struct.pack("<4sIIQQQQ", b"KDMV", 1, 3, capacity, 128, sector, 20)
    return header.ljust(512, b"\0") + description.ljust(20 * 512, b"\0") + bytes(10_000)


def qcow2(table: int = 4096) -> bytes:
    header = struct.pack(">4sIQIIQIIQQ", b"QFI\xfb", 3, 0, 0, 16, MIB, 0, 1, table, 8192)
    return header.ljust(16384, b"\0")


def vdi(kind: int, allocated: int = 0) -> bytes:
    begin = b"<<< Oracle VM VirtualBox Disk Image >>>\n".ljust(64, b"\0")
    kinds = struct.pack("<IIII", 0xBEDA107F, 0x10001, 400, kind)
    return (begin + kinds).ljust(344, b"\0") + struct.pack(
        "<I28x4I", 1024, MIB, 0, 4, allocated
    ).ljust(2000, b"\0")


def footer(kind: int) -> bytes:
    return (b"conectix".ljust(60, b"\0") + struct.pack(">I", kind)).ljust(512, b"\0")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (qcow2(), QCOW2),
        (vmdk(), VMDK),
        (at(0, b"vhdxfile"), VHDX),
        (vdi(1), VDI),
        (footer(3) + bytes(5000) + footer(3), VHD),
        (at(510, b"\x55\xaa") + footer(2), VHD),
        (at(510, b"\x55\xaa"), DISK),
        (at(510, b"\x55\xaaEFI PART", b"\0"), DISK),
        (at(1080, b"\x53\xef"), DISK),
        (at(0, b"XFSB"), DISK),
        (at(0x10040, b"_BHRfS_M"), DISK),
        (at(0, b"hsqs"), DISK),
        (bytes(HEAD_BYTES), DISK),
    ],
)
def test_disks_are_known_by_their_bytes(content: bytes, expected: Format) -> None:
    assert of(content) == expected


@pytest.mark.parametrize(
    ("content", "name", "remedy"),
    [
        (b"\xfd7zXZ\0" + os.urandom(99), "an xz compressed file", "xz -dk"),
        (b"\x28\xb5\x2f\xfd" + os.urandom(99), "a zstd compressed file", "zstd -d"),
        (b"\x1f\x8b\x08" + os.urandom(99), "a gzip compressed file", "gzip -dk"),
        (b"BZh9" + os.urandom(99), "a bzip2 compressed file", "bzip2 -dk"),
        (at(0, b"PK\x03\x04"), "a zip", "unpack it"),
        (at(257, b"ustar"), "a tar archive, as an OVA is", "unpack it"),
        (at(0, b"LUKS\xba\xbe"), "an encrypted disk (LUKS)", "decrypt"),
        (at(0x8001, b"CD001"), "an ISO", "installed"),
        (at(510, b"\x55\xaa\0\0HdrS"), "a kernel", "boot.kernel"),
        (at(0, b"QED\0"), "a QED", "qemu-img convert -f qed"),
        (at(0, b"QFI\xfb\0\0\0\1"), "a qcow of the first version", "-f qcow "),
        (at(0, b"WithoutFreeSpace"), "a disk of Parallels", "-f parallels"),
        (b"<!DOCTYPE html>\n<p>404</p>", "a web page", "look at the address"),
        (b"\n<html><title>404 Not Found</title></html>", "a web page", "look at the address"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of git-lfs", "git lfs pull"),
        (b'{"message": "Not Found"}', "a text", "look at the address"),
        (
            b'# Disk DescriptorFile\nRW 8 FLAT "/etc/shadow" 0',
            "a VMDK whose data",
            "qemu-img convert",
        ),
        (vmdk(capacity=0), "a VMDK whose data is in other files", "qemu-img convert"),
        (vmdk(sector=10_000), "a VMDK whose description", "qemu-img convert"),
        (vmdk(description=b'parentFileNameHint="/etc/shadow"'), "a disk that holds only", "whole"),
        (vdi(4), "a disk that holds only what differs", "whole"),
        (footer(4) + bytes(512) + footer(4), "a disk that holds only what differs", "whole"),
        (footer(3) + bytes(5000), "part of a VHD", "download it again"),
        (qcow2(table=1 << 20), "part of a qcow2", "download it again"),
        (qcow2()[:20], "part of a qcow2", "download it again"),
        (vdi(1, allocated=9), "part of a VDI", "download it again"),
        (
            at(512, b"EFI PART".ljust(32, b"\0") + b"\xff\xff"),
            "part of a disk",
            "download it again",
        ),
        (at(0, b""), "nothing that is known here", "checksum"),
        (bytes(60), "nothing that is known here", "checksum"),
    ],
)
def test_what_is_no_disk_is_refused_with_what_it_is_and_what_to_do(
    content: bytes, name: str, remedy: str
) -> None:
    found = of(content)
    assert found.handling is Handling.REFUSED
    assert name.replace("a kernel", "a Linux kernel") in found.name and remedy in found.remedy


@given(st.binary(max_size=2000), st.binary(max_size=TAIL_BYTES))
def test_any_bytes_are_something(head: bytes, tail: bytes) -> None:
    found = recognised(head, tail, 4000)
    assert found.driver if found.handling is Handling.CONVERTED else not found.driver
    assert bool(found.remedy) == (found.handling is Handling.REFUSED)


@given(st.sampled_from([b"KDMV", b"QFI\xfb", b"conectix", b"vhdxfile"]), st.binary(max_size=700))
def test_no_header_breaks_it(magic: bytes, rest: bytes) -> None:
    recognised(magic + rest, (magic + rest)[-TAIL_BYTES:], 800)
