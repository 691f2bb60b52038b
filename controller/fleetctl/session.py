"""What all commands share: how to reach the cluster, and how to print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fleetctl.client.contexts import Selection, resolve

if TYPE_CHECKING:
    from fleetctl.client.cluster import Cluster

F = TypeVar("F", bound=Callable[..., Any])

READ_TIMEOUT = 10.0


@dataclass
class Session:
    """One run of fleetctl. Timeouts are in seconds."""

    context: str = ""
    endpoints: tuple[str, ...] = ()
    identity: str = ""
    request_timeout: float | None = None
    output: str = "table"

    @property
    def json(self) -> bool:
        return self.output == "json"

    @cached_property
    def cluster(self) -> Cluster:
        """Raises Trouble when no cluster is named. Nothing is dialled before the first call."""
        selection = Selection(self.context, self.endpoints, self.identity)
        target = resolve(selection)
        from fleetctl.client.cluster import CHANGE_TIMEOUT, Cluster

        limit = self.request_timeout
        return Cluster(
            target,
            limit or READ_TIMEOUT,
            limit or CHANGE_TIMEOUT,
            tells_waiting=True,
            plain=not self.json,
        )

    @property
    def read_only(self) -> str:
        """Why the last answer is of the past, and since when; empty where it is not."""
        used: Cluster | None = self.__dict__.get("cluster")
        return str(used.read_only) if used is not None and used.read_only else ""


pass_session = click.make_pass_decorator(Session, ensure=True)


def _set_on_session(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Options may stand before or after the command: the later one wins."""
    session = context.find_root().ensure_object(Session)
    if value is not None and value != () and parameter.name:
        setattr(session, parameter.name, value)
    return value


def output_option(command: F) -> F:
    """-o table|json."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default=None,
        callback=_set_on_session,
        expose_value=False,
        help="How to print; table is the default.",
    )(command)


def cluster_options(command: F) -> F:
    """Which cluster, as whom, how long, and -o: on every command that calls the controller."""
    options = [
        output_option,
        click.option(
            "--context", metavar="NAME", callback=_set_on_session, expose_value=False,
            help="The context to use  [env: MEGAFLEET_CONTEXT].",
        ),
        click.option(
            "--endpoint", "endpoints", metavar="HOST:PORT", multiple=True, callback=_set_on_session,
            expose_value=False,
            help="A controller; may be given several times  [env: MEGAFLEET_ENDPOINTS].",
        ),
        click.option(
            "--identity", metavar="FOLDER", callback=_set_on_session, expose_value=False,
            help="The folder of ca.pem, cert.pem and key.pem  [env: MEGAFLEET_IDENTITY].",
        ),
        click.option(
            "--request-timeout", metavar="SECONDS", type=click.FloatRange(0.1, 3600),
            callback=_set_on_session, expose_value=False,
            help="For one call; 10 by default, 30 for changes.",
        ),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command
