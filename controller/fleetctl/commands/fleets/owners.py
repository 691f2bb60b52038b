"""fleetctl fleets owners: whose a fleet is."""

from __future__ import annotations

import click

from fleetctl.outcome import Failed, printable
from fleetctl.output import say, say_json
from fleetctl.session import Session, cluster_options, pass_session


@click.command("owners")
@click.argument("fleet")
@click.option("--add", "add", metavar="NAME", multiple=True, help="Owns it as well.")
@click.option("--remove", "remove", metavar="NAME", multiple=True, help="Owns it no more.")
@cluster_options
@pass_session
def owners(session: Session, fleet: str, add: tuple[str, ...], remove: tuple[str, ...]) -> None:
    """Show who owns a fleet, or change it. Whoever made a fleet owns it.

    An owner is an admin of the fleet: may delete it, and say who owns it. What a person may own is
    bound by 'fleetctl users add NAME --max-vms' and 'users roles'.
    """
    connection = session.cluster
    from fleet.v1 import cluster_pb2, people_pb2

    if add or remove:
        request = people_pb2.SetFleetOwnersRequest(fleet=fleet, add=add, remove=remove)
        found = list(connection.change(lambda stub: stub.SetFleetOwners, request).owners)
    else:
        answer = connection.call(lambda stub: stub.ListFleets, cluster_pb2.ListFleetsRequest())
        named = [one for one in answer.fleets if one.name == fleet]
        if not named:
            raise Failed(f"there is no fleet {fleet[:60]!r} that you may see")
        found = list(named[0].owners)
    if session.json:
        say_json({"fleet": fleet, "owners": found})
    else:
        say(printable(f"fleet {fleet} is owned by {', '.join(found) or 'nobody but admins'}"))
