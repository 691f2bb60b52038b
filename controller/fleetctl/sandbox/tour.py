"""What the demo of a real sandbox shows: that its VMs are real, and that they are mended."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable

import click

from fleetctl.commands.vms.top import top
from fleetctl.commands.vms.vms import list_vms
from fleetctl.output import say
from fleetctl.sandbox.commands_shown import command_name, next_commands, note_command
from fleetctl.sandbox.errors import SandboxError
from fleetctl.sandbox.phases import Phases
from fleetctl.sandbox.processes.readiness import LOOK_SECONDS
from fleetctl.sandbox.real.qemu_processes import kill, process_of
from fleetctl.sandbox.state.record import RealHost, Record

_BOOTS = re.compile(r"megafleet: ready .* boots=(\d+)")
CONSOLE_SECONDS = 60.0
MENDED_SECONDS = 180.0
ROWS = 10


def show(ctx: click.Context, record: Record) -> None:
    """All of it, the VMs being up. Raises Trouble."""
    real = record.real
    assert real is not None
    fleetctl = command_name()
    note_command(f"{fleetctl} vms --limit {ROWS}")
    ctx.invoke(
        list_vms,
        fleet=real.fleet, state=None, host="", index=None,
        limit=ROWS, cursor="", everything=False,
    )  # fmt: skip
    note_command(f"{fleetctl} top --once --limit {ROWS}")
    ctx.invoke(
        top,
        target="", host="", fleet=real.fleet, sort="cpu", limit=ROWS, interval=2.0, once=True,
    )  # fmt: skip
    last = f"{real.fleet}-{real.vms - 1}"
    note_command(f"echo uname -a | {fleetctl} console {last}")
    say(typed(record, last, "uname -a"))
    _show_mending(real, f"{real.fleet}-0")
    say(what_next(fleetctl, record))


def typed(record: Record, vm: str, line: str) -> str:
    """What a VM's console answers to a line. Raises SandboxError."""
    command = [sys.argv[0], "console", vm, "--context", record.name]
    try:
        done = subprocess.run(
            command,
            input=f"{line}\n",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=CONSOLE_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SandboxError(f"the console of {vm} was not reached: {error}") from error
    if done.returncode:
        raise SandboxError(f"the console of {vm} was refused: {done.stderr.strip()}")
    # The shell asks where its cursor is, which no script answers.
    return done.stdout.replace("\x1b[6n", "").replace("\r", "").strip()


def _show_mending(real: RealHost, vm: str) -> None:
    victim = process_of(vm)
    if victim is None:
        raise SandboxError(f"{vm} is said to run, and this machine has no QEMU of it")
    note_command(f"kill -9 {victim}    # the QEMU of {vm}")
    before = boots(real, vm)
    kill(victim)
    phases = Phases()
    with phases.phase(f"{vm} is mended") as phase:
        _await(lambda: boots(real, vm) > before, vm)
        phase.outcome = f"{vm} was down, and runs again as {process_of(vm)}"


def boots(real: RealHost, vm: str) -> int:
    """How often the VM has booted, as it counts on its own disk and says when it is ready; 0 while
    it has not said so in its present life."""
    try:
        said = real.console_of(vm).read_text(errors="replace")
    except FileNotFoundError:
        return 0
    return max((int(found) for found in _BOOTS.findall(said)), default=0)


def _await(condition: Callable[[], bool], vm: str) -> None:
    deadline = time.monotonic() + MENDED_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise SandboxError(f"{vm} was killed, and not mended within {MENDED_SECONDS:.0f} s")
        time.sleep(LOOK_SECONDS)  # what is asked here, nothing announces


def what_next(fleetctl: str, record: Record) -> str:
    """Commands to copy, for a real sandbox that runs."""
    real = record.real
    assert real is not None
    more = min(real.guests, 2 * real.vms)
    return next_commands(
        fleetctl,
        (
            (f"console {real.fleet}-0", "a shell in a VM; Ctrl-] leaves"),
            (f"scale {real.fleet} --total {more}", "more of them, while memory lasts"),
            ("vms stop --index 0-1", "these stay off until 'vms start'"),
            ("top", "what they use, live"),
            (f"doctor {real.host}", "which limits of this machine bind"),
            (f"sandbox status --name {record.name}", "the processes: kill the agent, then 'up'"),
        ),
    )
