"""fleetctl certs: a small certificate authority in a folder."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from fleetctl.cli.help_page import OrderedGroup
from fleetctl.commands.local.authority_option import authority_folder, ca_option
from fleetctl.commands.local.rotate import rotate
from fleetctl.outcome import Failed
from fleetctl.output import say, say_json
from fleetctl.session import Session, output_option, pass_session

F = TypeVar("F", bound=Callable[..., Any])


def issuing(command: F) -> F:
    """The arguments of all commands that issue certificates."""
    options: list[Callable[[F], F]] = [
        click.argument("names", metavar="NAME...", nargs=-1, required=True),
        click.option(
            "--out", metavar="FOLDER", default=".", show_default=True,
            help="Each NAME gets a folder in it, with ca.pem, cert.pem and key.pem.",
        ),
        click.option(
            "--san", "names_too", metavar="NAME", multiple=True,
            help="A further DNS name or IP address; may be given several times.",
        ),
        click.option(
            "--days", type=click.FloatRange(0.01, 3650), default=365, show_default=True,
            help="How long it is valid.",
        ),
        ca_option,
        output_option,
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.group(cls=OrderedGroup, invoke_without_command=True)
@click.pass_context
def certs(ctx: click.Context) -> None:
    """Make certificates: an authority, and from it those of hosts, controllers and people.

    A site's own authority does as well: a certificate carries one DNS name,
    NAME.ROLE.megafleet, where ROLE is agent, controller, operator or viewer; those of
    controllers also carry controller.megafleet.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@certs.command("init")
@click.option("--name", default="Megafleet", show_default=True, help="Shown in certificates.")
@click.option(
    "--days",
    type=click.FloatRange(0.01, 36500),
    default=3650,
    show_default=True,
    help="How long the authority is valid.",
)
@ca_option
@output_option
@pass_session
def init(session: Session, name: str, days: float, folder: str | None) -> None:
    """Make an authority. Keep its ca-key.pem secret: who has it may be anybody."""  # fmt: skip
    from fleetctl.local.certificate_authority import CA_FILE, Authority

    where = authority_folder(folder)
    if (where / CA_FILE).exists():
        raise Failed(f"there is an authority in {where} already; it is left as it is")
    Authority.create(name, timedelta(days=days)).save(where)
    _say_made(session, [where], "authority")


certs.add_command(rotate)


@certs.command("host")
@issuing
@pass_session
def host(session: Session, /, names: tuple[str, ...], **options: Any) -> None:
    """Certificates for hosts' agents. NAME is the host's id."""
    _issue(session, "agent", names, **options)


@certs.command("controller")
@issuing
@pass_session
def controller(session: Session, /, names: tuple[str, ...], **options: Any) -> None:
    """Certificates for controller replicas."""
    _issue(session, "controller", names, **options)


@certs.command("issuing")
@click.option(
    "--out",
    metavar="FOLDER",
    default="issuing",
    show_default=True,
    help="Gets issuing.pem and issuing-key.pem.",
)
@click.option(
    "--days",
    type=click.FloatRange(0.01, 3650),
    default=365,
    show_default=True,
    help="How long it is valid. What it has signed ends with it.",
)
@ca_option
@output_option
@pass_session
def issuing_key(session: Session, out: str, days: float, folder: str | None) -> None:
    """The key by which controllers sign and renew certificates of hosts.

    It can sign those of hosts and nothing else, so that the authority's own key need not be where
    controllers are. Copy the folder to each controller, and name it there with --issuing. Lost, or
    in wrong hands: make another; hosts renew by it.
    """
    from fleetctl.local.certificate_authority import Authority, AuthorityError, write_issuing

    where = Path(out)
    try:
        authority = Authority.load(authority_folder(folder))
        write_issuing(where, authority.issue_issuing(timedelta(days=days)))
    except AuthorityError as error:
        raise Failed(str(error)) from error
    _say_made(session, [where], "issuing key")


@certs.command("user")
@click.option("--viewer", is_flag=True, help="May look, but change nothing.")
@issuing
@pass_session
def user(session: Session, /, names: tuple[str, ...], viewer: bool, **options: Any) -> None:
    """Certificates for people: operators, who may do everything, or viewers."""
    _issue(session, "viewer" if viewer else "operator", names, **options)


def _issue(
    session: Session,
    role: str,
    names: tuple[str, ...],
    *,
    out: str,
    names_too: tuple[str, ...],
    days: float,
    folder: str | None,
) -> None:
    from fleet.transport import Role
    from fleetctl.local.certificate_authority import Authority, AuthorityError, write_identity

    folders = []
    try:
        authority = Authority.load(authority_folder(folder))
        for name in names:
            identity = authority.identity(Role(role), name, names_too, timedelta(days=days))
            folders.append(Path(out) / name)
            write_identity(folders[-1], identity)
    except AuthorityError as error:
        raise Failed(str(error)) from error
    _say_made(session, folders, role)


def _say_made(session: Session, folders: list[Path], kind: str) -> None:
    if session.json:
        say_json({"kind": kind, "folders": [str(one.absolute()) for one in folders]})
    else:
        say("\n".join(f"{kind}: {one}" for one in folders))
