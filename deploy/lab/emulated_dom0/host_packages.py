"""The packages that this machine needs: to build the image, to boot it, to reach it."""

import os
import shutil
import subprocess
from pathlib import Path

from .commands import run_logged
from .errors import LabError
from .folders import CHECKOUT

PACKAGES = (
    "arch-test",
    "binutils",
    "debian-archive-keyring",
    "e2fsprogs",
    "gcc",
    "libc6-dev",
    "make",
    "mmdebstrap",
    "openssh-client",
    "python3-venv",
    "qemu-system-x86",
    "qemu-utils",
    "seabios",
    "tar",
    "util-linux",
)


def missing_packages() -> list[str]:
    if shutil.which("dpkg-query") is None:
        raise LabError("the lab is built with Debian's tools: run it on Debian 12 or 13")
    return [name for name in PACKAGES if not _is_installed(name)]


def _is_installed(package: str) -> bool:
    answer = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status}", package], capture_output=True, text=True
    )
    return answer.stdout == "installed"


def install_missing(log: Path) -> None:
    """Install what is absent; raises LabError for a user without the right to."""
    missing = missing_packages()
    if not missing:
        return
    if os.geteuid() != 0:
        raise LabError(
            "packages are missing, and installing them needs root; run: "
            f"sudo apt-get install --no-install-recommends {' '.join(missing)}"
        )
    print(f"lab: installing {' '.join(missing)}", flush=True)
    install = ["sh", str(CHECKOUT / "deploy" / "apt-install.sh"), *missing]
    run_logged(install, log=log, deadline=1800)
