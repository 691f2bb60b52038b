"""The guest: Debian's cloud kernel, busybox and the drivers it needs, and a golden image.

Built once for all sandboxes of a user, from packages that are installed on this machine, or else
fetched and unpacked without installing them. A guest of other sources or of another release of
this module is another folder.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleetctl.sandbox.errors import SandboxError
from fleetctl.sandbox.phases import Phases
from fleetctl.sandbox.real.debian_archive import Archive, unpack
from fleetctl.sandbox.real.guest_compiler import (
    COMPILER_PACKAGE,
    Compiler,
    installed_compiler,
    unpacked_compiler,
)

KERNEL_PACKAGE = "linux-image-cloud-amd64"
BUSYBOX_PACKAGE = "busybox-static"
GOLDEN_BYTES = 8 << 20
# What the guest loads, with what each of them needs loaded before.
DRIVERS = ("virtio_pci", "virtio_blk", "virtio_net")
# What only a guest loads whose identity comes through a port.
IDENTITY_DRIVERS = ("virtio_console",)
_INIT = Path(__file__).with_name("guest_init")
_IDENTITY = Path(__file__).with_name("guest_identity.c")
# Where a boot loader's code would be, the guest keeps whose disk it is.
_GOLDEN_LINE = b"golden 0".ljust(63) + b"\n"
_SECTOR = 512
_FIRST_SECTOR = 2048
_LINUX_PARTITION = 0x83
_PACK_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Guest:
    """A folder with all of it."""

    folder: Path

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd.img"

    @property
    def golden(self) -> Path:
        return self.folder / "golden.raw"

    @property
    def parts(self) -> tuple[Path, Path, Path]:
        return self.kernel, self.initrd, self.golden


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a kernel, its modules and a static busybox lie."""

    kernel: Path
    modules: Path
    busybox: Path
    compiler: Compiler


def cached(folder: Path, phases: Phases) -> Guest:
    """The guest of this release of us, built first if need be. Raises SandboxError, OSError."""
    guest = Guest(folder / _release())
    if all(part.exists() for part in guest.parts):
        return guest
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (
        phases.phase("building the guest from Debian's packages") as phase,
        tempfile.TemporaryDirectory(prefix="building-", dir=folder) as name,
    ):
        work = Path(name)
        sources = installed() or fetched(work)
        made = Guest(work / "guest")
        made.folder.mkdir()
        shutil.copyfile(sources.kernel, made.kernel)
        made.initrd.write_bytes(initrd(sources, work / "tree"))
        _write_golden(made.golden)
        shutil.rmtree(guest.folder, ignore_errors=True)
        made.folder.rename(guest.folder)
        phase.outcome = f"guest of {sources.modules.name} built"
    return guest


