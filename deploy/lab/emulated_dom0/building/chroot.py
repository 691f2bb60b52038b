"""Debian trees: made by mmdebstrap, entered in a mount namespace that ends with its command."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..commands import run_logged

SUITE = "trixie"
COMPONENTS = "main,contrib"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# A mirror may be frozen at a date, so that its index looks expired.
_OPTIONS = (
    '--aptopt=Acquire::Check-Valid-Until "false"',
    '--aptopt=Apt::Install-Recommends "false"',
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
)
# The mounts live in a namespace of the command's own: whatever kills it, none of them stays
# behind in the tree, and deleting the tree can never reach the machine's own /dev.
_ENTER = """set -e
mount -t proc proc "$0/proc"
mount --rbind /dev "$0/dev"
mount -t sysfs sys "$0/sys"
exec chroot "$0" "$@"
"""


def bootstrap(
    target: Path, packages: Sequence[str], mirror: str, log: Path, hooks: Sequence[str] = ()
) -> None:
    """Install `packages` into `target`: a folder, or a tar file by its suffix."""
    source = f"deb [signed-by={_KEYRING}] {mirror} {SUITE} {COMPONENTS.replace(',', ' ')}"
    command = ["mmdebstrap", "--mode=root", "--variant=minbase", f"--components={COMPONENTS}"]
    command += [*_OPTIONS, *hooks, f"--include={','.join(packages)}"]
    run_logged([*command, SUITE, target, source], log=log, deadline=1800)


def run_inside(tree: Path, command: Sequence[str], log: Path, deadline: float = 300) -> None:
    """Run a command with `tree` as its root, with /proc, /dev and /sys."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}
    prefix = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", _ENTER, str(tree)]
    run_logged([*prefix, *command], log=log, deadline=deadline, env=environment)


@contextmanager
def scratch_folder(cache: Path, purpose: str) -> Iterator[Path]:
    """A folder in the cache that is gone afterwards, as is what an earlier crash left of it."""
    for leftover in cache.glob(f"work-{purpose}-*"):
        shutil.rmtree(leftover)
    folder = Path(tempfile.mkdtemp(prefix=f"work-{purpose}-", dir=cache))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
