"""fleetctl hosts expel, readmit: hosts that are thrown out, whether they answer or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fleetctl.cli.confirmation import confirm, must_ask, plan_option_with, yes_option
from fleetctl.output import say, say_json
from fleetctl.session import Session, cluster_options, pass_session

if TYPE_CHECKING:
    from fleet.v1 import cluster_pb2 as cluster


@click.command("expel")
@click.argument("host")
@click.option("--reason", required=True, metavar="TEXT", help="Why; shown wherever the host is.")
@plan_option_with("Only show what it would mean.")
@yes_option
@cluster_options
@pass_session
def expel(session: Session, host: str, reason: str, plan_only: bool, yes: bool) -> None:
    """Throw a host out, whether it answers or not.

    Its name is denied: its calls are refused and nobody dials it, until 'hosts readmit'. All its
    VMs are placed elsewhere at once, those of fleets with 'on_loss: wait' too. It is not asked to
    stop them, so they may run twice until it is switched off, or readmitted. A host that behaves
    is drained instead.
    """
    from fleetctl.views.hosts.loss import expelled_json, expelled_text, expulsion_text

    if plan_only or not yes:
        if not plan_only:
            must_ask("expel")
        plan = _expel(session, host, reason, plan_only=True)
        if plan_only:
            if session.json:
                say_json(expelled_json(host, reason, plan))
            else:
                say(expulsion_text(host, plan))
            return
        confirm("expel", f"{expulsion_text(host, plan)}\nExpel {host}?", f"{host} is not expelled")
    answer = _expel(session, host, reason)
    if session.json:
        say_json(expelled_json(host, reason, answer))
    else:
        say(expelled_text(host, answer))


@click.command("readmit")
@click.argument("host")
@cluster_options
@pass_session
def readmit(session: Session, host: str) -> None:
    """Take a host back that was expelled.

    It is told what it is to release, and gets VMs again once it has taken that.
    """
    connection = session.cluster
    from fleet.v1 import cluster_pb2

    request = cluster_pb2.ReadmitHostRequest(id=host)
    answer = connection.change(lambda stub: stub.ReadmitHost, request)
    if session.json:
        say_json({"host": host, "known": answer.known})
    elif answer.known:
        say(f"{host} is readmitted: it is dialled now, and lost until it has answered")
    else:
        say(f"{host} is readmitted: it may announce itself")


def _expel(
    session: Session, host: str, reason: str, *, plan_only: bool = False
) -> cluster.ExpelHostResponse:
    from fleet.v1 import cluster_pb2

    request = cluster_pb2.ExpelHostRequest(id=host, reason=reason, plan_only=plan_only)
    if plan_only:
        return session.cluster.call(lambda stub: stub.ExpelHost, request)
    return session.cluster.change(lambda stub: stub.ExpelHost, request)
