"""Bridges and interfaces of VLANs that a sandbox's agent has made: found by their mark, removed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from fleet.template.bridges import maker_of, mark_of

_SECONDS = 30.0


def remove(ledger: Path) -> list[str]:
    """Those of the agent with this ledger; returns the names of those that are gone. None comes
    back: the agent does not run any more. A machine without `ip` has none."""
    mark = mark_of(maker_of(ledger))
    return [name for name in _marked(mark) if _ip("link", "delete", "dev", name) is not None]


def _marked(mark: str) -> list[str]:
    said = _ip("-json", "link", "show")
    try:
        links = json.loads(said or "[]")
    except ValueError:
        return []
    return [str(one["ifname"]) for one in links if one.get("ifalias") == mark]


def _ip(*arguments: str) -> str | None:
    """What it says; None where it fails."""
    program = shutil.which("ip") or "/usr/sbin/ip"
    try:
        done = subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return None if done.returncode else done.stdout
