"""fleetctl delete: a fleet and all its VMs go."""

from __future__ import annotations

import click

from fleetctl.cli.arguments import fleet_name
from fleetctl.cli.confirmation import confirm, yes_option
from fleetctl.output import say, say_json
from fleetctl.session import Session, cluster_options, pass_session


@click.command()
@click.argument("fleet", type=fleet_name)
@yes_option
@cluster_options
@pass_session
def delete(session: Session, fleet: str, yes: bool) -> None:
    """Delete a fleet and all its VMs.

    The fleet is gone once every host has released its VMs; until then `status` shows how many
    are left.
    """
    if not yes:
        confirm("delete", f"Delete {fleet} and all its VMs?", f"{fleet} was not deleted")
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.views.fleets.fleets import fleet_json

    request = cluster_pb2.DeleteFleetRequest(name=fleet)
    answer = connection.change(lambda stub: stub.DeleteFleet, request, again=True)
    if session.json:
        say_json(fleet_json(answer.fleet))
    else:
        say(f"{fleet}: being deleted; 'fleetctl status {fleet}' shows how far it is")
