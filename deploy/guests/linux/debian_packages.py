"""Debian packages, fetched and unpacked into a folder: nothing is installed on this machine, and
its own apt is not asked what it knows."""

import re
from collections.abc import Sequence
from pathlib import Path

from emulated_dom0.building.chroot import SUITE
from emulated_dom0.building.mirror import debian_mirror
from emulated_dom0.commands import read_output, run_logged
from emulated_dom0.errors import LabError

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_DEADLINE = 900.0


class Archive:
    """The suite that the lab's dom0 is made of, with its lists in `folder`."""

    def __init__(self, folder: Path, log: Path) -> None:
        self._folder = folder
        self._log = log
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        source = f"deb [arch=amd64 signed-by={_KEYRING}] {debian_mirror()} {SUITE} main\n"
        (folder / "sources.list").write_text(source)
        # The machine's own settings stay: they say how its mirror is reached.
        run_logged(["apt-get", *self._options(), "update"], log=log, deadline=_DEADLINE)

    def _options(self) -> list[str]:
        settings = {
            "Dir::State": self._folder,
            "Dir::State::lists": self._folder / "lists",
            "Dir::State::status": self._folder / "status",
            "Dir::Cache": self._folder / "cache",
            "Dir::Etc::sourcelist": self._folder / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "APT::Architecture": "amd64",
            "APT::Sandbox::User": "root",  # apt's own user may not see this folder
            "Acquire::Languages": "none",
            "Acquire::Check-Valid-Until": "false",  # a mirror may be frozen at a date
        }
        return ["-q", *(f"-o{name}={value}" for name, value in settings.items())]

    def behind(self, package: str, pattern: str) -> str:
        """The one package that another, which is empty, stands for: as `pattern` names it."""
        show = ["apt-cache", *self._options(), "--no-all-versions", "show", package]
        return only_named(read_output(show), pattern, package)

    def fetch(self, packages: Sequence[str], target: Path) -> None:
        target.mkdir(parents=True, exist_ok=True)
        command = ["apt-get", *self._options(), "download", *packages]
        run_logged(command, log=self._log, deadline=_DEADLINE, cwd=target)


def only_named(shown: str, pattern: str, package: str) -> str:
    """What the pattern finds in what apt-cache shows of a package. Raises LabError for another
    number than one."""
    found = set(re.findall(pattern, shown))
    if len(found) != 1:
        raise LabError(f"expected {package} to stand for one package; found {sorted(found)}")
    return str(found.pop())


def unpack(package: Path, tree: Path, log: Path) -> None:
    run_logged(["dpkg-deb", "-x", package, tree], log=log, deadline=300)
