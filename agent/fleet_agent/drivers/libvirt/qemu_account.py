"""As whom libvirt runs QEMU, on this host."""

from __future__ import annotations

import os
import pwd
import re
from dataclasses import dataclass
from pathlib import Path

# The accounts that distributions make for it: Debian's and Ubuntu's; Fedora's, SUSE's and Arch's.
_USUAL = ("libvirt-qemu", "qemu")
_SETTINGS = Path("/etc/libvirt/qemu.conf")


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


def qemu_account(uri: str, settings: Path = _SETTINGS) -> Account | None:
    """None where QEMU runs as this user: in a session, or where nothing else can be told."""
    if os.geteuid() != 0 or not uri.startswith("qemu") or not uri.endswith("/system"):
        return None
    try:
        asked = user_in(settings.read_text(errors="replace"))
    except OSError:
        asked = ""
    for name in (asked,) if asked else _USUAL:
        if (found := _account(name)) is not None:
            return None if found.uid == 0 else found
    return None


def user_in(text: str) -> str:
    """The name, or `+` and a uid, that qemu.conf sets; empty where it sets none."""
    found = re.findall(r"""(?m)^\s*user\s*=\s*["']?([^"'\s#]+)""", text)
    return str(found[-1]) if found else ""


def _account(name: str) -> Account | None:
    number = name.removeprefix("+")
    try:
        entry = pwd.getpwuid(int(number)) if number.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        return None
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, tuple(sorted(groups)))
