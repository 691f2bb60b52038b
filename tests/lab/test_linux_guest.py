"""What of the Linux guest can be tested without booting it."""

import lzma
import shutil
import subprocess
from pathlib import Path

import pytest
from build import HERE, entries
from debian_packages import only_named
from emulated_dom0.building import cpio
from emulated_dom0.building.kernel_modules import Module
from emulated_dom0.errors import LabError


def unpacked(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Modes and contents by name, as the kernel reads them."""
    found: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + name_size - 1].decode()
        at += (110 + name_size + 3) // 4 * 4
        if name == "TRAILER!!!":
            assert at == len(archive)
            return found
        found[name] = (mode, archive[at : at + size])
        at += (size + 3) // 4 * 4


def test_the_initramfs_starts_busybox_which_starts_rc(tmp_path: Path) -> None:
    modules = []
    for name in ("xen-blkfront", "virtio_blk", "ext4"):
        path = tmp_path / f"{name}.ko.xz"
        path.write_bytes(lzma.compress(f"code of {name}".encode()))
        modules.append(Module(path))
    xen, virtio, ext4 = modules

    found = unpacked(
        cpio.archive(entries(b"busybox", {"xen": [xen, ext4], "virtio": [virtio, ext4]}))
    )

    assert found["init"] == (0o120777, b"/bin/busybox")
    assert found["bin/busybox"] == (0o100755, b"busybox")
    assert found["dev/console"] == (0o020600, b"")
    assert found["etc/rc"] == (0o100755, (HERE / "rc").read_bytes())
    assert found["modules/xen"] == (0o100644, b"xen_blkfront\next4\n")
    assert found["modules/virtio"] == (0o100644, b"virtio_blk\next4\n")
    assert found["modules/xen_blkfront.ko"][1] == b"code of xen-blkfront"
    assert sorted(name for name in found if name.endswith(".ko")) == [
        "modules/ext4.ko",
        "modules/virtio_blk.ko",
        "modules/xen_blkfront.ko",
    ]
    assert [name for name in found if "/" in name and name.rpartition("/")[0] not in found] == []


def test_rc_is_a_shells_script() -> None:
    shell = shutil.which("dash") or "/bin/sh"
    checked = subprocess.run([shell, "-n", HERE / "rc"], capture_output=True, text=True, timeout=30)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_kernel_is_the_one_that_debians_empty_package_stands_for() -> None:
    shown = "Depends: linux-image-6.12.117+deb13-amd64 (= 6.12.117-1)\nPackage: linux-image-amd64\n"
    kernel = r"linux-image-[0-9][a-z0-9.+~-]*-amd64"
    assert only_named(shown, kernel, "linux-image-amd64") == "linux-image-6.12.117+deb13-amd64"
    with pytest.raises(LabError, match="expected linux-image-amd64 to stand for one package"):
        only_named("", kernel, "linux-image-amd64")
