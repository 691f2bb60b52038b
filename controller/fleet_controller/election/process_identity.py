"""Which process of which machine holds the leader's key, as far as Linux tells processes apart.

A replica that is started again may take back what its predecessor held, and nothing else: a second
replica that was given the same name by mistake is another process, and the first one lives.
"""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")


def this_process() -> str:
    """Boot id, namespace of pids, pid and when it started. Empty where Linux does not tell."""
    started = _started(os.getpid())
    return "/".join((_around(), str(os.getpid()), started)) if started else ""


def is_gone(process: str) -> bool:
    """Whether a process, as `this_process` names it, is known to have ended. One of another
    machine or container cannot be looked at. One without a name is of an older release, which
    told its replicas apart by their names alone."""
    if not process:
        return True
    around, _, rest = process.partition("/")
    pid, _, started = rest.partition("/")
    return around == _around() and pid.isdecimal() and _started(int(pid)) != started


def _around() -> str:
    """Where the pid means something: this boot of this kernel, and this namespace of it."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot}:{os.stat(_PROC / 'self/ns/pid').st_ino}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """In ticks since the boot: the 22nd field, the second being a name in brackets (proc(5)).
    Empty where there is no such process."""
    try:
        stat = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return ""
    return stat.rpartition(b")")[2].split()[19].decode("ascii")
