"""fleetctl console: one VM's console."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from fleetctl.cli.arguments import fleet_option, vm_argument
from fleetctl.outcome import Misuse
from fleetctl.output import note
from fleetctl.session import Session, cluster_options, pass_session
from fleetctl.views.vms.console import DEFAULT_LINES, LogPart, escape_byte, log_part

if TYPE_CHECKING:
    from fleet.v1 import agent_pb2 as wire


@click.command()
@vm_argument
@fleet_option
@click.option("--read-only", is_flag=True, help="Read, and type nothing; Ctrl-C leaves as well.")
@click.option(
    "--log",
    "part",
    metavar="[LINES|BYTES]",
    type=log_part,
    is_flag=False,
    flag_value=str(DEFAULT_LINES),
    default=None,
    help="Print the last lines (100 of them, or as many as are said) or bytes (64KiB), and leave.",
)
@click.option("--take-over", is_flag=True, help="Type, though another session does; it reads on.")
@click.option(
    "--escape",
    metavar="KEY",
    type=escape_byte,
    default="^]",
    show_default=True,
    help="The key that leaves: ^A for Ctrl-A, any one character, or none.",
)
@cluster_options
@pass_session
def console(
    session: Session,
    vm: tuple[str, int],
    fleet: str,
    read_only: bool,
    part: LogPart | None,
    take_over: bool,
    escape: bytes,
) -> None:
    """Read and type at the console of a VM, such as spv-250, wherever it runs.

    On a terminal everything typed goes to the guest but the escape. Without one, all of stdin
    does, and what the guest prints comes out until it is quiet: echo id | fleetctl console spv-3.
    Any number of sessions read, one types.
    """  # fmt: skip
    if take_over and (read_only or part):
        raise Misuse("--take-over is for typing; --read-only and --log type nothing")
    name, first = _found(session, vm, fleet)
    first.read_only = read_only or part is not None
    first.take_over = take_over
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if part is not None:
        first.log_only, first.log_bytes = True, part.bytes_
    elif terminal:
        from fleetctl.terminal.vm_console import LAST_BYTES

        first.log_bytes = LAST_BYTES
    try:
        _run(session, name, first, part, escape, terminal=terminal)
    except KeyboardInterrupt:
        if not read_only:
            raise
    if terminal and part is None:
        note(f"console of {name} left")


def _found(session: Session, vm: tuple[str, int], fleet: str) -> tuple[str, wire.ConsoleInput]:
    """The VM's name, and the beginning of what names it to its host. Raises Trouble."""
    named, index = vm
    if fleet and named and named != fleet:
        raise Misuse(f"{named}-{index} is not of fleet {fleet}")
    connection = session.cluster
    from fleetctl.terminal.vm_console import console_of

    return console_of(connection, named or fleet, index)


def _run(
    session: Session,
    name: str,
    first: Any,
    part: LogPart | None,
    escape: bytes,
    *,
    terminal: bool,
) -> None:
    from fleetctl.terminal.console_session import AtTerminal, Piped, show_log
    from megafleet.connection.console_call import ConsoleCall

    with ConsoleCall(session.cluster, name, first) as call:
        if part is not None:
            show_log(call, part)
        elif terminal:
            AtTerminal(call, name, escape, first.read_only).run()
        else:
            Piped(call, name, first.read_only).run()
