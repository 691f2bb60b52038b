"""Shows a change while it happens: live on a terminal, else a line every two seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.client.follow import Viewer
from fleetctl.output import counted, duration, note, number, say
from fleetctl.progress import Progress, running
from fleetctl.views.status import states_of

LINE_SECONDS = 2.0


@contextmanager
def watching(total: int) -> Iterator[Viewer]:
    """The viewer that fits where stdout goes."""
    if sys.stdout.isatty():
        from fleetctl.terminal.live_status import LiveScale

        with LiveScale(total) as live:
            yield live
    else:
        yield Lines(total)


@dataclass(slots=True)
class Lines:
    """One line every LINE_SECONDS while something changes."""

    total: int
    _next: float = 0.0

    def see(self, response: cluster.StatusResponse, progress: Progress, now: float) -> None:
        if not self._next:
            self._next = progress.started + LINE_SECONDS
        if now >= self._next:
            self._next = now + LINE_SECONDS
            say(progress_line(response, progress, now))

    def lost(self, message: str) -> None:
        note(click.style(f"{message}; still waiting", fg="yellow"))

    def back(self) -> None:
        note("the controller answers again")


def progress_line(response: cluster.StatusResponse, progress: Progress, now: float) -> str:
    """How far a change is, in one line without colours."""
    status, hosts = response.fleets[0], response.hosts
    parts = [
        f"{duration(progress.elapsed(now)):>6}  {progress.fraction:6.1%}",
        f"{number(running(status))} of {number(status.total)} running",
        f"{number(round(progress.rate()))} VMs/s",
        f"hosts ready {number(hosts.converged)} of {number(hosts.live)}",
    ]
    if status.releasing:
        parts.append(f"{number(status.releasing)} to be released")
    if failed := states_of(status)["failed"]:
        parts.append(f"{counted(failed, 'VM')} failed")
    if (rest := progress.ends_in()) is not None and progress.remaining:
        parts.append(f"about {duration(rest)} left")
    return ", ".join(parts)
