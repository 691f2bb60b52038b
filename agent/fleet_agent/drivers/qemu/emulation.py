"""QEMU as this host has it, and what a guest needs that the host lacks. Blocking."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet_agent.core.domain.disks import DiskFormat
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.core.qemu.machine import (
    Emulator,
    Guest,
    Memory,
    Nic,
    Sockets,
    Way,
    arguments,
)
from fleet_agent.drivers.qemu import taps

PROGRAM = "qemu-system-x86_64"
# Debian's user for QEMU.
RUN_AS = "libvirt-qemu"
_SECONDS = 20.0
# A qcow2 header tells the size of the disk here: docs/interop/qcow2.txt of QEMU.
_SIZE_AT, _SIZE_LENGTH = 24, 8

Arguments = Callable[[Emulator, Guest, Way, Sockets, Memory], Sequence[str]]


class Installed:
    """The QEMU that is installed: looked at each time, since it may be upgraded while VMs run."""

    def __init__(self, flavour: Flavour, program: str = PROGRAM) -> None:
        self._flavour = flavour
        self._program = program
        self._known: tuple[str, Emulator] | None = None

    def find(self) -> Emulator:
        """Raises OSError."""
        found = shutil.which(self._program)
        if found is None:
            raise FileNotFoundError(0, f"{self._program} is not installed")
        about = os.stat(found)
        stamp = f"{about.st_size}:{about.st_mtime_ns}:{about.st_ino}"
        if self._known is None or self._known[0] != stamp:
            version = f"{_said_version(found)} {stamp}"
            made = Emulator(found, version, _processor(), self._flavour, _user())
            self._known = (stamp, made)
        return self._known[1]


def _said_version(program: str) -> str:
    """Raises OSError."""
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.SubprocessError as error:
        raise OSError(0, f"{program} does not say its version") from error
    return done.stdout.partition("\n")[0]


def missing(guest: Guest) -> tuple[str, str] | None:
    for what, path in (("kernel", guest.kernel), ("initrd", guest.initrd)):
        if path and not os.path.exists(path):
            return "kernel", f"the {what} {path} is not on this host"
    if guest.disk and not os.path.exists(guest.disk.path):
        return "disk", f"the disk {guest.disk.path} is not on this host"
    for nic in guest.nics:
        try:
            socket.if_nametoindex(nic.bridge)
        except OSError:
            return "network", f"the bridge {nic.bridge} is not on this host"
    return None


def file_stamps(guest: Guest) -> list[str]:
    """What tells another kernel and initrd. Raises OSError."""
    return [
        f"{about.st_size}:{about.st_mtime_ns}:{about.st_ino}"
        for about in (os.stat(path) for path in (guest.kernel, guest.initrd) if path)
    ]


def disk_bytes(guest: Guest) -> int:
    """Of the disk as the guest sees it; 0 without one. Raises OSError."""
    if guest.disk is None:
        return 0
    with open(guest.disk.path, "rb") as disk:
        if guest.disk.format is DiskFormat.QCOW2:
            return int.from_bytes(os.pread(disk.fileno(), _SIZE_LENGTH, _SIZE_AT))
        return disk.seek(0, os.SEEK_END)


def give_disk(guest: Guest, emulator: Emulator) -> None:
    """QEMU opens a clone's disk once it is restored, as whom it has become by then. As libvirt does
    it. Raises OSError."""
    if emulator.run_as and guest.disk:
        user = pwd.getpwnam(emulator.run_as)
        os.chown(guest.disk.path, user.pw_uid, user.pw_gid)


def _processor() -> str:
    """Model and flags of the first one, shortened."""
    text = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    kept = (line for line in text.splitlines() if line.startswith(("model", "flags", "vendor")))
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()[:16]


def _user() -> str:
    """Whom a process of root's becomes once its files are open. An agent that is confined, as its
    unit does it, may become nobody else: its QEMUs are confined with it."""
    if os.geteuid() != 0 or "Seccomp:\t0" not in Path("/proc/self/status").read_text():
        return ""
    try:
        return pwd.getpwnam(RUN_AS).pw_name
    except KeyError:
        return ""


@dataclass(frozen=True, slots=True)
class Emulation:
    """QEMU, and what of the host a VM needs beside its process. `missing`: what the host lacks: a
    kind and a sentence, or nothing."""

    find: Callable[[], Emulator]
    arguments: Arguments = arguments
    missing: Callable[[Guest], tuple[str, str] | None] = missing
    give_disk: Callable[[Guest, Emulator], None] = give_disk
    join: Callable[[Nic], None] = taps.join
