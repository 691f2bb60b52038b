"""fleetctl certs rotate: an authority is replaced while everything runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import click

from fleetctl.cli.help_page import OrderedGroup
from fleetctl.commands.local.authority_option import authority_folder, ca_option
from fleetctl.outcome import Failed
from fleetctl.output import say, say_json
from fleetctl.session import Session, output_option, pass_session

folders_argument = click.argument("folders", metavar="[FOLDER]...", nargs=-1)


@click.group("rotate", cls=OrderedGroup)
def rotate() -> None:
    """Replace the authority in three steps, while everything runs.

    begin: controllers and people trust two authorities, hosts soon do. reissue: certificates and
    the issuing key are made anew by the next one, hosts renew. finish: all trust that one alone.
    Give the folders of controllers and people, as they lie here, or copy them there and back;
    controllers take new files into use by themselves. Before each further step, wait until
    'fleetctl status' names no more hosts that have yet to renew.
    """


@rotate.command("begin")
@folders_argument
@click.option("--name", default="Megafleet", show_default=True, help="Shown in certificates.")
@click.option(
    "--days",
    type=click.FloatRange(0.01, 36500),
    default=3650,
    show_default=True,
    help="How long the next authority is valid.",
)
@ca_option
@output_option
@pass_session
def begin(
    session: Session, folders: tuple[str, ...], name: str, days: float, folder: str | None
) -> None:
    """Make the next authority, and have the folders trust both."""
    from fleetctl.local import authority_rotation

    places, at = _paths(folders), authority_folder(folder)
    trust = _done(lambda: authority_rotation.begin(at, places, name, timedelta(days=days)))
    _say(session, "trusts both", places, trust=str(trust))


@rotate.command("reissue")
@folders_argument
@click.option(
    "--days",
    type=click.FloatRange(0.01, 3650),
    default=365,
    show_default=True,
    help="How long the certificates are valid.",
)
@ca_option
@output_option
@pass_session
def reissue(session: Session, folders: tuple[str, ...], days: float, folder: str | None) -> None:
    """Make the folders' certificates, or issuing keys, anew by the next authority."""
    from fleetctl.local import authority_rotation

    places, at = _paths(folders), authority_folder(folder)
    _done(lambda: authority_rotation.reissue(at, places, timedelta(days=days)))
    _say(session, "made anew", places)


@rotate.command("finish")
@folders_argument
@ca_option
@output_option
@pass_session
def finish(session: Session, folders: tuple[str, ...], folder: str | None) -> None:
    """Have the folders trust the next authority alone; it takes the place of the former."""
    from fleetctl.local import authority_rotation

    places, at = _paths(folders), authority_folder(folder)
    former = _done(lambda: authority_rotation.finish(at, places))
    _say(session, "trusts the new one alone", places, former=str(former))


def _paths(folders: Sequence[str]) -> list[Path]:
    return [Path(one) for one in folders]


def _done(step: Callable[[], Path | None]) -> Path | None:
    """Raises Failed."""
    from fleetctl.local.certificate_authority import AuthorityError

    try:
        return step()
    except AuthorityError as error:
        raise Failed(str(error)) from error


def _say(session: Session, done: str, folders: Sequence[Path], **more: str) -> None:
    if session.json:
        say_json({"done": done, "folders": [str(one.absolute()) for one in folders], **more})
        return
    lines = [f"{done}: {one}" for one in folders]
    lines += [f"{what}: {value}" for what, value in more.items()]
    say("\n".join(lines or [done]))
