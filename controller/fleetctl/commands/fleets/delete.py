"""fleetctl delete: a fleet and all its VMs go."""

from __future__ import annotations

import sys

import click

from fleetctl.cli.arguments import fleet_name
from fleetctl.cli.confirmation import agreed
from fleetctl.commands.fleets.fleets import fleet_json
from fleetctl.outcome import Failed, Misuse
from fleetctl.output import say, say_json
from fleetctl.session import Session, cluster_options, pass_session


@click.command()
@click.argument("fleet", type=fleet_name)
@click.option("--yes", is_flag=True, help="Do not ask.")
@cluster_options
@pass_session
def delete(session: Session, fleet: str, yes: bool) -> None:
    """Delete a fleet and all its VMs.

    The fleet is gone once every host has released its VMs; until then `status` shows how many
    are left.
    """
    if not yes:
        _confirm(fleet)
    connection = session.cluster
    from fleet.v1 import cluster_pb2

    request = cluster_pb2.DeleteFleetRequest(name=fleet)
    answer = connection.change(lambda stub: stub.DeleteFleet, request, again=True)
    if session.json:
        say_json(fleet_json(answer.fleet))
    else:
        say(f"{fleet}: being deleted; 'fleetctl status {fleet}' shows how far it is")


def _confirm(fleet: str) -> None:
    if not sys.stdin.isatty():
        raise Misuse("delete asks first, and there is no terminal to ask at: give --yes")
    if not agreed(f"Delete {fleet} and all its VMs?"):
        raise Failed(f"{fleet} was not deleted")
