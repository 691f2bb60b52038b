"""What a real host needs of Debian: what is missing, and its installation."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from fleetctl.sandbox.errors import SandboxError
from fleetctl.sandbox.phases import Phases

# Programs of the system's administrator are not on every user's PATH.
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
# Each program, and the packages that bring it.
PROGRAMS = (
    ("qemu-system-x86_64", ("qemu-system-x86",)),
    ("qemu-img", ("qemu-utils",)),
    ("libvirtd", ("libvirt-daemon-system", "libvirt-daemon-driver-qemu")),
    ("virtlogd", ("libvirt-daemon-system",)),
    ("virsh", ("libvirt-clients",)),
    ("etcd", ("etcd-server",)),
)
BINDING = "python3-libvirt"
_INSTALL_SECONDS = 1800.0


def program_path(name: str) -> Path | None:
    """A program on the PATH, or where administrators have theirs."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_PATH}")
    return Path(found) if found else None


def required_program(name: str) -> str:
    """Raises SandboxError."""
    found = program_path(name)
    if found is None:
        raise SandboxError(f"{name} is not installed: 'fleetctl sandbox up --real' installs it")
    return str(found)


def missing_packages(has_binding: bool) -> list[str]:
    """In the order in which they are told, none twice."""
    missing = [
        package
        for program, packages in PROGRAMS
        if program_path(program) is None
        for package in packages
    ]
    return list(dict.fromkeys(missing if has_binding else [*missing, BINDING]))


def install_command(packages: Sequence[str]) -> str:
    """What a person types."""
    return f"sudo apt-get install --no-install-recommends {' '.join(packages)}"


def install(packages: Sequence[str], phases: Phases) -> None:
    """As root, or through a sudo that asks for no password. Raises SandboxError with the command
    to type where neither is to be had."""
    if platform.machine() != "x86_64":
        raise SandboxError(
            f"real VMs are built for x86_64, and this machine is {platform.machine()}"
        )
    if not packages:
        return
    as_root = _way_to_root()
    if as_root is None or shutil.which("apt-get") is None:
        raise SandboxError(f"{' '.join(packages)} missing here: {install_command(packages)}")
    with phases.phase(f"installing {' '.join(packages)}") as phase:
        done = subprocess.run(
            [*as_root, *_installer(), *packages],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_INSTALL_SECONDS,
        )
        if done.returncode:
            last = done.stdout.strip().rpartition("\n")[2]
            raise SandboxError(f"{install_command(packages)} failed: {last}")
        phase.outcome = f"installed from Debian: {' '.join(packages)}"[:58]


def _installer() -> list[str]:
    """deploy/apt-install.sh starts no daemon that nobody asked for; a wheel comes without it."""
    script = Path(__file__).parents[4] / "deploy" / "apt-install.sh"
    if script.is_file():
        return ["sh", str(script)]
    return ["apt-get", "-q", "-y", "install", "--no-install-recommends"]


def _way_to_root() -> list[str] | None:
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    asked = subprocess.run(["sudo", "-n", "true"], capture_output=True, timeout=30)
    return ["sudo", "-n"] if asked.returncode == 0 else None
