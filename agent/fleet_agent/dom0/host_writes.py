"""The few ways in which tuning changes a host. Blocking; all raise OSError or CannotChange."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterable

from fleet_agent.dom0.host_tree import CannotRead, HostTree
from fleet_agent.dom0.tuning_record import write_whole

Limits = tuple[int, int]  # soft, hard
SetFiles = Callable[[int, Limits | None], Limits]

# Which daemon rereads its files after those below a folder have changed.
RELOADS = (
    ("/etc/systemd/", ("systemctl", "daemon-reload")),
    ("/etc/udev/", ("udevadm", "control", "--reload")),
)


class CannotChange(Exception):
    """A few words."""


def prlimit(pid: int, limits: Limits | None = None) -> Limits:
    """Limits of open files of a process, as they were before new ones that are given."""
    if limits is None:
        return resource.prlimit(pid, resource.RLIMIT_NOFILE)
    return resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


class HostWrites:
    def __init__(self, tree: HostTree, set_files: SetFiles = prlimit) -> None:
        self._tree = tree
        self.set_files = set_files

    def value(self, path: str, value: str) -> None:
        """Below /proc/sys or /sys/module, where there is such a value already."""
        file = os.open(self._tree.at(path), os.O_WRONLY | os.O_TRUNC)
        try:
            os.write(file, value.encode() + b"\n")
        finally:
            os.close(file)
        kept = (self._tree.text_or_none(path) or "").strip()
        if kept != value:
            raise CannotChange(f"the kernel keeps {kept}")

    def file(self, path: str, text: str | None) -> None:
        """The whole of it; None takes it away."""
        place = self._tree.at(path)
        if text is None:
            place.unlink(missing_ok=True)
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, text.encode())

    def raise_files(self, pid: int, files: int) -> None:
        _, hard = self.set_files(pid, None)
        enough = hard == resource.RLIM_INFINITY or hard >= files
        self.set_files(pid, (files, hard if enough else files))

    def started(self, pid: int) -> str:
        """When a process was started, proc(5)'s field 22 of stat; empty: there is none."""
        fields = (self._tree.text_or_none(f"/proc/{pid}/stat") or "").rpartition(")")[2].split()
        return fields[19] if len(fields) > 19 else ""

    def drop_folder(self, path: str) -> None:
        """If nothing is in it any more."""
        try:
            self._tree.at(path).rmdir()
        except FileNotFoundError:
            return

    def reload(self, changed: Iterable[str]) -> None:
        """Files count from now on; where that fails, from the next boot, and no harm is done."""
        paths = tuple(changed)
        for folder, command in RELOADS:
            if any(path.startswith(folder) for path in paths):
                try:
                    self._tree.run(command)
                except CannotRead:
                    continue
