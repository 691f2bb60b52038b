"""fleetctl hosts declare-lost, release: what is said of hosts that fail."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from fleetctl.cli.confirmation import agreed
from fleetctl.outcome import Failed, Misuse
from fleetctl.output import counted, say, say_json
from fleetctl.session import Session, cluster_options, pass_session

if TYPE_CHECKING:
    from fleet.v1 import cluster_pb2 as cluster

PAGE = 1000


@click.command("declare-lost")
@click.argument("hosts", nargs=-1, required=True, metavar="HOST...")
@click.option("--undo", is_flag=True, help="Take the verdict back, given by whomever.")
@click.option("--plan", "plan_only", is_flag=True, help="Only show what these hosts hold.")
@click.option("--yes", is_flag=True, help="Do not ask.")
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
        _show_plan(session, names)
        return
    if not (undo or yes):
        _confirm(names)
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.views.loss import declared_text, hosts_json

    request = cluster_pb2.DeclareLostRequest(hosts=names, undo=undo)
    answer = connection.change(lambda stub: stub.DeclareLost, request, again=True)
    if session.json:
        say_json(hosts_json(answer.hosts))
    else:
        say(declared_text(answer.hosts, undo))


def _confirm(names: tuple[str, ...]) -> None:
    if not sys.stdin.isatty():
        raise Misuse("declare-lost asks first, and there is no terminal to ask at: give --yes")
    what = names[0] if len(names) == 1 else counted(len(names), "host")
    if not agreed(f"Declare {what} lost, and place what ran there anew?"):
        raise Failed("nothing was declared lost")


def _show_plan(session: Session, names: tuple[str, ...]) -> None:
    from fleetctl.output import table
    from fleetctl.views.hosts import HEADERS, host_row
    from fleetctl.views.loss import hosts_json, undeclarable_text

    found = _summaries(session, names)
    if session.json:
        say_json(hosts_json(found))
    else:
        say(table(HEADERS, [host_row(one) for one in found]))
        if refused := undeclarable_text(found):
            say(refused)


def _summaries(session: Session, names: tuple[str, ...]) -> list[cluster.HostSummary]:
    """Of these hosts, asked for in pages of all. Raises Failed for one that is not there."""
    connection = session.cluster
    from fleet.v1 import cluster_pb2

    found: dict[str, cluster.HostSummary] = {}
    request = cluster_pb2.ListHostsRequest(limit=PAGE)
    while True:
        answer = connection.call(lambda stub: stub.ListHosts, request)
        found |= {one.id: one for one in answer.hosts if one.id in names}
        if not answer.next_cursor:
            break
        request.cursor = answer.next_cursor
    if unknown := [name for name in names if name not in found]:
        raise Failed(f"there is no host {unknown[0]!r}")
    return [found[name] for name in names]


@click.command("release")
@click.argument("host")
@cluster_options
@pass_session
def release(session: Session, host: str) -> None:
    """Let a host out of quarantine: it takes VMs again."""
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.views.hosts import host_json

    request = cluster_pb2.ReleaseQuarantineRequest(host=host)
    answer = connection.change(lambda stub: stub.ReleaseQuarantine, request, again=True)
    if session.json:
        say_json(host_json(answer))
    else:
        say(f"{answer.id}: not in quarantine; {counted(answer.failed, 'VM')} there fail now")
