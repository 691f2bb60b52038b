"""fleetctl users: who has which role, given and taken, and what each may own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fleetctl.cli.arguments import byte_count
from fleetctl.output import note, say, say_json
from fleetctl.session import (
    Session,
    cluster_options,
    connection_options,
    list_options,
    pass_session,
)

if TYPE_CHECKING:
    from fleet.v1 import people_pb2

ROLES = ("viewer", "operator", "admin")
NONE = "none"
_fleet_option = click.option(
    "--fleet", "fleets", metavar="PATTERN", multiple=True,
    help="On fleets that are called so, such as 'web-*'; may be given several times. Without: on "
    "all.",
)  # fmt: skip


def _count_or_none(context: Any, parameter: Any, value: str | None) -> int | None:
    """-1 for 'none'. Raises click.BadParameter."""
    if value is None or value == NONE:
        return None if value is None else -1
    if not value.isdecimal() or len(value) > 18:
        raise click.BadParameter(f"{value[:40]!r} is no number, nor 'none'")
    return int(value)


def _size_or_none(context: Any, parameter: Any, value: str | None) -> int | None:
    """-1 for 'none'. Raises click.BadParameter."""
    if value is None or value == NONE:
        return None if value is None else -1
    return byte_count(value)


_max_vms_option = click.option(
    "--max-vms", metavar="NUMBER", callback=_count_or_none,
    help="How many VMs the fleets owned may have together; 'none': any number.",
)  # fmt: skip
_max_memory_option = click.option(
    "--max-memory", metavar="SIZE", callback=_size_or_none,
    help="How much memory they may have together, such as 64GiB; 'none': any.",
)  # fmt: skip


@click.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default=None, help="What it is given.")
@_fleet_option
@_max_vms_option
@_max_memory_option
@cluster_options
@pass_session
def add(
    session: Session,
    name: str,
    role: str | None,
    fleets: tuple[str, ...],
    max_vms: int | None,
    max_memory: int | None,
) -> None:
    """Give somebody a role, or change what they may own.

    NAME is that of the certificate, which is made as before ('fleetctl certs user'). Roles add up.
    The first one is an admin on all fleets, yourself: from then on, whoever has no role may do
    nothing.
    """
    _check_scoped(role, fleets)
    connection = session.cluster
    from fleet.v1 import people_pb2
    from fleetctl.views.cluster.people import person_json, person_text

    request = people_pb2.AddPersonRequest(
        name=name, grants=_grants(role, fleets), quota=_quota(max_vms, max_memory)
    )
    answer = connection.change(lambda stub: stub.AddPerson, request, again=True)
    if session.json:
        say_json({**person_json(answer.person), "first": answer.first})
        return
    say(person_text(answer.person))
    if answer.first:
        note("From now on, whoever has no role may do nothing: add the others as well.")


@click.command("remove")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default=None, help="Only this one. Without: all.")
@_fleet_option
@cluster_options
@pass_session
def remove(session: Session, name: str, role: str | None, fleets: tuple[str, ...]) -> None:
    """Take a role away, or all that somebody has.

    Calls under way end. Fleets keep their owners: they count for nothing without a role. The last
    admin on all cannot be removed.
    """
    _check_scoped(role, fleets)
    connection = session.cluster
    from fleet.v1 import people_pb2
    from fleetctl.views.cluster.people import person_json, person_text

    request = people_pb2.RemovePersonRequest(name=name, grants=_grants(role, fleets))
    answer = connection.change(lambda stub: stub.RemovePerson, request)
    if session.json:
        say_json(person_json(answer.person))
    else:
        say(person_text(answer.person))


@click.command("roles")
@click.argument("role", type=click.Choice(ROLES), required=False)
@_max_vms_option
@_max_memory_option
@list_options
@connection_options
@pass_session
def roles(session: Session, role: str | None, max_vms: int | None, max_memory: int | None) -> None:
    """List what each role may do and own; with a bound, set what those of a ROLE may own.

    A bound is over the fleets that a person owns. It refuses growth: lowered, it stops nothing
    that runs. A person's own bound ('users add NAME --max-vms') goes before it.
    """
    changes = max_vms is not None or max_memory is not None
    if changes and role is None:
        raise click.UsageError("say whose bound: fleetctl users roles ROLE --max-vms NUMBER")
    connection = session.cluster
    from fleet.v1 import people_pb2
    from fleetctl.tables.answer import ListAnswer
    from fleetctl.tables.listing import say_list
    from fleetctl.views.cluster.people import ROLE_COLUMNS, role_json

    if changes and role:
        request = people_pb2.SetRoleQuotaRequest(role=role, quota=_quota(max_vms, max_memory))
        found = [connection.change(lambda stub: stub.SetRoleQuota, request, again=True).role]
    else:
        asked = people_pb2.ListPeopleRequest()
        answer = connection.call(lambda stub: stub.ListPeople, asked)
        found = [one for one in answer.roles if role in (None, one.role)]
    say_list(
        ListAnswer(ROLE_COLUMNS, found, lambda: {"roles": [*map(role_json, found)]}, "None."),
        session.listing,
    )


@click.command("whoami")
@cluster_options
@pass_session
def whoami(session: Session) -> None:
    """Say who you are to the cluster, and what you may do."""
    connection = session.cluster
    from fleet.v1 import people_pb2
    from fleetctl.views.cluster.people import whoami_json, whoami_text

    answer = connection.call(lambda stub: stub.WhoAmI, people_pb2.WhoAmIRequest())
    if session.json:
        say_json(whoami_json(answer))
        return
    for line in whoami_text(answer):
        say(line)


def _check_scoped(role: str | None, fleets: tuple[str, ...]) -> None:
    if fleets and role is None:
        raise click.UsageError("say which role on these fleets (--role)")


def _grants(role: str | None, fleets: tuple[str, ...]) -> list[people_pb2.Grant]:
    from fleet.v1 import people_pb2

    if role is None:
        return []
    return [people_pb2.Grant(role=role, fleets=fleet) for fleet in fleets or ("*",)]


def _quota(vms: int | None, memory_bytes: int | None) -> people_pb2.QuotaChange:
    from fleet.v1 import people_pb2

    return people_pb2.QuotaChange(vms=vms, memory_bytes=memory_bytes)
