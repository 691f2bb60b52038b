"""fleetctl fleets: all fleets, one line each; and whose one is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fleetctl.cli.lazy_group import ListingGroup
from fleetctl.commands.fleets.owners import owners
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
    """List the fleets, and say who owns one. Without a command: list."""


fleets.add_command(owners)


@fleets.command("list")
@watch_option
@list_options
@connection_options
@pass_session
def list_fleets(session: Session, watch: bool) -> None:
    """List the fleets that you may see."""
    show_list(lambda: _look(session), session.listing, watched=watch)


def _look(session: Session) -> ListAnswer[cluster.FleetSummary]:
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.tables.answer import ListAnswer
    from fleetctl.views.fleets.fleets import FLEET_COLUMNS, fleet_json

    answer = connection.call(lambda stub: stub.ListFleets, cluster_pb2.ListFleetsRequest())
    return ListAnswer(
        FLEET_COLUMNS,
        answer.fleets,
        lambda: {"fleets": [fleet_json(one) for one in answer.fleets]},
        "No fleets. Make one with 'fleetctl apply -f FILE'.",
    )
