#!/usr/bin/env python3
"""The small Linux guest: Debian's kernel, and an initramfs of busybox, a few drivers and rc.

build.py FOLDER writes FOLDER/vmlinuz and FOLDER/initrd.img. Packages once fetched stay in
FOLDER/packages: delete it for newer ones. Python's standard library only.
"""

import gzip
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "lab"))

from debian_packages import Archive, unpack  # noqa: E402
from emulated_dom0.building import cpio  # noqa: E402
from emulated_dom0.building.kernel_modules import Module, modules_in_order  # noqa: E402
from emulated_dom0.commands import run_logged  # noqa: E402
from emulated_dom0.errors import LabError  # noqa: E402

_KERNEL = "linux-image-amd64"
_KERNEL_IMAGE = r"linux-image-[0-9][a-z0-9.+~-]*-amd64"
_BUSYBOX = "busybox-static"
_FILE_SYSTEM = ("crc32c_generic", "ext4")
# What the guest loads, by the bus that it finds itself on.
_MODULES = {
    "xen": ("xen_blkfront", "xen_netfront", *_FILE_SYSTEM),
    "virtio": ("virtio_pci", "virtio_blk", "virtio_net", "virtio_console", *_FILE_SYSTEM),
}
# Started by the kernel when the tool stack asks for it.
_APPLETS = ("sbin/poweroff", "sbin/reboot", "sbin/halt")


def build(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "build.log"
    packages = _packages(folder, log)
    with tempfile.TemporaryDirectory(prefix="tree-", dir=folder) as name:
        tree = Path(name)
        for package in packages:
            unpack(package, tree, log)
        _replace(folder / "vmlinuz", _only(tree, "boot/vmlinuz-*").read_bytes())
        _replace(folder / "initrd.img", gzip.compress(initramfs(tree, log), mtime=0))


def initramfs(tree: Path, log: Path) -> bytes:
    """The archive, from a tree with the kernel's modules and busybox."""
    busybox = _only(tree, "usr/bin/busybox")
    modules = _modules(tree, busybox, log)
    orders = {bus: list(modules_in_order(modules, wanted)) for bus, wanted in _MODULES.items()}
    return cpio.archive(entries(busybox.read_bytes(), orders))


def entries(busybox: bytes, orders: Mapping[str, Sequence[Module]]) -> Iterator[cpio.Entry]:
    """The archive's files; `orders` are the modules to load, by the bus that they are for."""
    for name in ("bin", "sbin", "dev", "etc", "proc", "sys", "modules"):
        yield cpio.folder(name)
    yield cpio.CONSOLE
    yield cpio.program("bin/busybox", busybox)
    for name in ("init", "bin/sh", *_APPLETS):
        yield cpio.link(name, "/bin/busybox")
    yield cpio.program("etc/rc", (HERE / "rc").read_bytes())
    yield cpio.file("etc/inittab", (HERE / "inittab").read_bytes())
    for bus, order in orders.items():
        names = "".join(f"{module.name}\n" for module in order)
        yield cpio.file(f"modules/{bus}", names.encode())
    for name, module in {one.name: one for order in orders.values() for one in order}.items():
        yield cpio.file(f"modules/{name}.ko", module.content())


def _modules(tree: Path, busybox: Path, log: Path) -> Path:
    """The folder of the kernel's modules, with depmod's tables."""
    modules = _only(tree, "usr/lib/modules/*")
    if not (tree / "lib").exists():
        (tree / "lib").symlink_to("usr/lib")
    run_logged([busybox, "depmod", "-b", tree, modules.name], log=log, deadline=300)
    return modules


def _packages(folder: Path, log: Path) -> list[Path]:
    """The packages' files, fetched first if absent; all of them or none are there."""
    kept = folder / "packages"
    if not kept.exists():
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=folder) as name:
            fetched = Path(name)
            archive = Archive(fetched / "apt", log)
            kernel = archive.behind(_KERNEL, _KERNEL_IMAGE)
            archive.fetch([kernel, _BUSYBOX], fetched / "packages")
            (fetched / "packages").rename(kept)
    return sorted(kept.glob("*.deb"))


def _only(tree: Path, pattern: str) -> Path:
    found = sorted(tree.glob(pattern))
    if len(found) != 1:
        raise LabError(f"expected one {pattern} in the packages, found {len(found)}")
    return found[0]


def _replace(target: Path, content: bytes) -> None:
    fresh = target.with_suffix(".new")
    fresh.write_bytes(content)
    shutil.move(fresh, target)


if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]).resolve())
    except LabError as error:
        sys.exit(f"guests: {error}")
