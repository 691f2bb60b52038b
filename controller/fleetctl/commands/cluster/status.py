"""fleetctl status: how fleets stand."""

from __future__ import annotations

import click

from fleetctl.cli.arguments import fleet_argument
from fleetctl.output import say, say_json
from fleetctl.session import Session, cluster_options, pass_session


@click.command()
@fleet_argument
@cluster_options
@pass_session
def status(session: Session, fleet: str) -> None:
    """Show how fleets stand: VMs by state, hosts by health, problems by kind."""
    cluster = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.tables.listing import screen_width
    from fleetctl.views.status import status_json, status_text

    answer = cluster.call(lambda stub: stub.Status, cluster_pb2.StatusRequest(fleet=fleet))
    if session.json:
        say_json(status_json(answer))
    else:
        say(status_text(answer, screen_width()))
