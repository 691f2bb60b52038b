"""fleetctl vms copy, the way out: one file of each VM into a folder here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from fleetctl.outcome import Failed, Trouble
from fleetctl.output import note, say, say_json_line
from fleetctl.session import Session

if TYPE_CHECKING:
    from fleet.v1 import copies_pb2 as copies
    from fleetctl.local.files_from_vms import FilesFromVms
    from fleetctl.views.vms.copy import FilesResult


def copy_out(
    session: Session, request: copies.CopyFromFleetRequest, folder: str, *, force: bool
) -> None:
    """Raises Trouble, and click's Exit where not every VM's file is here."""
    from fleet.wire_ranges import from_wire
    from fleetctl.local.files_from_vms import FilesFromVms
    from fleetctl.views.vms.copy import FilesResult

    wanted, began = request.file, time.monotonic()
    result = FilesResult(request.fleet, wanted.timeout_ms / 1000)
    asked = from_wire(request.indices) if request.indices else None
    files_here = FilesFromVms(folder, request.fleet, wanted.most_bytes, asked, force=force)
    with files_here as files:
        try:
            _follow(session, request, files, result, folder)
        except (Trouble, KeyboardInterrupt):
            # What came until then is here, and told, where anything was asked.
            if result.vms:
                _say(session, result, files, request, folder, time.monotonic() - began)
            raise
        _say(session, result, files, request, folder, time.monotonic() - began)
    if not result.vms:
        raise Failed(f"no VM of {request.fleet} is meant by that: nothing was copied")
    if result.vms_told < result.vms:
        raise Failed("the controller ended the call before it was known of all VMs")
    if not result.all_well:
        raise click.exceptions.Exit(1)


def _follow(
    session: Session,
    request: copies.CopyFromFleetRequest,
    files: FilesFromVms,
    result: FilesResult,
    folder: str,
) -> None:
    """Raises Trouble."""
    from fleet.guest_commands.answers import BadAnswer
    from fleetctl.terminal.progress_line import progress_line
    from fleetctl.views.vms.copy import begun_json, begun_text, files_progress_text

    def requests() -> Iterator[copies.CopyFromFleetRequest]:
        yield request

    # Never made twice, as the call of vms run.
    call: Any = session.cluster.bidi_call(lambda stub: stub.CopyFromFleet, requests())
    with ExitStack() as ending, progress_line(json=session.json, write=note) as line:
        ending.callback(call.cancel)
        began = False
        for said in call:
            try:
                _take(session, said, files, result)
            except BadAnswer as error:
                raise Failed(f"the controller's answer cannot be understood: {error}") from error
            if not began and result.vms:
                began = True
                if session.json:
                    say_json_line(begun_json(result, request.file))
                else:
                    note(begun_text(result, request.file, folder))
            line.show(files_progress_text(result, files.bytes))


def _take(
    session: Session, said: copies.CopyFromFleetAnswer, files: FilesFromVms, result: FilesResult
) -> None:
    """Raises BadAnswer, Failed."""
    from fleet.guest_commands.answers import BadAnswer
    from fleetctl.views.vms.copy import answer_of_file, copied_json, file_json

    if said.HasField("part"):
        if file := files.take(said.part):
            answer = answer_of_file(file)
            told = result.put(answer, file.index)
            if session.json:
                say_json_line(
                    copied_json(answer, told) if file.reason else file_json(file, result.fleet)
                )
        if files.vms > result.vms:
            raise BadAnswer("there are more files than VMs")
    if said.HasField("said"):
        for answer, indices in result.add(said.said):
            files.without(indices)
            if session.json:
                say_json_line(copied_json(answer, indices))


def _say(
    session: Session,
    result: FilesResult,
    files: FilesFromVms,
    request: copies.CopyFromFleetRequest,
    folder: str,
    seconds: float,
) -> None:
    from fleetctl.views.vms.copy import files_json, files_summary_text
    from fleetctl.views.vms.run import groups_text

    if session.json:
        say_json_line(files_json(result, request.file, folder, files.bytes, seconds))
        return
    if text := groups_text(result):
        say(text)
    note(files_summary_text(result, folder, files.bytes, seconds))
    for host in result.silent_hosts:
        note(f"  {host}")
