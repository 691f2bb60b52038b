"""fleetctl plan: what a scale would do."""

from __future__ import annotations

import click

from fleetctl.cli.arguments import fleet_argument, total_option
from fleetctl.output import say, say_json
from fleetctl.session import Session, cluster_options, pass_session


@click.command()
@fleet_argument
@total_option
@click.option("--partial", is_flag=True, help="As if only what fits were placed.")
@cluster_options
@pass_session
def plan(session: Session, fleet: str, total: int, partial: bool) -> None:
    """Show what a scale would do, and a token with which exactly that can be done.

    Nothing is changed. `fleetctl scale --token` is refused once the plan is stale.
    """
    show_plan(session, fleet, total, partial)


def show_plan(
    session: Session, fleet: str, total: int, partial: bool, for_seconds: int = 0
) -> None:
    """Asks for the plan and prints it. `for_seconds`: the total is to hold for so long. Raises
    Trouble."""
    cluster = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.views.fleets.plan import plan_json, plan_text

    request = cluster_pb2.ScaleRequest(fleet=fleet, total=total, plan_only=True, partial=partial)
    answer = cluster.call(lambda stub: stub.Scale, request, cluster.change_timeout)
    if session.json:
        say_json(plan_json(answer))
    else:
        say(plan_text(answer, for_seconds))
