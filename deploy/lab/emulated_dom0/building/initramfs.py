"""An initramfs for this one machine: busybox and the modules of one disk and one file system.

Debian's own finds hardware with udev, all of it anew under emulation: half a minute for a disk
that is known beforehand.
"""

from pathlib import Path

from . import cpio
from .kernel_modules import modules_in_order

_MODULES = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")
_INIT = """#!/bin/busybox sh
busybox=/bin/busybox
$busybox mount -t devtmpfs dev /dev
while read -r module; do $busybox insmod "/modules/$module"; done < /modules/order
until [ -b /dev/vda ]; do $busybox sleep 0.1; done
$busybox mount -t ext4 -o noatime /dev/vda /root
$busybox mount --move /dev /root/dev
exec $busybox switch_root /root /sbin/init
"""


def write_initramfs(tree: Path, kernel: str, target: Path) -> None:
    """From a tree with busybox-static and the kernel's modules, after depmod."""
    modules = list(modules_in_order(tree / "usr/lib/modules" / kernel, _MODULES))
    order = "".join(f"{module.name}.ko\n" for module in modules)
    entries = [
        *(cpio.folder(name) for name in ("bin", "dev", "modules", "root")),
        cpio.CONSOLE,
        cpio.program("bin/busybox", (tree / "usr/bin/busybox").read_bytes()),
        cpio.program("init", _INIT.encode()),
        cpio.file("modules/order", order.encode()),
        *(cpio.file(f"modules/{module.name}.ko", module.content()) for module in modules),
    ]
    target.write_bytes(cpio.archive(entries))
