#!/usr/bin/env python3
"""A cloud image as distributions make them, from Debian's packages: cloud-init, openssh-server,
netplan and Debian's cloud kernel on a partitioned disk that a BIOS boots.

cloud_image.py FOLDER makes FOLDER/cloud-<key>/ with disk.raw, vmlinuz and initrd.img, unless it is
there, and prints its path. Root is needed to make it, mmdebstrap, and mke2fs. Python's standard
library only.
"""

import shutil
import struct
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "lab"))

from emulated_dom0.building.chroot import bootstrap, run_inside, scratch_folder  # noqa: E402
from emulated_dom0.building.digest import digest  # noqa: E402
from emulated_dom0.building.mirror import debian_mirror  # noqa: E402
from emulated_dom0.commands import run_logged  # noqa: E402
from emulated_dom0.errors import LabError  # noqa: E402

_PACKAGES = (
    "systemd-sysv",
    "udev",
    "dbus",
    "linux-image-cloud-amd64",
    "initramfs-tools",
    "cloud-init",
    "openssh-server",
    "netplan.io",
    "systemd-resolved",
    "iproute2",
    "sudo",
    "grub-pc-bin",
)
SECTOR = 512
_START = 2048  # the first partition's sector; before it are the boot record and GRUB
_DISK_BYTES = 2 << 30
_LABEL = "cloudimg"
_CMDLINE = f"root=LABEL={_LABEL} ro console=tty0 console=ttyS0,115200"
_MENU = f"""serial --unit=0 --speed=115200
terminal_output serial
linux /vmlinuz {_CMDLINE}
initrd /initrd.img
boot
"""
_GRUB_MODULES = ("biosdisk", "part_msdos", "ext2", "normal", "configfile", "linux", "serial")


def cloud_image(cache: Path) -> Path:
    """The cached folder of the current recipe, made first if absent."""
    made = cache / f"cloud-{digest(Path(__file__))}"
    if made.exists():
        return made
    cache.mkdir(parents=True, exist_ok=True)
    log = cache / "cloud.log"
    with scratch_folder(cache, "cloud") as scratch:
        tree, result = scratch / "tree", scratch / "result"
        result.mkdir()
        bootstrap(tree, _PACKAGES, debian_mirror(), log)
        _configure(tree)
        core = _grub(tree, log)
        for name in ("vmlinuz", "initrd.img"):
            shutil.copy((tree / name).resolve(), result / name)
        _make_disk(tree, core, result / "disk.raw", log)
        result.rename(made)
    return made


def _configure(tree: Path) -> None:
    """As an image is handed out: nothing in it tells one VM from another."""
    (tree / "etc/fstab").write_text(f"LABEL={_LABEL} / ext4 rw,errors=remount-ro 0 1\n")
    (tree / "etc/machine-id").write_text("")
    (tree / "etc/hostname").unlink(missing_ok=True)
    for key in (tree / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    for unit in ("apt-daily.timer", "apt-daily-upgrade.timer"):
        (tree / "etc/systemd/system" / unit).symlink_to("/dev/null")
    # As Debian's own images have it: a VM knows its name's address without a server.
    (tree / "etc/cloud/cloud.cfg.d/01_debian_cloud.cfg").write_text("manage_etc_hosts: true\n")
    (tree / "boot/grub").mkdir(exist_ok=True)
    (tree / "boot/grub/grub.cfg").write_text(_MENU)


def _grub(tree: Path, log: Path) -> bytes:
    """GRUB's image for the sectors between the boot record and the first partition."""
    command = ["grub-mkimage", "-O", "i386-pc", "-o", "/core.img", "-p", "(hd0,msdos1)/boot/grub"]
    run_inside(tree, [*command, *_GRUB_MODULES], log)
    core = (tree / "core.img").read_bytes()
    (tree / "core.img").unlink()
    if len(core) > (_START - 1) * SECTOR:
        raise LabError(f"GRUB's image has {len(core)} bytes, more than fit before the partition")
    return core


def _make_disk(tree: Path, core: bytes, disk: Path, log: Path) -> None:
    boot = (tree / "usr/lib/grub/i386-pc/boot.img").read_bytes()
    count = _DISK_BYTES // SECTOR - _START
    # Active, of Linux; no CHS addresses.
    entry = struct.pack("<B3xB3xII", 0x80, 0x83, _START, count)
    record = boot[:440] + bytes(6) + entry + bytes(48) + b"\x55\xaa"
    with open(disk, "wb") as raw:
        raw.write(record + core)
        raw.truncate(_DISK_BYTES)
    options = ["-t", "ext4", "-L", _LABEL, "-E", f"offset={_START * SECTOR}", "-d", str(tree)]
    run_logged(["mke2fs", "-q", "-F", *options, str(disk), f"{count // 2}k"], log=log, deadline=600)


if __name__ == "__main__":
    try:
        print(cloud_image(Path(sys.argv[1]).resolve()))
    except LabError as error:
        sys.exit(f"cloud image: {error}")
