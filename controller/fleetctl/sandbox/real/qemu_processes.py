"""QEMU's processes of VMs, as this machine has them."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

_END_SECONDS = 30.0


def process_of(domain: str) -> int | None:
    """The process of a domain; libvirt starts each with -name guest=NAME,... None: it has none."""
    wanted = f"guest={domain}".encode()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            arguments = Path("/proc", entry, "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended, or is none of this user's
        named = (argument.partition(b",")[0] for argument in arguments)
        if b"qemu" in arguments[0] and wanted in named:
            return int(entry)
    return None


def names() -> list[str]:
    """Of the guests of all processes of QEMU that this user may see."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                arguments = Path("/proc", entry, "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue  # it has ended, or is none of this user's
            if b"qemu" in arguments[0]:
                named = (one.partition(b",")[0] for one in arguments if one.startswith(b"guest="))
                found += [one.removeprefix(b"guest=").decode("utf-8", "replace") for one in named]
    return found


def kill(pid: int) -> None:
    """SIGKILL, as a lack of memory or a crash would end it; returns when it has ended."""
    descriptor = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(_END_SECONDS * 1000)
    finally:
        os.close(descriptor)
