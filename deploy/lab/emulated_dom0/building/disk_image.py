"""The dom0's disk, hypervisor, kernel and initramfs, ready for QEMU.

Layers, each cached under its own key: ZFS modules, the packages' tree, the agent's wheels; and
from these three and `rootfs/` the image.
"""

import gzip
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..commands import Stopwatch, end_running_commands, read_output, run_logged
from ..errors import LabError
from ..folders import Folders
from .agent_wheels import fetch_wheels, wheels_key
from .chroot import run_inside, scratch_folder
from .digest import digest
from .dom0_setup import configure, install_wheels, setup_key
from .initramfs import write_initramfs
from .mirror import debian_mirror
from .root_tree import build_root, root_key
from .zfs_modules import ZfsModules, build_modules, modules_key

_DISK_GIB = 8
_INITRAMFS_RECIPE = ("initramfs", "cpio", "kernel_modules")


@dataclass(frozen=True)
class Image:
    folder: Path

    @property
    def key(self) -> str:
        return self.folder.name.removeprefix("image-")

    @property
    def disk(self) -> Path:
        """Raw, sparse; never written to: a run has an overlay of its own."""
        return self.folder / "dom0.raw"

    @property
    def hypervisor(self) -> Path:
        """Xen as an uncompressed multiboot ELF, which QEMU's -kernel wants."""
        return self.folder / "xen"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initramfs(self) -> Path:
        return self.folder / "initrd.img"

    @property
    def known_hosts(self) -> Path:
        """The dom0's ssh host key under the name `dom0`."""
        return self.folder / "known_hosts"


def build_image(folders: Folders, watch: Stopwatch) -> Image:
    """The cached image of the current recipe, built first if absent (root needed to build)."""
    mirror = debian_mirror()
    with ThreadPoolExecutor(3) as pool:
        root = pool.submit(build_root, folders.cache, mirror, folders.logs / "root.log")
        wheels = pool.submit(fetch_wheels, folders.cache, folders.logs / "wheels.log")
        modules = pool.submit(build_modules, folders.cache, mirror, folders.logs / "zfs.log")
        try:
            for name, job in (("wheels", wheels), ("packages", root), ("ZFS modules", modules)):
                job.result()
                watch.say(f"{name} ready")
        except BaseException:
            end_running_commands()
            raise
    _make_key(folders)
    image = Image(folders.cache / f"image-{_image_key(folders, wheels.result())}")
    if not image.folder.exists():
        with scratch_folder(folders.cache, "image") as scratch:
            parts = _Parts(root.result(), modules.result(), wheels.result(), folders)
            _assemble(scratch, parts, folders.logs / "image.log")
            (scratch / "result").rename(image.folder)
        watch.say(f"image {image.key} made")
    return image


def prune_cache(folders: Folders, image: Image, in_use: str | None) -> None:
    """Drop what other recipes left, but not the image that a running machine boots from."""
    current = {
        image.folder.name,
        f"image-{in_use}",
        f"root-{root_key()}.tar",
        f"zfs-{modules_key()}",
        f"wheels-{wheels_key()}",
    }
    for entry in folders.cache.iterdir():
        if entry.name in current:
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _image_key(folders: Folders, wheels: Path) -> str:
    names = sorted(wheel.name for wheel in wheels.iterdir())
    key = folders.ssh_key.with_suffix(".pub")
    return digest(
        Path(__file__),
        *(Path(__file__).with_name(f"{name}.py") for name in _INITRAMFS_RECIPE),
        setup_key(),
        root_key(),
        modules_key(),
        *names,
        key,
    )


def _make_key(folders: Folders) -> None:
    if not folders.ssh_key.exists():
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "megafleet-lab"]
        read_output([*command, "-f", folders.ssh_key])


@dataclass(frozen=True)
class _Parts:
    root: Path
    modules: ZfsModules
    wheels: Path
    folders: Folders


def _assemble(scratch: Path, parts: _Parts, log: Path) -> None:
    tree, result = scratch / "tree", scratch / "result"
    tree.mkdir()
    result.mkdir()
    _unpack(parts.root, tree, log)
    _unpack(parts.modules.archive, tree, log)
    kernel = parts.modules.kernel
    _check_kernel(tree, parts)
    configure(tree, parts.folders.ssh_key.with_suffix(".pub"), log)
    install_wheels(tree, parts.wheels, log)
    run_inside(tree, ["depmod", kernel], log)
    write_initramfs(tree, kernel, result / "initrd.img")
    _export(tree, result, kernel)
    _make_disk(tree, result / "dom0.raw", log)


def _unpack(archive: Path, tree: Path, log: Path) -> None:
    options = ["--numeric-owner", "--xattrs", "--xattrs-include=*"]
    run_logged(["tar", "-C", tree, *options, "-xf", archive], log=log, deadline=300)


def _check_kernel(tree: Path, parts: _Parts) -> None:
    """The mirror may have moved on between the two cached layers; then both are stale."""
    installed = sorted(p.name for p in (tree / "usr/lib/modules").glob("*-amd64"))
    if installed != [parts.modules.kernel]:
        parts.root.unlink()
        shutil.rmtree(parts.modules.folder)
        raise LabError(
            f"the packages have kernel {', '.join(installed)} and the ZFS modules are for "
            f"{parts.modules.kernel}; both were dropped from the cache: run the command again"
        )


def _export(tree: Path, result: Path, kernel: str) -> None:
    shutil.copy(tree / f"boot/vmlinuz-{kernel}", result / "vmlinuz")
    (compressed,) = (tree / "boot").glob("xen-*-amd64.gz")
    with gzip.open(compressed) as packed, open(result / "xen", "wb") as plain:
        shutil.copyfileobj(packed, plain)
    host_key = (tree / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
    (result / "known_hosts").write_text(f"dom0 {host_key}")


def _make_disk(tree: Path, disk: Path, log: Path) -> None:
    with open(disk, "wb") as raw:
        raw.truncate(_DISK_GIB << 30)
    command = ["mke2fs", "-q", "-t", "ext4", "-L", "dom0", "-d", str(tree), str(disk)]
    run_logged(command, log=log, deadline=600)
