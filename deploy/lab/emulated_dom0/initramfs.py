"""An initramfs for this one machine: busybox and the modules of one disk and one file system.

Debian's own finds hardware with udev, all of it anew under emulation: half a minute for a disk
that is known beforehand.
"""

import lzma
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError

# In the order of loading; what each depends on comes before it.
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
    modules = list(_with_dependencies(tree / "usr/lib/modules" / kernel))
    order = "".join(f"{_name(module)}.ko\n" for module in modules)
    entries = [
        *(_Entry(name, stat.S_IFDIR | 0o755) for name in ("bin", "dev", "modules", "root")),
        _Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)),
        _Entry("bin/busybox", stat.S_IFREG | 0o755, (tree / "usr/bin/busybox").read_bytes()),
        _Entry("init", stat.S_IFREG | 0o755, _INIT.encode()),
        _Entry("modules/order", stat.S_IFREG | 0o644, order.encode()),
        *(
            _Entry(f"modules/{_name(module)}.ko", stat.S_IFREG | 0o644, _content(module))
            for module in modules
        ),
        _Entry("TRAILER!!!", 0),
    ]
    target.write_bytes(b"".join(entry.packed(number) for number, entry in enumerate(entries)))


@dataclass(frozen=True)
class _Entry:
    """One file of a cpio archive; `device` is major and minor of a device node."""

    name: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)

    def packed(self, inode: int) -> bytes:
        """In the "newc" format: the kernel's Documentation/driver-api/early-userspace."""
        name = self.name.encode() + b"\0"
        # inode, mode, uid, gid, links, time, size, device, device of the node, name's size, check
        fields = (inode, self.mode, 0, 0, 1, 0, len(self.content), 0, 0, *self.device, len(name), 0)
        head = b"070701" + "".join(f"{field:08X}" for field in fields).encode() + name
        return _padded(head) + _padded(self.content)


def _padded(text: bytes) -> bytes:
    return text + bytes(-len(text) % 4)


def _with_dependencies(folder: Path) -> Iterator[Path]:
    dependencies: dict[str, list[str]] = {}
    paths: dict[str, str] = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        path, _, needed = line.partition(":")
        paths[_name(Path(path))] = path
        # The deepest dependency stands last.
        dependencies[_name(Path(path))] = needed.split()[::-1]
    builtin = {_name(Path(line)) for line in (folder / "modules.builtin").read_text().split()}
    loaded: set[str] = set()
    for wanted in _MODULES:
        if wanted in builtin:
            continue
        if wanted not in paths:
            raise LabError(f"the kernel in {folder} has no module {wanted}")
        for path in (*dependencies[wanted], paths[wanted]):
            if path not in loaded:
                loaded.add(path)
                yield folder / path


def _name(module: Path) -> str:
    """`virtio_blk` of .../virtio_blk.ko.xz."""
    return module.name.partition(".")[0].replace("-", "_")


def _content(module: Path) -> bytes:
    packed = module.read_bytes()
    return lzma.decompress(packed) if module.suffix == ".xz" else packed
