"""fleetctl watch: how fleets stand, live."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

from fleetctl.cli.arguments import fleet_argument
from fleetctl.output import number, on_screen, say, say_json_line
from fleetctl.session import Session, cluster_options, pass_session

if TYPE_CHECKING:
    from fleet.v1 import cluster_pb2 as cluster


@click.command()
@fleet_argument
@cluster_options
@pass_session
def watch(session: Session, fleet: str) -> None:
    """Follow how fleets stand until q or Ctrl-C.

    Live on a terminal, where space pauses, arrows scroll and / filters fleets by name; else a line
    for each change, with -o json one JSON object a line, of the shape of `status`.
    """
    try:
        if on_screen() and not session.json:
            _live(session, fleet)
        else:
            _lines(session, fleet)
    except KeyboardInterrupt:
        return


def _live(session: Session, fleet: str) -> None:
    connection = session.cluster
    from fleetctl.terminal.live_run import run_live
    from fleetctl.terminal.live_status import LiveStatus
    from megafleet.connection.follow import statuses

    shown = LiveStatus()

    def hear() -> None:
        for response in statuses(connection, fleet, math.inf, shown):
            shown.show(response)

    run_live(shown, hear)


def _lines(session: Session, fleet: str) -> None:
    connection = session.cluster
    from fleetctl.terminal.progress_viewers import ReachabilityNotes
    from fleetctl.views.cluster.status import status_json
    from megafleet.connection.follow import statuses

    last = ""
    for response in statuses(connection, fleet, math.inf, ReachabilityNotes()):
        if session.json:
            say_json_line(status_json(response))
        elif (line := line_of(response)) != last:
            last = line
            say(line)


def line_of(response: cluster.StatusResponse) -> str:
    from fleetctl.views.fleets.fleet_status import states_of, verdict

    parts = []
    for status in response.fleets:
        counts = states_of(status)
        held = ", ".join(f"{number(count)} {name}" for name, count in counts.items() if count)
        parts.append(f"{status.fleet}: {number(status.total)} wanted, {held or 'none'}")
        parts[-1] += f" ({verdict(status, response.HasField('freeze'))[0]})"
    hosts = response.hosts
    parts.append(f"hosts {number(hosts.converged)} of {number(hosts.live)} ready")
    if away := hosts.unreachable + hosts.suspect:
        parts[-1] += f", {number(away)} not heard"
    if hosts.lost:
        parts[-1] += f", {number(hosts.lost)} lost"
    if response.HasField("breaker"):
        parts.append("breaker open")
    return "; ".join(parts)
