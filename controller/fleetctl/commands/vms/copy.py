"""fleetctl vms copy: one file into many VMs, or one out of each (`copy_out`)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from fleetctl.cli.arguments import (
    Labels,
    byte_count,
    fleet_name,
    indices,
    selector_option_with,
    waiting_time,
)
from fleetctl.outcome import Failed, Trouble
from fleetctl.output import STATES, note, say, say_json_line
from fleetctl.session import Session, cluster_options, pass_session

if TYPE_CHECKING:
    from fleet.ranges import IndexSet
    from fleet.v1 import copies_pb2 as copies
    from fleetctl.views.vms.run import RunResult

TIMEOUT = 60.0
MOST_MODE = 0o777
MODE = 0o644


def target_of(text: str) -> tuple[str, str]:
    """FLEET:/path as both of its parts. Raises click.BadParameter."""
    from fleet.guest_commands.answers import BadCommand
    from fleet.guest_commands.copies import check_path

    fleet, colon, path = text.partition(":")
    if not colon or not fleet:
        raise click.BadParameter(f"{text!r} names no fleet: say where as FLEET:/path/of/file")
    try:
        check_path(path)
    except BadCommand as error:
        raise click.BadParameter(str(error)) from error
    return fleet_name(fleet), path


def is_in_vms(text: str) -> bool:
    """FLEET:/..., of which no local path is meant: that is written ./FLEET:/..."""
    fleet, colon, path = text.partition(":")
    return bool(colon and path.startswith("/")) and "/" not in fleet


def mode_of(text: str) -> int:
    """Octal digits as bits. Raises click.BadParameter."""
    if not 1 <= len(text) <= 4 or set(text) - set("01234567") or int(text, 8) > MOST_MODE:
        raise click.BadParameter(f"{text!r} is none of 0 to 777")
    return int(text, 8)


@click.command("copy")
@click.argument("source", metavar="SOURCE", type=click.Path(readable=False))
@click.argument("target", metavar="TARGET", type=click.Path(readable=False))
@click.option(
    "--index", "index", metavar="RANGES", type=indices, default=None, help="Only these: 0-99,300."
)
@selector_option_with("Only VMs of hosts with all of these labels.")
@click.option("--host", default="", help="Only VMs of this host.")
@click.option("--state", type=click.Choice(STATES), default=None, help="Only in this state.")
@click.option(
    "--mode",
    metavar="MODE",
    type=mode_of,
    default=None,
    help="Into VMs: who may read, write and execute it, as of chmod; 644.",
)
@click.option(
    "--timeout",
    "seconds",
    metavar="TIME",
    type=waiting_time,
    default=str(int(TIMEOUT)),
    show_default=True,
    help="Of each VM, from its turn on.",
)
@click.option(
    "--max",
    "most",
    metavar="SIZE",
    type=byte_count,
    default=None,
    help="Out of VMs: the most of each file, up to 1GiB; 16MiB. Longer ones fail.",
)
@click.option("--force", is_flag=True, help="Out of VMs: replace files that are here already.")
@cluster_options
@pass_session
def copy(
    session: Session,
    source: str,
    target: str,
    index: IndexSet | None,
    selector: Labels,
    host: str,
    state: str | None,
    mode: int | None,
    seconds: float,
    most: int | None,
    force: bool,
) -> None:
    """Copy FILE FLEET:/PATH into VMs, or FLEET:/PATH DIR out of them.

    Each VM needs qemu-guest-agent; equal outcomes are one line. Ctrl-C ends it everywhere. Exit
    code 0: all of it is done.

    Into VMs: a file of at most 16 MiB is written under another name beside the path, read back, and
    put in its place when its SHA-256 is that of what was sent; else the VM keeps what it had.

    Out of VMs: the file of each comes to DIR, named as the VM is (DIR/web-7), whole or not at all,
    when its SHA-256 is that of what its host has read. No file there is replaced without --force.
    """
    from fleet.guest_commands.answers import BadCommand
    from fleet.guest_commands.files_out import DEFAULT_BYTES, check_wanted
    from fleet.v1 import copies_pb2
    from fleet.wire_ranges import to_wire
    from fleetctl.commands.vms.copy_out import copy_out
    from fleetctl.views.enum_names import vm_state

    chosen: dict[str, Any] = {
        "indices": to_wire(index) if index else (),
        "state": vm_state(state),
        "host": host,
        "host_selector": dict(selector),
    }
    timeout_ms = round(seconds * 1000)
    if not is_in_vms(source):
        if most is not None or force:
            raise click.UsageError("--max and --force are of copies out of VMs: FLEET:/PATH DIR")
        fleet, path = target_of(target)
        _copy_in(session, source, fleet, path, MODE if mode is None else mode, timeout_ms, chosen)
        return
    if is_in_vms(target):
        raise click.UsageError("from VMs into VMs nothing is copied: copy it here first")
    if mode is not None:
        raise click.UsageError("--mode is of copies into VMs: FILE FLEET:/PATH")
    fleet, path = target_of(source)
    most = DEFAULT_BYTES if most is None else most
    wanted = copies_pb2.WantedFile(path=path, most_bytes=most, timeout_ms=timeout_ms)
    try:
        check_wanted(wanted)
    except BadCommand as error:
        raise click.UsageError(str(error)) from error
    request = copies_pb2.CopyFromFleetRequest(fleet=fleet, file=wanted, **chosen)
    copy_out(session, request, target, force=force)


def _copy_in(
    session: Session,
    source: str,
    fleet: str,
    path: str,
    mode: int,
    timeout_ms: int,
    chosen: dict[str, Any],
) -> None:
    """Raises Trouble, and click's Exit where not all of them have it."""
    from hashlib import sha256

    from fleet.v1 import copies_pb2
    from fleetctl.views.vms.run import RunResult

    content = content_of(source)
    first = copies_pb2.CopyIntoFleetRequest(
        fleet=fleet,
        file=copies_pb2.CopiedFile(
            path=path,
            mode=mode,
            size=len(content),
            digest=sha256(content).digest(),
            timeout_ms=timeout_ms,
        ),
        **chosen,
    )
    seconds = timeout_ms / 1000
    result, began = RunResult(fleet, seconds, first.file.digest), time.monotonic()
    try:
        _follow(session, first, content, result)
    except (Trouble, KeyboardInterrupt):
        # What came until then is told all the same, where anything was asked.
        if result.vms:
            _say(session, result, first.file, time.monotonic() - began)
        raise
    _say(session, result, first.file, time.monotonic() - began)
    if not result.vms:
        raise Failed(f"no VM of {fleet} is meant by that: nothing was copied")
    if result.vms_done < result.vms:
        raise Failed("the controller ended the call before it was known of all VMs")
    if not result.all_well:
        raise click.exceptions.Exit(1)


