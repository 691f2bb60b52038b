"""fleetctl users: who there is, and who is denied, people, controllers and hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fleetctl.cli.lazy_group import ListingGroup
from fleetctl.commands.cluster.people import add, remove, roles, whoami
from fleetctl.outcome import Trouble
from fleetctl.output import say, say_json
from fleetctl.session import (
    Session,
    cluster_options,
    connection_options,
    list_options,
    pass_session,
)

if TYPE_CHECKING:
    from fleet.v1 import people_pb2
    from megafleet.connection.cluster import Cluster

ROLES = ("operator", "viewer", "controller")
_role_option = click.option(
    "--role", type=click.Choice(ROLES), default="operator", show_default=True,
    help="Of the certificate that is meant.",
)  # fmt: skip


@click.group(cls=ListingGroup)
def users() -> None:
    """Say who may do what, and deny people, and allow them again. Without a command: list."""


users.add_command(add)
users.add_command(remove)
users.add_command(roles)
users.add_command(whoami)


@users.command("list")
@list_options
@connection_options
@pass_session
def list_people(session: Session) -> None:
    """List people and their roles, and who is denied: people, controllers, expelled hosts."""
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.tables.answer import ListAnswer
    from fleetctl.tables.listing import say_list
    from fleetctl.views.cluster.people import NOT_IN_FORCE, PEOPLE_COLUMNS, people_json, rows_of

    denied = connection.call(lambda stub: stub.ListDenied, cluster_pb2.ListDeniedRequest()).denied
    found = _people(connection)
    say_list(
        ListAnswer(
            PEOPLE_COLUMNS,
            rows_of(found.people, denied),
            lambda: people_json(found, denied),
            "Nobody.",
            "" if found.in_force else f"{NOT_IN_FORCE[0].upper()}{NOT_IN_FORCE[1:]}.",
        ),
        session.listing,
    )


def _people(connection: Cluster) -> people_pb2.ListPeopleResponse:
    """An older controller knows of none."""
    from fleet.v1 import people_pb2

    try:
        return connection.call(lambda stub: stub.ListPeople, people_pb2.ListPeopleRequest())
    except Trouble as trouble:
        if trouble.reason != "UNIMPLEMENTED":
            raise
        return people_pb2.ListPeopleResponse()


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
