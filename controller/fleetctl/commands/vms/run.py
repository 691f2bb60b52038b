"""fleetctl vms run: one command in many VMs."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from fleetctl.cli.arguments import Labels, fleet_name, indices, selector_option_with, waiting_time
from fleetctl.cli.empty_texts import MAY_BE_EMPTY
from fleetctl.outcome import Failed, Trouble
from fleetctl.output import STATES, note, say, say_json_line
from fleetctl.session import Session, cluster_options, pass_session

if TYPE_CHECKING:
    from fleet.ranges import IndexSet
    from fleet.v1 import commands_pb2 as commands
    from fleetctl.views.vms.run import RunResult

TIMEOUT = 10.0
OUTPUT_BYTES = 4096
MOST_OUTPUT_BYTES = 64 * 1024


@click.command("run")
@click.argument("fleet", metavar="FLEET", type=fleet_name)
@click.argument("command", metavar="-- COMMAND...", type=MAY_BE_EMPTY, nargs=-1, required=True)
@click.option(
    "--index", "index", metavar="RANGES", type=indices, default=None, help="Only these: 0-99,300."
)
@selector_option_with("Only VMs of hosts with all of these labels.")
@click.option("--host", default="", help="Only VMs of this host.")
@click.option("--state", type=click.Choice(STATES), default=None, help="Only in this state.")
@click.option(
    "--timeout",
    "seconds",
    metavar="TIME",
    type=waiting_time,
    default=str(int(TIMEOUT)),
    show_default=True,
    help="Of each VM, from its turn on; then the command is interrupted.",
)
@click.option("--user", default="", help="Who runs it in the VM; else whoever is there.")
@click.option(
    "--output-bytes",
    type=click.IntRange(1, MOST_OUTPUT_BYTES),
    default=OUTPUT_BYTES,
    show_default=True,
    help="Of each output so much is kept.",
)
@cluster_options
@pass_session
def run(
    session: Session,
    fleet: str,
    command: tuple[str, ...],
    index: IndexSet | None,
    selector: Labels,
    host: str,
    state: str | None,
    seconds: float,
    user: str,
    output_bytes: int,
) -> None:
    """Run a command in the VMs of a fleet; equal answers are one line.

    The shell of each VM runs it: several words as they are, a single one as a line of shell, such
    as 'df / | tail -1'. A VM is reached by qemu-guest-agent where it has that, else over its
    console, where a shell has to be. Ctrl-C ends it in the VMs too. Exit code 0: all have answered,
    each with 0.
    """
    from fleet.v1 import commands_pb2
    from fleet.wire_ranges import to_wire
    from fleetctl.views.enum_names import vm_state
    from fleetctl.views.vms.run import RunResult

    request = commands_pb2.RunInFleetRequest(
        fleet=fleet,
        indices=to_wire(index) if index else (),
        state=vm_state(state),
        host=host,
        host_selector=dict(selector),
        command=commands_pb2.GuestCommand(
            line=command[0] if len(command) == 1 else shlex.join(command),
            user=user,
            timeout_ms=round(seconds * 1000),
            output_bytes=output_bytes,
        ),
    )
    result, began = RunResult(fleet, seconds), time.monotonic()
    try:
        _follow(session, request, result)
    except (Trouble, KeyboardInterrupt):
        # What came until then is told all the same, where anything was asked.
        if result.vms:
            _say(session, result, time.monotonic() - began)
        raise
    _say(session, result, time.monotonic() - began)
    if not result.vms:
        raise Failed(f"no VM of {fleet} is meant by that: nothing was run")
    if result.vms_done < result.vms:
        raise Failed("the controller ended the call before all VMs had answered")
    if not result.all_well:
        raise click.exceptions.Exit(1)


def _follow(session: Session, request: commands.RunInFleetRequest, result: RunResult) -> None:
    """Raises Trouble."""
    from fleetctl.terminal.progress_line import progress_line
    from fleetctl.views.vms.run import group_json, progress_text

    with progress_line(json=session.json, write=note) as line:
        for said in _answers(session, request):
            for answer, indices in result.add(said):
                if session.json:
                    say_json_line(group_json(answer, indices))
            line.show(progress_text(result))


def _answers(
    session: Session, request: commands.RunInFleetRequest
) -> Iterator[commands.RunInFleetAnswer]:
    """A call that is never made twice: a replica that has taken it may have begun."""
    call: Any = session.cluster.bidi_call(lambda stub: stub.RunInFleet, [request])
    try:
        yield from call
    finally:
        call.cancel()


def _say(session: Session, result: RunResult, seconds: float) -> None:
    from fleetctl.views.vms.run import end_json, groups_text, summary_text

    if session.json:
        say_json_line(end_json(result, seconds))
        return
    if text := groups_text(result):
        say(text)
    note(summary_text(result, seconds))
    for host in result.silent_hosts:
        note(f"  {host}")