def content_of(path: str) -> bytes:
    """Raises Failed."""
    from fleet.guest_commands.copies import MOST_FILE_BYTES

    try:
        with open(path, "rb") as file:
            content = file.read(MOST_FILE_BYTES + 1)
    except OSError as error:
        raise Failed(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > MOST_FILE_BYTES:
        most = f"{MOST_FILE_BYTES >> 20} MiB"
        raise Failed(f"{path} has more than {most}, which is the most that is copied into VMs")
    return content


def _follow(
    session: Session, first: copies.CopyIntoFleetRequest, content: bytes, result: RunResult
) -> None:
    """Raises Trouble."""
    from fleetctl.terminal.progress_line import progress_line
    from fleetctl.views.vms.copy import copied_json
    from fleetctl.views.vms.run import progress_text

    handing = HandedIn(first, content)
    try:
        # Never made twice, as the call of vms run.
        call: Any = session.cluster.bidi_call(lambda stub: stub.CopyIntoFleet, handing.requests())
        handing.begin()
        with ExitStack() as ending, progress_line(json=session.json, write=note) as line:
            ending.callback(call.cancel)
            for said in call:
                for answer, indices in result.add(said):
                    if session.json:
                        say_json_line(copied_json(answer, indices))
                line.show(progress_text(result))
    finally:
        handing.end()


class HandedIn:
    """The content goes only to the replica that has taken the call."""

    def __init__(self, first: copies.CopyIntoFleetRequest, content: bytes) -> None:
        self._first = first
        self._content = content
        self._settled = threading.Event()
        self._over = False

    def begin(self) -> None:
        self._settled.set()

    def end(self) -> None:
        self._over = True
        self._settled.set()

    def requests(self) -> Iterator[copies.CopyIntoFleetRequest]:
        """Read by a thread of its own."""
        from fleet.guest_commands.copies import parts_of

        yield self._first
        self._settled.wait()
        for part in parts_of(self._content):
            if self._over:
                return
            yield type(self._first)(data=part)


def _say(session: Session, result: RunResult, file: copies.CopiedFile, seconds: float) -> None:
    from fleetctl.views.vms.copy import copies_json
    from fleetctl.views.vms.run import groups_text, summary_text

    if session.json:
        say_json_line(copies_json(result, file, seconds))
        return
    if text := groups_text(result):
        say(text)
    note(summary_text(result, seconds))
    for host in result.silent_hosts:
        note(f"  {host}")
