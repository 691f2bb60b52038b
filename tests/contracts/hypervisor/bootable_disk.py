"""A tiny disk that a BIOS and UEFI start alike, made of what Debian installs: GRUB, the newest
kernel in /boot, and busybox. No loop device and no mount: mtools writes its file system.

Its guest says by which firmware it was started, what disks, CD and interface it has, and `ready`.
"""

from __future__ import annotations

import gzip
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "deploy" / "lab"))

from emulated_dom0.building import cpio
from emulated_dom0.building.kernel_modules import Module, modules_in_order

SECTOR = 512
MIB = 1024 * 1024
# Where the one partition begins; before it lie GRUB's first sectors.
PARTITION = MIB
SIZE = 48 * MIB
MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "ata_piix", "sr_mod")

_GRUB_MODULES = ("part_msdos", "fat", "normal", "linux", "serial", "terminal", "configfile")
_GRUB_CONFIG = """\
serial --unit=0
terminal_input serial
terminal_output serial
set timeout=0
set gfxpayload=text
menuentry guest {
  linux /vmlinuz console=ttyS0 quiet started=$grub_platform
  initrd /initrd.img
}
"""
_INIT = """\
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod /modules/$module.ko; done
firmware=bios
[ -d /sys/firmware/efi ] && firmware=uefi
echo "firmware=$firmware grub=$(sed 's/.*started=//' /proc/cmdline)"
echo "disks=$(ls /sys/block | grep -v ram | grep -v loop | tr '\\n' ' ')"
for one in /sys/class/net/e*/address; do [ -f $one ] && echo "mac=$(cat $one)"; done
[ -b /dev/sr0 ] && echo "cd=$(head -c 20 /dev/sr0)"
echo "guest: ready"
exec sleep 100000
"""


def elf_kernel(kernel: Path) -> bytes | None:
    """The ELF program in a bzImage, which has a note of PVH; None where it is not packed by LZ4, as
    Debian's kernel for clouds is. Documentation/arch/x86/boot.rst."""
    image = kernel.read_bytes()
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (image[0x1F1] + 1) * SECTOR + offset
    packed = image[start : start + length - 4]  # without the size at its end
    if not packed.startswith(b"\x02\x21\x4c\x18") or not shutil.which("lz4"):
        return None
    done = subprocess.run(["lz4", "-dc"], input=packed, capture_output=True, timeout=60)
    return done.stdout if done.stdout.startswith(b"\x7fELF") else None


def newest_kernel() -> Path:
    return max(_kernels(), key=lambda one: one[0].stat().st_mtime)[0]


def missing() -> str:
    """What this machine lacks to make one, in words; empty when it has all."""
    tools = [one for one in ("grub-mkimage", "mformat", "mcopy") if not shutil.which(one)]
    files = [
        name
        for name, there in (
            ("grub-pc-bin", Path("/usr/lib/grub/i386-pc").is_dir()),
            ("grub-efi-amd64-bin", Path("/usr/lib/grub/x86_64-efi").is_dir()),
            ("a kernel in /boot with its modules", bool(list(_kernels()))),
            ("busybox-static", Path("/usr/bin/busybox").exists()),
        )
        if not there
    ]
    return ", ".join(tools + files)


def write_bootable_disk(disk: Path) -> None:
    """A raw image at `disk`. Leaves its parts beside it."""
    folder = disk.parent
    kernel, modules = max(_kernels(), key=lambda one: one[0].stat().st_mtime)
    (folder / "initrd.img").write_bytes(gzip.compress(cpio.archive(_initramfs(modules)), 1))
    (folder / "grub.cfg").write_text(_GRUB_CONFIG)
    core, efi = folder / "core.img", folder / "bootx64.efi"
    _mkimage("i386-pc", core, folder, "biosdisk")
    _mkimage("x86_64-efi", efi, folder)
    with disk.open("wb") as image:
        image.truncate(SIZE)
        image.write(_first_sector())
        image.write(core.read_bytes())
        assert image.tell() <= PARTITION
    offset = f"{disk}@@{PARTITION}"
    _run("mformat", "-i", offset, "-T", str((SIZE - PARTITION) // SECTOR), "-F", "::")
    _run("mmd", "-i", offset, "::/EFI", "::/EFI/BOOT", "::/grub")
    for source, target in (
        (kernel, "vmlinuz"),
        (folder / "initrd.img", "initrd.img"),
        (folder / "grub.cfg", "grub/grub.cfg"),
        (efi, "EFI/BOOT/BOOTX64.EFI"),
    ):
        _run("mcopy", "-i", offset, str(source), f"::/{target}")


def _kernels() -> Iterator[tuple[Path, Path]]:
    for kernel in Path("/boot").glob("vmlinuz-*"):
        modules = Path("/lib/modules") / kernel.name.removeprefix("vmlinuz-")
        if modules.is_dir():
            yield kernel, modules


def _mkimage(target: str, image: Path, folder: Path, *modules: str) -> None:
    early = folder / "early.cfg"
    early.write_text("search --file /grub/grub.cfg --set root\nconfigfile /grub/grub.cfg\n")
    _run(
        "grub-mkimage", "-O", target, "-o", str(image), "-p", "/grub", "-c", str(early),
        *modules, "search", "search_fs_file", *_GRUB_MODULES,
    )  # fmt: skip


def _first_sector() -> bytes:
    """GRUB's, which reads on from the next sector; with one active partition of FAT, which UEFI
    takes for its own."""
    code = Path("/usr/lib/grub/i386-pc/boot.img").read_bytes()[:440]
    first, count = PARTITION // SECTOR, (SIZE - PARTITION) // SECTOR
    entry = bytes((0x80, 0, 0, 0, 0xEF, 0, 0, 0))
    entry += first.to_bytes(4, "little") + count.to_bytes(4, "little")
    return code + b"boot\0\0" + entry + bytes(48) + b"\x55\xaa"


def _initramfs(modules: Path) -> Iterator[cpio.Entry]:
    for name in ("bin", "sbin", "dev", "proc", "sys", "modules"):
        yield cpio.folder(name)
    yield cpio.CONSOLE
    yield cpio.program("bin/busybox", Path("/usr/bin/busybox").read_bytes())
    for name in ("sh", "mount", "insmod", "cat", "sed", "ls", "grep", "tr", "head", "sleep"):
        yield cpio.link(f"bin/{name}", "/bin/busybox")
    yield cpio.program("init", _INIT.encode())
    order: list[Module] = list(modules_in_order(modules, MODULES))
    yield cpio.file("modules/order", "\n".join(one.name for one in order).encode())
    for one in order:
        yield cpio.file(f"modules/{one.name}.ko", one.content())


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stderr}"
