"""What all commands share: how to reach the cluster, and how to print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fleetctl.cli.help_page import CommonOption
from fleetctl.output import duration
from fleetctl.tables.formats import FORMATS, JSON, JSONPATH, TABLE, ListOptions
from megafleet.contexts import Selection, resolve
from megafleet.deadlines import CHANGE_TIMEOUT, READ_TIMEOUT

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from megafleet.connection.cluster import Cluster

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Session:
    """One run of fleetctl. Timeouts are in seconds."""

    context: str = ""
    endpoints: tuple[str, ...] = ()
    identity: str = ""
    request_timeout: float | None = None
    verbose: bool = False
    listing: ListOptions = field(default_factory=ListOptions)

    @property
    def json(self) -> bool:
        return self.listing.output == JSON

    @cached_property
    def cluster(self) -> Cluster:
        """Raises Trouble when no cluster is named. Nothing is dialled before the first call."""
        selection = Selection(self.context, self.endpoints, self.identity)
        target = resolve(selection)
        from fleetctl.waiting_note import waiting_for_a_controller
        from megafleet.connection.cluster import Cluster

        limit = self.request_timeout
        return Cluster(
            target,
            limit or READ_TIMEOUT,
            limit or CHANGE_TIMEOUT,
            waiting=waiting_for_a_controller,
            plain=not self.json,
        )

    @property
    def read_only(self) -> str:
        """Why the last answer is of the past, and since when; empty where it is not."""
        used: Cluster | None = self.__dict__.get("cluster")
        if used is None or (mark := used.read_only) is None:
            return ""
        return f"read-only, as of {duration(mark.seconds)} ago: {mark.reason}"

    @property
    def change_id(self) -> str:
        """The id of what was changed, or may have been; empty: nothing was."""
        used: Cluster | None = self.__dict__.get("cluster")
        return used.change_id if used is not None and used.changed else ""


pass_session = click.make_pass_decorator(Session, ensure=True)


def _set_on_session(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Options may stand before or after the command: the later one wins."""
    session = context.find_root().ensure_object(Session)
    if value is not None and value != () and parameter.name:
        setattr(session, parameter.name, value)
    return value


class _Format(click.ParamType[str]):
    """One of FORMATS, or jsonpath=EXPRESSION."""

    name = "format"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        kind, _, expression = str(value).partition("=")
        if value in FORMATS or (kind == JSONPATH and expression):
            return str(value)
        raise click.BadParameter(
            f"{str(value)[:40]!r} is none of {', '.join(FORMATS)} and {JSONPATH}=EXPRESSION",
            ctx,
            param,
        )

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        kinds = (*FORMATS, f"{JSONPATH}=")
        return [CompletionItem(one) for one in kinds if one.startswith(incomplete)]


def _set_output(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    if value is not None:
        context.find_root().ensure_object(Session).listing.output = value
    return value


def _set_output_of_no_list(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Those of lists may stand before a command that has none: that is a mistake."""
    _set_output(context, parameter, value)
    set_before = context.find_root().ensure_object(Session).listing.output
    if set_before not in (TABLE, JSON):
        raise click.BadParameter(f"{set_before[:40]} is for lists; this takes table or json")
    return value


def _set_on_listing(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    if value is not None and parameter.name:
        setattr(context.find_root().ensure_object(Session).listing, parameter.name, value)
    return value


def _names(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    names = tuple(one for one in (value or "").split(",") if one.strip())
    if value is not None and not names:
        raise click.BadParameter("write names of columns, such as host,health", context, parameter)
    return _set_on_listing(context, parameter, names or None)


def _set_colour(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Where click itself looks for it: in the context of each command."""
    if value is not None:
        chosen = {"always": True, "never": False, "auto": None}[value]
        context.color = context.find_root().color = chosen


colour_option = click.option(
    "--color", "--colour", cls=CommonOption, default=None,
    type=click.Choice(["auto", "always", "never"]),
    callback=_set_colour, expose_value=False,
    help="Auto is the default: colours on a terminal, unless NO_COLOR is set.",
)  # fmt: skip


def output_option(command: F) -> F:
    """-o table|json, of what is no list."""
    option = click.option(
        "-o",
        "--output",
        cls=CommonOption,
        type=click.Choice([TABLE, JSON]),
        default=None,
        callback=_set_output_of_no_list,
        expose_value=False,
        help="How to print; table is the default.",
    )
    return option(colour_option(command))


def list_options(command: F) -> F:
    """How a list is printed: its format, its columns, their order."""
    sort = click.option(
        "--sort", metavar="[-]COLUMN", default=None, callback=_set_on_listing,
        expose_value=False, help="What is shown, by this column; with - before it from above.",
    )  # fmt: skip
    return format_options(sort(command))


def format_options(command: F) -> F:
    """How rows are printed: their format and columns, of what has an order of its own."""
    options = [
        click.option(
            "-o", "--output", type=_Format(), default=None, callback=_set_output,
            metavar="FORMAT", expose_value=False,
            help=f"{', '.join(FORMATS)} or {JSONPATH}=EXPRESSION; table is the default.",
        ),
        click.option(
            "--columns", metavar="NAME,...", default=None, callback=_names, expose_value=False,
            help="Only these columns, in this order; an unknown one tells which there are.",
        ),
        click.option(
            "--no-headers", "headers", flag_value=False, default=None, callback=_set_on_listing,
            expose_value=False, help="Rows alone.",
        ),
        colour_option,
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


watch_option = click.option(
    "--watch", is_flag=True,
    help="Look again every 2 s: in place on a terminal, else a line for each row that changes.",
)  # fmt: skip


def cluster_options(command: F) -> F:
    """Which cluster, as whom, how long, and -o: on every command that calls the controller."""
    return output_option(connection_options(command))


def all_formats_option(command: F) -> F:
    """-o before the command, whatever that is."""
    option = click.option(
        "-o", "--output", cls=CommonOption, type=_Format(), default=None, callback=_set_output,
        metavar="FORMAT", expose_value=False, help="How to print: table or json; lists have more.",
    )  # fmt: skip
    return option(colour_option(command))


def connection_options(command: F) -> F:
    """Which cluster, as whom, how long."""
    options = [
        click.option(
            "--context", cls=CommonOption, metavar="NAME", callback=_set_on_session,
            expose_value=False,
            help="The context to use  [env: MEGAFLEET_CONTEXT].",
        ),
        click.option(
            "--endpoint", "endpoints", cls=CommonOption, metavar="HOST:PORT", multiple=True,
            callback=_set_on_session, expose_value=False,
            help="A controller; may be given several times  [env: MEGAFLEET_ENDPOINTS].",
        ),
        click.option(
            "--identity", cls=CommonOption, metavar="FOLDER", callback=_set_on_session,
            expose_value=False,
            help="The folder of ca.pem, cert.pem and key.pem  [env: MEGAFLEET_IDENTITY].",
        ),
        click.option(
            "--request-timeout", cls=CommonOption, metavar="SECONDS",
            type=click.FloatRange(0.1, 3600), callback=_set_on_session, expose_value=False,
            help="For one call; 10 by default, 30 for changes.",
        ),
        click.option(
            "-v", "--verbose", is_flag=True, default=None, callback=_set_on_session,
            expose_value=False, help="Tell the id of a change, as history and logs have it.",
        ),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command
