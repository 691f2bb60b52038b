"""Debian packages fetched and unpacked into a folder; nothing is installed, and no root needed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from fleetctl.sandbox.errors import SandboxError

_SECONDS = 900.0


class Archive:
    """The machine's own package sources, with lists of its own in a folder."""

    def __init__(self, folder: Path) -> None:
        """Raises SandboxError when the sources cannot be read."""
        self._folder = folder
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        self._run("apt-get", "update")

    def stands_for(self, package: str, pattern: str) -> str:
        """The one package that another, which is empty, stands for: as the pattern names it.
        Raises SandboxError."""
        shown = self._run("apt-cache", "--no-all-versions", "show", package)
        found = sorted(set(re.findall(pattern, shown)))
        if len(found) != 1:
            raise SandboxError(f"Debian's {package} stands for {found or 'nothing'}, not for one")
        return str(found[0])

    def fetch(self, packages: Sequence[str], target: Path) -> list[Path]:
        """Raises SandboxError."""
        target.mkdir(parents=True, exist_ok=True)
        self._run("apt-get", "download", *packages, where=target)
        return sorted(target.glob("*.deb"))

    def _run(self, program: str, *arguments: str, where: Path | None = None) -> str:
        settings = {
            "Dir::State": self._folder,
            "Dir::State::lists": self._folder / "lists",
            "Dir::State::status": self._folder / "status",
            "Dir::Cache": self._folder / "cache",
            "APT::Sandbox::User": "",  # apt's own user may not see this folder
            "Acquire::Languages": "none",
        }
        options = [f"-o{name}={value}" for name, value in settings.items()]
        return _said([program, "-q", *options, *arguments], where)


def unpack(package: Path, tree: Path) -> None:
    """Raises SandboxError."""
    tree.mkdir(parents=True, exist_ok=True)
    _said(["dpkg-deb", "-x", str(package), str(tree)], None)


def _said(command: Sequence[str], where: Path | None) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=where,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SandboxError(f"{command[0]} cannot be run for the guest: {error}") from error
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise SandboxError(f"the guest's packages cannot be had from Debian: {last}")
    return done.stdout
