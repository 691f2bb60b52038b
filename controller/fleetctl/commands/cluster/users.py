"""fleetctl users: who is denied, people, controllers and hosts."""

from __future__ import annotations

import click

from fleetctl.cli.lazy_group import ListingGroup
from fleetctl.output import say, say_json
from fleetctl.session import (
    Session,
    cluster_options,
    connection_options,
    list_options,
    pass_session,
)

ROLES = ("operator", "viewer", "controller")
_role_option = click.option(
    "--role", type=click.Choice(ROLES), default="operator", show_default=True,
    help="Of the certificate that is meant.",
)  # fmt: skip


@click.group(cls=ListingGroup)
def users() -> None:
    """Deny people what their certificate allows, and allow it again. Without a command: list."""


@users.command("list")
@list_options
@connection_options
@pass_session
def list_denied(session: Session) -> None:
    """List who is denied: people, controllers, and hosts that were expelled."""
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.tables.answer import ListAnswer
    from fleetctl.tables.listing import say_list
    from fleetctl.views.hosts.loss import DENIED_COLUMNS, denied_json

    answer = connection.call(lambda stub: stub.ListDenied, cluster_pb2.ListDeniedRequest())
    denied = answer.denied
    say_list(
        ListAnswer(DENIED_COLUMNS, denied, lambda: {"denied": denied_json(denied)}, "Nobody."),
        session.listing,
    )


@users.command("deny")
@click.argument("name")
@click.option("--reason", required=True, metavar="TEXT", help="Why; told with each refusal.")
@_role_option
@cluster_options
@pass_session
def deny(session: Session, name: str, reason: str, role: str) -> None:
    """Refuse all calls with a certificate of this name and role, from now on.

    Calls under way end too. Nobody can deny himself. A controller that is denied still reads the
    store and commands hosts: take its access to etcd away, and stop it.
    """
    connection = session.cluster
    from fleet.v1 import cluster_pb2

    request = cluster_pb2.DenyRequest(role=role, name=name, reason=reason)
    connection.change(lambda stub: stub.Deny, request, again=True)
    _say_done(session, role, name, denied=True)


@users.command("allow")
@click.argument("name")
@_role_option
@cluster_options
@pass_session
def allow(session: Session, name: str, role: str) -> None:
    """Take a denial back."""
    connection = session.cluster
    from fleet.v1 import cluster_pb2

    request = cluster_pb2.AllowRequest(role=role, name=name)
    connection.change(lambda stub: stub.Allow, request)
    _say_done(session, role, name, denied=False)


def _say_done(session: Session, role: str, name: str, *, denied: bool) -> None:
    if session.json:
        say_json({"role": role, "name": name, "denied": denied})
    else:
        say(f"{role}/{name} is {'denied' if denied else 'allowed again'}")
