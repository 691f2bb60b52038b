"""What several of the commands take: a machine, its name, its address and ports."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from fleetctl.outcome import Failed, Misuse

F = TypeVar("F", bound=Callable[..., Any])

# A shell reads it in the settings that are written.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./-]+")


def _absolute(_ctx: click.Context, _parameter: click.Parameter, folder: Path) -> Path:
    """Raises Misuse."""
    absolute = folder.absolute()
    if not _PLAIN_PATH.fullmatch(str(absolute)):
        raise Misuse(
            f"--root: {str(absolute)[:200]!r} has other characters than letters, digits, '.', '_', "
            "'-' and '/'"
        )
    return absolute


root_option = click.option(
    "--root", type=click.Path(path_type=Path, file_okay=False), default=Path("/"), metavar="FOLDER",
    callback=_absolute,
    help="Files are below this folder instead of /, and nothing is started: to try it out.",
)  # fmt: skip

timeout_option = click.option(
    "--timeout", type=click.FloatRange(1, 86400), default=900, show_default=True, metavar="SECONDS",
    help="How long to wait for the machine to join.",
)  # fmt: skip

no_wait_option = click.option(
    "--no-wait", is_flag=True, help="Print the line and end; the same command promotes later."
)


def ports_options(command: F) -> F:
    """Of its servers."""
    options = [
        click.option(
            f"--{name}", type=click.IntRange(1, 65535), default=port, show_default=True,
            metavar="PORT", help=text,
        )
        for name, port, text in (
            ("port", 7440, "Of the controller."),
            ("client-port", 2379, "Of etcd, for its clients."),
            ("peer-port", 2380, "Of etcd, for its other members."),
            ("join-port", 7444, "Of the controller, for machines that join as hosts."),
        )
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def checked_replica(name: str, address: str, ports: Sequence[int] = ()) -> Any:
    """A Replica, of which certificates can be made; `ports`: other than the usual ones. Raises
    Misuse."""
    from fleet.endpoints import BadEndpoint, dialled
    from fleet.transport import Role
    from fleetctl.founding.replica import Replica
    from fleetctl.local.certificate_authority import (
        AuthorityError,
        check_holder,
        general_name,
    )

    replica = Replica(name, address, *ports)
    try:
        check_holder(name, Role.CONTROLLER)
    except AuthorityError as error:
        raise Misuse(f"name of the controller: {error}") from error
    try:
        dialled(replica.endpoint)
        general_name(address)
    except (BadEndpoint, AuthorityError) as error:
        raise Misuse(f"--address: {error}") from error
    return replica


def checked_operator(given: str) -> str:
    """The name itself; without one, that of who runs this. Raises Misuse."""
    from fleet.transport import Role
    from fleetctl.local.certificate_authority import AuthorityError, check_holder

    name = given or getpass.getuser()
    try:
        check_holder(name, Role.OPERATOR)
    except AuthorityError as error:
        raise Misuse(f"--operator: {error}") from error
    return name


def own_address() -> str:
    """Of this machine, towards others; nothing is sent. Raises Failed."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
    except OSError as error:
        raise Failed(
            f"this machine has no address towards others ({error.strerror}): give --address"
        ) from error