def copied(guest: Guest, folder: Path) -> Guest:
    """Its own copy for one sandbox, readable by QEMU whoever that runs as. Raises OSError."""
    there = Guest(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    for source, target in zip(guest.parts, there.parts, strict=True):
        if not target.exists():
            shutil.copyfile(source, target)
            target.chmod(0o644)
    return there


def installed(root: Path = Path("/")) -> Sources | None:
    """What this machine has installed of it, the newest kernel; None unless all is there."""
    busybox = next((one for one in _busyboxes(root) if _is_static(one)), None)
    compiler = installed_compiler()
    kernels = sorted(root.glob("boot/vmlinuz-*-cloud-amd64"), key=lambda one: one.stat().st_mtime)
    for kernel in reversed(kernels):
        modules = root / "lib" / "modules" / kernel.name.removeprefix("vmlinuz-")
        if busybox and compiler and modules.is_dir() and os.access(kernel, os.R_OK):
            return Sources(kernel, modules, busybox, compiler)
    return None


def fetched(work: Path) -> Sources:
    """From packages that are fetched for it and unpacked. Raises SandboxError."""
    archive = Archive(work / "apt")
    tree = work / "packages"
    kernel = archive.stands_for(KERNEL_PACKAGE, r"linux-image-[0-9][a-z0-9.+~-]*-cloud-amd64")
    compiler = installed_compiler()
    packages = [kernel, BUSYBOX_PACKAGE] + ([] if compiler else [COMPILER_PACKAGE])
    for package in archive.fetch(packages, work / "fetched"):
        unpack(package, tree)
    busybox = next(iter(_busyboxes(tree)), None)
    kernels = sorted(tree.glob("boot/vmlinuz-*"))
    folders = [*tree.glob("usr/lib/modules/*"), *tree.glob("lib/modules/*")]
    if busybox is None or not kernels or not folders:
        raise SandboxError(f"{kernel} and {BUSYBOX_PACKAGE} do not hold what they did: report this")
    return Sources(kernels[0], folders[0], busybox, compiler or unpacked_compiler(tree))


def initrd(sources: Sources, tree: Path) -> bytes:
    """An archive that is not compressed: to unpack it would cost an emulated guest more than to
    read it. Made by the busybox that goes into it. Raises SandboxError."""
    for name in ("bin", "dev", "proc", "sys", "etc", "modules", "identity"):
        (tree / name).mkdir(parents=True)
    shutil.copyfile(sources.busybox, tree / "bin" / "busybox")
    (tree / "bin" / "busybox").chmod(0o755)
    (tree / "bin" / "sh").symlink_to("busybox")
    (tree / "init").write_bytes(_INIT.read_bytes())
    (tree / "init").chmod(0o755)
    loaded = drivers(sources.modules)
    _write_drivers(loaded, tree / "modules")
    also = drivers(sources.modules, IDENTITY_DRIVERS)
    _write_drivers({name: also[name] for name in also if name not in loaded}, tree / "identity")
    sources.compiler.compile(_IDENTITY, tree / "identity" / "guest")
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*"))) + "\n"
    try:
        return subprocess.run(
            [sources.busybox, "cpio", "-o", "-H", "newc", "-R", "0:0"],
            cwd=tree,
            input=names.encode(),
            capture_output=True,
            check=True,
            timeout=_PACK_SECONDS,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise SandboxError(f"the guest's initrd cannot be packed: {error}") from error


def _write_drivers(files: dict[str, bytes], folder: Path) -> None:
    for number, (name, content) in enumerate(files.items()):
        (folder / f"{number:02}-{name}.ko").write_bytes(content)


def drivers(modules: Path, wanted: Sequence[str] = DRIVERS) -> dict[str, bytes]:
    """The modules in the order in which they load. What the kernel has built in is no file, and
    is left out. Raises SandboxError where there is none at all."""
    files = {path.name.partition(".")[0].replace("-", "_"): path for path in modules.rglob("*.ko*")}
    ordered: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in ordered or name not in files:
            return
        content = _plain(files[name])
        for needed in _needs(content):
            add(needed)
        ordered[name] = content

    for name in wanted:
        add(name)
    if not files:
        raise SandboxError(f"{modules} holds no kernel modules")
    return ordered


def _needs(module: bytes) -> list[str]:
    """The section .modinfo holds texts that end with a zero: depends=virtio,virtio_ring"""
    _, found, rest = module.partition(b"\0depends=")
    names = rest.partition(b"\0")[0].decode() if found else ""
    return [name.replace("-", "_") for name in names.split(",") if name]


def _plain(file: Path) -> bytes:
    content = file.read_bytes()
    return lzma.decompress(content) if file.suffix == ".xz" else content


def _write_golden(file: Path) -> None:
    with file.open("wb") as golden:
        golden.write(golden_sector())
        golden.truncate(GOLDEN_BYTES)


def golden_sector() -> bytes:
    """A partition table with one empty partition: by that it is known as a disk."""
    count = GOLDEN_BYTES // _SECTOR - _FIRST_SECTOR
    partition = struct.pack("<B3xB3xII", 0, _LINUX_PARTITION, _FIRST_SECTOR, count)
    return _GOLDEN_LINE.ljust(446, b"\0") + partition.ljust(64, b"\0") + b"\x55\xaa"


def _busyboxes(root: Path) -> list[Path]:
    return [path for path in (root / "usr/bin/busybox", root / "bin/busybox") if path.is_file()]


def _is_static(program: Path) -> bool:
    """Debian's plain busybox has the same name and needs a C library."""
    return b"/ld-linux" not in program.read_bytes()[:4096]


def _release() -> str:
    files = (Path(__file__), _INIT, _IDENTITY)
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
