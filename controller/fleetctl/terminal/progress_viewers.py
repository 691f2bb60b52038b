"""Shows a change while it happens: live on a terminal, else a line a change, seldom enough for a
log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.output import counted, duration, note, number, on_screen, pace_text, say
from fleetctl.terminal.progress_line import ThrottledLines
from fleetctl.views.fleets.fleet_status import states_of, why_text
from megafleet.connection.follow import ProgressViewer
from megafleet.progress import ChangeProgress, running

CHANGE_SECONDS = 10.0


@contextmanager
def progress_viewer(started: float) -> Iterator[ProgressViewer]:
    """The viewer that fits where stdout goes. `started`: of the change, in monotonic seconds."""
    if on_screen():
        from fleetctl.terminal.live_status import LiveScale

        with LiveScale() as live:
            yield live
    else:
        yield ProgressLines(started)


class ReachabilityNotes:
    """Says on stderr when the controller goes and comes."""

    def unreachable(self, message: str) -> None:
        note(click.style(f"{message}; still waiting", fg="yellow"))

    def reachable_again(self) -> None:
        note("the controller answers again")


class ProgressLines(ReachabilityNotes):
    """A line when something has changed, at most one every CHANGE_SECONDS."""

    def __init__(self, started: float) -> None:
        self._lines = ThrottledLines(say, started, CHANGE_SECONDS)

    def show(self, response: cluster.StatusResponse, progress: ChangeProgress, now: float) -> None:
        self._lines.show(change_text(response, progress, now), now, fact_text(response))


def change_text(response: cluster.StatusResponse, progress: ChangeProgress, now: float) -> str:
    """How far a change is, in one line without colours."""
    status, hosts = response.fleets[0], response.hosts
    parts = [
        f"{duration(progress.elapsed(now)):>6}  {progress.fraction:6.1%}",
        f"{number(running(status))} of {number(status.total)} running",
        pace_text(progress.rate()),
        f"hosts ready {number(hosts.converged)} of {number(hosts.live)}",
    ]
    if status.releasing:
        parts.append(f"{number(status.releasing)} to be released")
    if failed := states_of(status)["failed"]:
        parts.append(f"{counted(failed, 'VM')} failed")
    if (rest := progress.ends_in()) is not None and progress.remaining:
        parts.append(f"about {duration(rest)} left")
    if why := why_text(status):
        parts.append(why)
    return ", ".join(parts)


def fact_text(response: cluster.StatusResponse) -> str:
    """What has to change before it is told again: all but times and pace."""
    status, hosts = response.fleets[0], response.hosts
    facts = (list(status.states), status.total, status.releasing, hosts.converged, hosts.live)
    return f"{facts} {why_text(status)}"
