"""Ends of logs on this machine: systemd's journal of our units, and files."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from fleetctl.outcome import Failed
from fleetctl.support.parts import Part

MOST_BYTES = 1024 * 1024  # of one log, its end
MOST_FILES = 100  # of one folder, those written last
UNITS = ("fleet-controller", "fleet-agent", "etcd")
LINES = 5000
SECONDS = 30.0
# There where systemd runs the machine, see sd_booted(3).
_SYSTEMD = Path("/run/systemd/system")


def log_parts(paths: Sequence[Path]) -> list[Part]:
    """The journal's where there is one, and one part for each file: `paths` are log files, or
    folders of such. Raises Failed for a path that is not there."""
    files = [file for path in paths for file in _files(path)]
    return [
        *_journal_parts(),
        *(
            Part(f"log-{number}-{file.name}", f"the end of {file}", partial(_end_of, file))
            for number, file in enumerate(files, start=1)
        ),
    ]


def _files(path: Path) -> list[Path]:
    """Raises Failed."""
    try:
        if not path.is_dir():
            path.stat()
            return [path]
        found = [one for one in path.glob("*.log") if one.is_file()]
        newest = sorted(found, key=lambda one: one.stat().st_mtime, reverse=True)[:MOST_FILES]
    except OSError as error:
        raise Failed(f"cannot read {path}: {error.strerror}") from error
    if not newest:
        raise Failed(f"{path} has no file that ends in .log; name the file itself")
    return sorted(newest)


def _end_of(path: Path) -> str:
    """Raises Failed."""
    try:
        with path.open("rb") as opened:
            size = opened.seek(0, os.SEEK_END)
            opened.seek(max(0, size - MOST_BYTES))
            return opened.read(MOST_BYTES).decode(errors="replace")
    except OSError as error:
        raise Failed(f"cannot read {path}: {error.strerror}") from error


def _journal_parts() -> list[Part]:
    journalctl = shutil.which("journalctl")
    if journalctl is None or not _SYSTEMD.is_dir():
        return []
    return [
        Part(f"journal-{unit}.txt", f"this machine's journal of {unit}, if it runs here",
             partial(_journal, journalctl, unit))
        for unit in UNITS
    ]  # fmt: skip


def _journal(journalctl: str, unit: str) -> str:
    """Raises Failed."""
    command = [journalctl, "--unit", unit, "--lines", str(LINES), "--no-pager", "-o", "short-iso"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"cannot read the journal of {unit}: {error}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[:200]
        raise Failed(f"cannot read the journal of {unit}: {said or 'journalctl failed'}")
    return done.stdout[-MOST_BYTES:].decode(errors="replace")
