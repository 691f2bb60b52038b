"""Processes that outlive the command that started them, known by pid and start time: a pid alone
may belong to another process by now."""

import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path

from ..errors import LabError

_START_TIME_FIELD = 22  # of /proc/PID/stat, counted from 1; in clock ticks since boot


def start_time(pid: int) -> int | None:
    """None when no such process lives (a zombie does not live)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field, the name in parentheses, may hold anything.
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[_START_TIME_FIELD - 3])


@dataclass(frozen=True)
class Process:
    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> "Process":
        started = start_time(pid)
        if started is None:
            raise LabError(f"process {pid} ended as soon as it was started")
        return cls(pid, started)

    def alive(self) -> bool:
        return start_time(self.pid) == self.started

    def wait_gone(self, seconds: float) -> bool:
        """Wait until it has ended, at most so long; says whether it has."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if not self.alive():
                return True
            ready, _, _ = select.select([handle], [], [], seconds)
            return bool(ready)
        finally:
            os.close(handle)

    def stop(self, grace: float = 20) -> None:
        """Ask it to end, and make it end after `grace` seconds; nothing when it has ended."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self.alive():
                return
            os.kill(self.pid, number)
            if self.wait_gone(grace):
                return
        raise LabError(f"process {self.pid} does not end, even killed")
