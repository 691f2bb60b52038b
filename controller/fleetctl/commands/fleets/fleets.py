"""fleetctl fleets: all fleets, the file of one, its generations, and whose it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fleetctl.cli.arguments import fleet_argument
from fleetctl.cli.lazy_group import ListingGroup
from fleetctl.commands.fleets.owners import owners
from fleetctl.outcome import Failed
from fleetctl.output import number, say, say_json
from fleetctl.session import (
    Session,
    connection_options,
    list_options,
    pass_session,
    watch_option,
)
from fleetctl.terminal.shown_list import show_list

if TYPE_CHECKING:
    from fleet.v1 import cluster_pb2 as cluster
    from fleetctl.tables.answer import ListAnswer


@click.group(cls=ListingGroup)
def fleets() -> None:
    """List fleets, print the file of one, its generations, and whose it is. Without a command:
    list."""


fleets.add_command(owners)


@fleets.command("list")
@watch_option
@list_options
@connection_options
@pass_session
def list_fleets(session: Session, watch: bool) -> None:
    """List the fleets that you may see."""
    show_list(lambda: _look(session), session.listing, watched=watch)


@fleets.command("show")
@fleet_argument
@click.option(
    "-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", help="The format."
)
@connection_options
@pass_session
def show_fleet(session: Session, fleet: str, output: str) -> None:
    """Print the file that makes the fleet as it is: applied, it changes nothing.

    The name of the fleet may be left out while there is only one.
    """
    from fleetctl.views.fleets.schedules import schedule_text
    from megafleet.fleet_file.writing import fleet_file_text, fleet_file_tree

    found = _named(_fleets(session), fleet)
    if output == "json" or session.json:
        say_json(fleet_file_tree(found.name, found.spec))
    else:
        if found.HasField("schedule") and (told := schedule_text(found.schedule)):
            say(f"# total {number(found.total)}; {told}")
        say(fleet_file_text(found.name, found.spec).rstrip("\n"))


@fleets.command("generations")
@fleet_argument
@list_options
@connection_options
@pass_session
def generations(session: Session, fleet: str) -> None:
    """List the generations of a fleet's template, the newest first: in what each differs from the
    one before it, and how many VMs have it. `fleetctl rollout --generation` goes to any of them.

    Settings are no part of it: they are those of the fleet. The name of the fleet may be left out
    while there is only one.
    """  # fmt: skip
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.tables.answer import ListAnswer
    from fleetctl.views.fleets.fleet_plans import GENERATION_COLUMNS, generations_json

    request = cluster_pb2.ListGenerationsRequest(fleet=fleet)
    answer = connection.call(lambda stub: stub.ListGenerations, request)
    show_list(
        lambda: ListAnswer(
            GENERATION_COLUMNS,
            answer.generations,
            lambda: generations_json(answer),
            "No generations.",
        ),
        session.listing,
        watched=False,
    )


def _named(fleets: cluster.ListFleetsResponse, name: str) -> cluster.FleetSummary:
    """Raises Failed."""
    names = [one.name for one in fleets.fleets]
    known = ", ".join(names[:5]) or "there is none yet"
    chosen = [one for one in fleets.fleets if name in (one.name, "")]
    if len(chosen) > 1:
        raise Failed(f"there are {len(chosen)} fleets: say which ({known})", reason="WHICH_FLEET")
    if not chosen:
        raise Failed(f"there is no fleet {name!r} (fleets: {known})", reason="NO_SUCH_FLEET")
    return chosen[0]


def _fleets(session: Session) -> cluster.ListFleetsResponse:
    connection = session.cluster
    from fleet.v1 import cluster_pb2

    return connection.call(lambda stub: stub.ListFleets, cluster_pb2.ListFleetsRequest())


def _look(session: Session) -> ListAnswer[cluster.FleetSummary]:
    from fleetctl.tables.answer import ListAnswer
    from fleetctl.views.fleets.fleets import FLEET_COLUMNS, fleet_json

    answer = _fleets(session)
    return ListAnswer(
        FLEET_COLUMNS,
        answer.fleets,
        lambda: {"fleets": [fleet_json(one) for one in answer.fleets]},
        "No fleets. Make one with 'fleetctl apply -f FILE'.",
    )
