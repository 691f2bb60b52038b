"""ZFS kernel modules for Debian's kernel, compiled in a throw-away tree.

Debian ships ZFS as source (zfs-dkms); compiling it inside the emulated machine would take hours.
"""

from collections.abc import Sequence
from pathlib import Path

from ..commands import run_logged
from ..errors import LabError
from .chroot import bootstrap, run_inside, scratch_folder
from .digest import digest

_PACKAGES = (
    "linux-headers-amd64",
    "dkms",
    "build-essential",
    "libelf-dev",
    "kmod",
    "zfs-dkms",
)
# On installation zfs-dkms would compile for the kernel that runs on the build machine.
_HOOKS = (
    '--essential-hook=mkdir -p "$1/etc/dkms/framework.conf.d"; touch "$1/etc/dkms/no-autoinstall"; '
    'echo autoinstall_all_kernels=no > "$1/etc/dkms/framework.conf.d/lab.conf"',
)


def modules_key() -> str:
    return digest(Path(__file__))


class ZfsModules:
    """One set of compiled modules in the cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def archive(self) -> Path:
        """A tar file to unpack at the root of a tree (usr/lib/modules/...)."""
        return self.folder / "modules.tar"

    @property
    def kernel(self) -> str:
        """The release of the kernel that they are for, as `uname -r` says it."""
        return (self.folder / "kernel").read_text().strip()


def build_modules(cache: Path, mirror: str, log: Path) -> ZfsModules:
    """The cached modules, compiled first if absent."""
    modules = ZfsModules(cache / f"zfs-{modules_key()}")
    if not modules.folder.exists():
        with scratch_folder(cache, "zfs") as scratch:
            tree, result = scratch / "tree", scratch / "result"
            bootstrap(tree, _PACKAGES, mirror, log, _HOOKS)
            result.mkdir()
            _compile(tree, result, log)
            result.rename(modules.folder)
    return modules


def _compile(tree: Path, result: Path, log: Path) -> None:
    kernel = _only(sorted(p.name for p in (tree / "usr/lib/modules").glob("*-amd64")), "kernel")
    version = _only([p.name.removeprefix("zfs-") for p in tree.glob("usr/src/zfs-*")], "ZFS source")
    command = ["dkms", "install", "-m", "zfs", "-v", version, "-k", kernel, "--force"]
    run_inside(tree, command, log, deadline=3600)
    folder = f"usr/lib/modules/{kernel}/updates/dkms"
    run_logged(["tar", "-C", tree, "-cf", result / "modules.tar", folder], log=log, deadline=60)
    (result / "kernel").write_text(f"{kernel}\n")


def _only(found: Sequence[str], what: str) -> str:
    if len(found) != 1:
        raise LabError(f"expected one {what} in the build tree, found {list(found) or 'none'}")
    return found[0]
