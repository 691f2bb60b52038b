"""fleetctl fleets: all fleets, one line each."""

from __future__ import annotations

import click

from fleetctl.session import Session, connection_options, list_options, pass_session


@click.command()
@list_options
@connection_options
@pass_session
def fleets(session: Session) -> None:
    """List the fleets."""
    connection = session.cluster
    from fleet.v1 import cluster_pb2

    answer = connection.call(lambda stub: stub.ListFleets, cluster_pb2.ListFleetsRequest())
    from fleetctl.tables.listing import say_list
    from fleetctl.views.fleets.fleets import FLEET_COLUMNS, fleet_json

    say_list(
        FLEET_COLUMNS,
        answer.fleets,
        lambda: {"fleets": [fleet_json(one) for one in answer.fleets]},
        session.listing,
        "No fleets. Make one with 'fleetctl apply -f FILE'.",
    )
