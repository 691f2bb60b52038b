"""fleetctl hosts declare-lost, release: what is said of hosts that fail."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from fleetctl.cli.confirmation import confirm, plan_option_with, yes_option
from fleetctl.output import counted, say, say_json
from fleetctl.session import Session, cluster_options, pass_session

if TYPE_CHECKING:
    from fleet.v1 import cluster_pb2 as cluster


@click.command("declare-lost")
@click.argument("hosts", nargs=-1, required=True, metavar="HOST...")
@click.option("--undo", is_flag=True, help="Take the verdict back, given by whomever.")
@plan_option_with("Only show what these hosts hold.")
@yes_option
@cluster_options
@pass_session
def declare_lost(
    session: Session, hosts: tuple[str, ...], undo: bool, plan_only: bool, yes: bool
) -> None:
    """Declare hosts lost: their VMs are placed on others at once.

    Neither the budget nor the breaker holds it up. VMs of fleets with 'on_loss: wait' stay where
    they are. A host that is live cannot be lost. One that comes back lets go of what others have
    by then; should its VMs still run, they run twice until it does.
    """
    names = tuple(dict.fromkeys(hosts))
    if plan_only:
        _say_plan(session, names)
        return
    if not (undo or yes):
        what = names[0] if len(names) == 1 else counted(len(names), "host")
        question = f"Declare {what} lost, and place what ran there anew?"
        confirm("declare-lost", question, "nothing was declared lost")
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.views.hosts.loss import declared_text, hosts_json

    request = cluster_pb2.DeclareLostRequest(hosts=names, undo=undo)
    answer = connection.change(lambda stub: stub.DeclareLost, request, again=True)
    if session.json:
        say_json(hosts_json(answer.hosts))
    else:
        say(declared_text(answer.hosts, undo))


def _say_plan(session: Session, names: tuple[str, ...]) -> None:
    from fleetctl.tables.listing import Listing
    from fleetctl.views.hosts.host_list import host_columns
    from fleetctl.views.hosts.loss import hosts_json, undeclarable_text

    found = _summaries(session, names)
    if session.json:
        say_json(hosts_json(found))
    else:
        Listing(host_columns(time.time())).say(found)
        if refused := undeclarable_text(found):
            say(refused)


def _summaries(session: Session, names: tuple[str, ...]) -> list[cluster.HostSummary]:
    """Of these hosts, in their order. Raises Failed for one that is not there."""
    connection = session.cluster
    from fleet.v1 import cluster_pb2

    requests = [cluster_pb2.GetHostRequest(id=name) for name in names]
    return [connection.call(lambda stub: stub.GetHost, one).summary for one in requests]


@click.command("release")
@click.argument("host")
@cluster_options
@pass_session
def release(session: Session, host: str) -> None:
    """Let a host out of quarantine: it takes VMs again."""
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.views.hosts.hosts import host_json

    request = cluster_pb2.ReleaseQuarantineRequest(host=host)
    answer = connection.change(lambda stub: stub.ReleaseQuarantine, request, again=True)
    if session.json:
        say_json(host_json(answer))
    else:
        say(f"{answer.id}: not in quarantine; {counted(answer.failed, 'VM')} there fail now")
