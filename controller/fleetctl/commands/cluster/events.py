"""fleetctl events: what happened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from fleetctl.cli.arguments import change_id, fleet_name
from fleetctl.outcome import Misuse
from fleetctl.output import note, say_json_line
from fleetctl.session import Session, connection_options, list_options, pass_session

if TYPE_CHECKING:
    from fleet.v1 import cluster_pb2 as cluster
    from fleetctl.tables.listing import Listing

# As many events as a controller keeps.
ALL = 10_000


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
@click.option(
    "--change",
    metavar="ID",
    type=change_id,
    default="",
    help="Only of this change, as -v and -o json told its id.",
)
@list_options
@connection_options
@pass_session
def events(
    session: Session,
    follow: bool,
    limit: int,
    after: int | None,
    fleet: str,
    host: str,
    change: str,
) -> None:
    """Show what happened, the latest last.

    The leader keeps the newest 10,000 in its memory. The last 2,000 that matter outlive it: they
    are in the store. Which hosts came back, and who opened consoles, is told by the leader that
    saw it alone. --follow goes on with the next leader by itself, and a line on stderr says so.
    Accepted changes are in `fleetctl history` as well.

    With --follow and -o json: one JSON object a line.
    """  # fmt: skip
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.tables.listing import Listing, say_document
    from fleetctl.views.cluster.events import EVENT_COLUMNS, event_json

    request = cluster_pb2.ListEventsRequest(
        limit=ALL if change else limit, fleet=fleet, host=host, after=after or 0
    )
    answer = connection.call(lambda stub: stub.ListEvents, request)
    if change:
        _keep(answer, change, limit)
    if session.listing.of_document and not follow:
        listed = [event_json(one) for one in answer.events]
        say_document({"events": listed, "cursor": answer.next}, session.listing.output)
        return
    if follow and session.listing.of_document and not session.json:
        raise Misuse("--follow prints as table, wide, csv, name or json")
    _note_missing(answer)
    listing = Listing(EVENT_COLUMNS, session.listing)
    _say_events(session, listing, answer.events)
    if not answer.events and not follow:
        note("no events")
    if follow:
        try:
            _follow(session, listing, request, answer.next, change)
        except KeyboardInterrupt:
            return


def _say_events(
    session: Session, listing: Listing[cluster.Event], found: Sequence[cluster.Event]
) -> None:
    from fleetctl.views.cluster.events import event_json

    if session.json:
        for one in found:
            say_json_line(event_json(one))
    elif found:
        listing.say(found)


def _follow(
    session: Session,
    listing: Listing[cluster.Event],
    request: cluster.ListEventsRequest,
    after: int,
    change: str,
) -> None:
    """Events as they come, through failovers, until an interrupt."""
    from megafleet.connection.event_following import follow_events

    request.after = after
    for answer in follow_events(
        session.cluster, request, lambda trouble: note(f"{trouble.message}; still waiting")
    ):
        if change:
            _keep(answer, change, ALL)
        _note_missing(answer)
        _say_events(session, listing, answer.events)


def _keep(answer: cluster.ListEventsResponse, change: str, limit: int) -> None:
    """The newest events of this change alone; controllers do not choose by it."""
    kept = [one for one in answer.events if one.change_id == change][-limit:]
    del answer.events[:]
    answer.events.extend(kept)


def _note_missing(answer: cluster.ListEventsResponse) -> None:
    from fleetctl.tables.column import clock_text

    if answer.former_leader:
        note(
            f"-- another controller leads since {clock_text(answer.begins_unix)}; of events of "
            "before it has those that matter. 'fleetctl history' has all changes"
        )
    elif answer.truncated:
        note("-- some events in between are no longer kept")
