"""fleetctl events: what happened."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from fleetctl.cli.arguments import fleet_name
from fleetctl.outcome import Unavailable, printable
from fleetctl.output import note, say, say_json, say_json_line
from fleetctl.session import Session, cluster_options, pass_session

if TYPE_CHECKING:
    from fleet.v1 import cluster_pb2 as cluster

# A controller is asked to wait this long for the next event.
WAIT_SECONDS = 10.0
# Between two attempts to reach one.
PAUSE = 0.5


@click.command()
@click.option("--follow", is_flag=True, help="Go on with what happens next, until Ctrl-C.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="At most so many of the past.",
)
@click.option(
    "--after",
    type=click.IntRange(1),
    default=None,
    metavar="CURSOR",
    help="Go on from here: a cursor that -o json told.",
)
@click.option("--fleet", metavar="FLEET", type=fleet_name, default="", help="Only of this fleet.")
@click.option("--host", default="", help="Only of this host.")
@cluster_options
@pass_session
def events(
    session: Session, follow: bool, limit: int, after: int | None, fleet: str, host: str
) -> None:
    """Show what happened, the latest last.

    Events are in the leader's memory, the newest 10,000 since it began to lead. --follow goes on
    with the next leader by itself; what the former one told last, and nobody had read, is lost,
    and a line on stderr says so. Accepted changes are in `fleetctl history` whoever leads.

    With --follow and -o json: one JSON object a line.
    """  # fmt: skip
    connection = session.cluster
    from fleet.v1 import cluster_pb2

    request = cluster_pb2.ListEventsRequest(limit=limit, fleet=fleet, host=host, after=after or 0)
    answer = connection.call(lambda stub: stub.ListEvents, request)
    if session.json and not follow:
        listed = [event_json(one) for one in answer.events]
        say_json({"events": listed, "cursor": answer.next})
        return
    _note_missing(answer)
    _say_events(session, answer.events)
    if not answer.events and not follow:
        note("no events")
    if follow:
        try:
            _follow(session, request, answer.next)
        except KeyboardInterrupt:
            return


def _follow(session: Session, request: cluster.ListEventsRequest, after: int) -> None:
    """Events as they come, through failovers, until an interrupt."""
    request.wait_ms = int(WAIT_SECONDS * 1000)
    limit = WAIT_SECONDS + session.cluster.timeout
    reachable = True
    while True:
        request.after = after
        try:
            answer = session.cluster.call(
                lambda stub: stub.ListEvents, request, limit, takes=WAIT_SECONDS
            )
        except Unavailable as trouble:
            if reachable:
                note(f"{trouble.message}; still waiting")
            reachable = False
            time.sleep(PAUSE)
            continue
        reachable, after = True, answer.next
        _note_missing(answer)
        _say_events(session, answer.events)


def _note_missing(answer: cluster.ListEventsResponse) -> None:
    if answer.former_leader:
        note(
            f"-- another controller leads since {clock_text(answer.begins_unix)}; events of before "
            "that were not read yet are with the former leader. 'fleetctl history' has all changes"
        )
    elif answer.truncated:
        note("-- some events in between are no longer kept")


def clock_text(seconds: float) -> str:
    """2026-03-01 12:00:00, in the reader's time zone."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")


def _say_events(session: Session, found: Iterable[cluster.Event]) -> None:
    for one in found:
        if session.json:
            say_json_line(event_json(one))
        else:
            when = clock_text(one.time_unix)
            about = " ".join(part for part in (one.fleet, one.host) if part)
            by = f"  ({one.actor})" if one.actor else ""
            times = _times(one)
            say(printable(f"{when}  {one.kind:<20}  {about:<16}  {one.message}{times}{by}"))


def _times(one: cluster.Event) -> str:
    """How often it was so, where more than once."""
    if not one.count:
        return ""
    return f"  ({one.count:,} times, last {clock_text(one.last_unix)})"


def event_json(one: cluster.Event) -> dict[str, Any]:
    """`time` is in seconds since 1970, UTC."""
    return {
        "cursor": one.cursor,
        "time": one.time_unix,
        "kind": one.kind,
        "fleet": one.fleet or None,
        "host": one.host or None,
        "message": one.message,
        "actor": one.actor or None,
        "count": one.count or 1,
        "last": one.last_unix or one.time_unix,
    }
