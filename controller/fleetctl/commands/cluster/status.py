"""fleetctl status: how fleets stand."""

from __future__ import annotations

import click

from fleetctl.cli.arguments import fleet_argument
from fleetctl.commands.cluster.status_check import FLAG, CheckableCommand, check
from fleetctl.outcome import ExitCode
from fleetctl.output import say, say_json
from fleetctl.session import Session, cluster_options, pass_session


@click.command(cls=CheckableCommand)
@fleet_argument
@click.option(
    FLAG, "checks", is_flag=True, help="One line and an exit code, for scripts and Nagios."
)
@cluster_options
@pass_session
def status(session: Session, fleet: str, checks: bool) -> int:
    """Show how fleets stand: VMs by state, hosts by health, problems by kind.

    With --check, one line says how the cluster is, and why; the exit code is 0 for OK, 1 for
    WARNING, 2 for CRITICAL, 3 for UNKNOWN, as plugins of Nagios have it. It answers within 8 s, or
    within --request-timeout.
    """
    if checks:
        return check(session, fleet)
    cluster = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.tables.listing import screen_width
    from fleetctl.views.cluster.status import status_json, status_text

    answer = cluster.call(lambda stub: stub.Status, cluster_pb2.StatusRequest(fleet=fleet))
    if session.json:
        say_json(status_json(answer))
    else:
        say(status_text(answer, screen_width()))
    return ExitCode.DONE
