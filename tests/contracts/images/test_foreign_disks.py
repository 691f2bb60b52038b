"""Disks in the formats that people download: converted where they are whole, else refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fleet_agent.core.images import ImageName, ImportOrder
from fleet_agent.drivers.images.content import content_of
from fleet_agent.drivers.images.foreign_disks import ForeignDisk
from fleet_agent.drivers.ports.images import BadSource
from tests.contracts.images.image_hosts import disk_of, order, qemu_img

MIB = 1 << 20


class Patient:
    """Waits for an import to its end."""

    def __init__(self) -> None:
        self.steps: set[str] = set()

    def progressed(self, step: str, done: int = 0, total: int = 0) -> None:
        self.steps.add(step)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    file = tmp_path / "disk.raw"
    file.write_bytes(disk_of(bytes(MIB) + os.urandom(65536)).ljust(4 * MIB, b"\0"))
    return file


def imported(source: Path) -> bytes:
    """What the image would hold. Raises BadSource."""
    asked: ImportOrder = order(source)
    assert asked.image == ImageName("golden", "g")
    content = content_of(asked, source, Patient())
    target = source.with_name("imported")
    with target.open("wb") as file:
        file.truncate(content.size)
    content.pour(target, Patient())
    return target.read_bytes()


@pytest.mark.parametrize(
    "ways",
    [
        ("qcow2",),
        ("qcow2", "-o", "compat=0.10"),
        ("qcow2", "-c"),
        ("vmdk",),
        ("vmdk", "-o", "subformat=streamOptimized"),
        ("vpc", "-o", "force_size=on"),
        ("vpc", "-o", "subformat=fixed,force_size=on"),
        ("vhdx",),
        ("vdi",),
        ("vdi", "-o", "static=on"),
    ],
    ids=" ".join,
)
def test_a_disk_of_another_emulator_is_converted_whatever_its_name(
    raw: Path, ways: tuple[str, ...]
) -> None:
    foreign = raw.with_name("disk.img")
    qemu_img("convert", "-f", "raw", "-O", *ways, str(raw), str(foreign))
    assert imported(foreign) == raw.read_bytes()


@pytest.mark.parametrize("driver", ["qcow2", "vmdk", "vpc", "vhdx"])
def test_half_a_download_is_refused(raw: Path, driver: str) -> None:
    raw.write_bytes(disk_of(os.urandom(4 * MIB)))
    foreign = raw.with_name("disk.img")
    qemu_img("convert", "-f", "raw", "-O", driver, str(raw), str(foreign))
    os.truncate(foreign, foreign.stat().st_size * 2 // 3)
    with pytest.raises(BadSource, match=r"download it again|nothing that is known"):
        imported(foreign)


def test_a_disk_that_refers_to_another_file_is_refused(raw: Path) -> None:
    child = raw.with_name("child")
    for driver in ("qcow2", "vmdk"):
        parent = raw.with_name(f"parent.{driver}")
        qemu_img("convert", "-f", "raw", "-O", driver, str(raw), str(parent))
        qemu_img("create", "-f", driver, "-F", driver, "-b", str(parent), str(child))
        with pytest.raises(BadSource, match=r"refers to another file|differs from another file"):
            imported(child)


def test_a_raw_disk_is_never_taken_for_what_its_guest_wrote(raw: Path) -> None:
    """A guest may write a header with a backing file behind its partition table."""
    content = bytearray(raw.read_bytes())
    content[512:516] = b"QFI\xfb"
    raw.write_bytes(content)
    assert imported(raw) == bytes(content)


def test_qemu_img_is_ended_when_it_takes_too_long(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "qemu-img"
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("fleet_agent.drivers.images.foreign_disks.LOOK_SECONDS", 0.0)
    with pytest.raises(Exception, match="was not done within"):
        ForeignDisk(raw, "qcow2", "a qcow2").checked_size(lambda: None)
