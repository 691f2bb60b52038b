"""The demo: a sandbox, a sample fleet, a million VMs, and what to try next."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from fleetctl.commands.cluster.status import status
from fleetctl.commands.fleets.apply import apply
from fleetctl.commands.fleets.scale import scale
from fleetctl.output import note, say
from fleetctl.sandbox import tour
from fleetctl.sandbox.booting import boot
from fleetctl.sandbox.commands_shown import command_name, next_commands, note_command, short
from fleetctl.sandbox.errors import SandboxError
from fleetctl.sandbox.lifecycle import down, end_vms, up
from fleetctl.sandbox.phases import Phases
from fleetctl.sandbox.planning.sizing import FULL_TOTAL, demo_total
from fleetctl.sandbox.processes.process import INTERRUPTS
from fleetctl.sandbox.state.folder import Folder
from fleetctl.sandbox.state.record import Record, Settings
from fleetctl.session import Session

DEMO = "demo"
SAMPLE = "spv.yaml"
SCALE_SECONDS = 1800.0


def run(ctx: click.Context, wanted: Settings, total: int | None, *, stay: bool) -> None:
    """All of it. Holds the sandbox from beginning to end; it is stopped however this ends.

    With `stay` the sandbox stays up until Ctrl-C. Raises Trouble, and Abort when interrupted
    before the end.
    """
    folder = Folder.of(DEMO, os.environ)
    sample = sample_file(SAMPLE)
    with folder.locked(), _interruptible() as interrupt:
        phases = Phases()
        if folder.load() is not None:
            note("A demo that was not stopped is taken down first.")
            down(folder, phases, keep=False)
        failed = False
        try:
            record = up(folder, wanted, phases)
            if record.real:
                tour.show(ctx, boot(ctx, folder, record))
            else:
                _show(ctx, record, sample, total)
            if stay:
                _stay()
        except BaseException as error:
            if interrupt.came:
                raise click.Abort from error
            failed = True
            raise
        finally:
            interrupt.ignore()
            if folder.load() is not None:
                # What failed is to be found in the logs.
                down(folder, Phases(), keep=failed)
                end_vms(folder, Phases())


def sample_file(name: str) -> Path:
    """A sample of deploy/samples: beside the package, or in the checkout it runs from."""
    package = Path(__file__).parents[1]
    for folder in (package / "samples", package.parents[1] / "deploy" / "samples"):
        if (folder / name).is_file():
            return folder / name
    raise SandboxError(f"the sample {name} is missing: run this from a checkout of Megafleet")


def _show(ctx: click.Context, record: Record, sample: Path, total: int | None) -> None:
    ctx.find_root().ensure_object(Session).context = record.name
    capacity = record.hosts * (record.asked.per_host or 0)
    wanted = total or demo_total(record.hosts, record.asked.per_host or 0)
    if not total and wanted < FULL_TOTAL:
        note(f"{capacity:,} VMs fit this sandbox: the demo scales to {wanted:,}.")
    fleetctl = command_name()
    note_command(f"{fleetctl} apply -f {short(sample)}")
    ctx.invoke(apply, filenames=(str(sample),))
    note_command(f"{fleetctl} scale --total {wanted}")
    ctx.invoke(
        scale,
        fleet="",
        total=wanted,
        plan_only=False,
        partial=False,
        token="",
        no_wait=False,
        timeout=SCALE_SECONDS,
    )
    note_command(f"{fleetctl} status")
    ctx.invoke(status, fleet="")
    say(what_next(fleetctl, record))


def what_next(fleetctl: str, record: Record) -> str:
    """Commands to copy, for a sandbox that runs."""
    more = record.hosts * (record.asked.per_host or 0)
    commands = (
        (f"scale --total {more}", "every host full"),
        (f"scale --total {more // 2} --plan", "what that would remove"),
        ("vms --index 0-9", "the first ten VMs, and where they are"),
        ("hosts", "the hosts"),
        ("wall", "every VM a pixel, live, in a browser"),
        ("watch", "the live display, while another terminal scales"),
        (f"sandbox status --name {record.name}", "the processes: kill one, and see"),
    )
    return next_commands(fleetctl, commands)


def _stay() -> None:
    try:
        note("\nThe sandbox stays up until Ctrl-C.")
        while True:
            signal.pause()
    except KeyboardInterrupt:
        note("")


class _Interrupt:
    """Whether this process was asked to end: Ctrl-C, SIGTERM, or its terminal was closed."""

    def __init__(self) -> None:
        self.came = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        raise KeyboardInterrupt

    def ignore(self) -> None:
        """From here on nothing stops the stopping."""
        for number in INTERRUPTS:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def _interruptible() -> Iterator[_Interrupt]:
    interrupt = _Interrupt()
    before = {number: signal.signal(number, interrupt) for number in INTERRUPTS}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
