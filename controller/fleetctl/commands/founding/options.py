"""What several of the commands take: a machine, its name, its address and ports."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fleetctl.client.contexts import config_file
from fleetctl.outcome import Failed, Misuse

F = TypeVar("F", bound=Callable[..., Any])

root_option = click.option(
    "--root", type=click.Path(path_type=Path, file_okay=False), default=Path("/"), metavar="FOLDER",
    help="Write below this folder instead of /, and start nothing: to try it out.",
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


def checked_replica(name: str, address: str, ports: tuple[int, int, int, int]) -> Any:
    """A Replica. Raises Misuse."""
    from fleet.endpoints import BadEndpoint, dialled
    from fleet.peers import is_name
    from fleetctl.founding.replica import Replica

    replica = Replica(name, address, *ports)
    if not is_name(name):
        raise Misuse(
            f"{name[:80]!r} is no name for a controller: letters, digits and '-', such as "
            "controller-2"
        )
    try:
        dialled(replica.endpoint)
    except BadEndpoint as error:
        raise Misuse(f"--address: {error}") from error
    return replica


def founder_folder() -> Path:
    return config_file(os.environ).parent


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
