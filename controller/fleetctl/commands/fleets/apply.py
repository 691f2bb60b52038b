"""fleetctl apply: a fleet file becomes a fleet, or a new generation of one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetctl.outcome import Misuse, printable
from fleetctl.output import counted, say, say_json
from fleetctl.session import Session, cluster_options, pass_session

if TYPE_CHECKING:
    from fleet.v1 import cluster_pb2 as cluster
    from fleetctl.fleet_file.parser import ParsedFleet


@click.command()
@click.option(
    "-f", "--file", "filename", metavar="FILE", required=True, help="The fleet file; - for stdin."
)
@cluster_options
@pass_session
def apply(session: Session, filename: str) -> None:
    """Make a fleet from a file, or give an existing one a new template.

    A new fleet has no VMs until it is scaled. A changed template makes a new generation for VMs
    that are created from then on; running VMs stay as they are.
    """
    parsed = read_fleet(filename)
    cluster = session.cluster
    from fleet.v1 import cluster_pb2

    request = cluster_pb2.ApplyFleetRequest(name=parsed.name, spec=parsed.spec)
    answer = cluster.change(lambda stub: stub.ApplyFleet, request, again=True)
    if session.json:
        say_json(
            {
                "fleet": answer.fleet.name,
                "uid": answer.fleet.uid,
                "created": answer.created,
                "changed": answer.changed,
                "generation": answer.fleet.generation,
                "total": answer.fleet.total,
                "not_cloned": list(answer.not_cloned),
            }
        )
    else:
        say(_sentence(answer))
        for why in answer.not_cloned:
            say(f"not cloned: {printable(why)}")


def read_fleet(filename: str) -> ParsedFleet:
    """The fleet in a file. Raises Misuse, with every mistake that is in it."""
    from fleetctl.fleet_file.parser import MAX_FILE_BYTES, FleetFileError, parse_fleet_file

    shown = "stdin" if filename == "-" else filename
    try:
        if filename == "-":
            content = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with open(filename, "rb") as opened:
                content = opened.read(MAX_FILE_BYTES + 1)
        folder = None if filename == "-" else Path(filename).parent
        return parse_fleet_file(content.decode(), shown, folder)
    except OSError as error:
        raise Misuse(f"cannot read {shown}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Misuse(f"{shown}:{line}: not UTF-8 text") from error
    except FleetFileError as error:
        raise Misuse(str(error)) from error


def _sentence(answer: cluster.ApplyFleetResponse) -> str:
    fleet = answer.fleet
    if answer.created:
        return f"{fleet.name}: created; start VMs with 'fleetctl scale {fleet.name} --total NUMBER'"
    if not answer.changed:
        return f"{fleet.name}: unchanged, generation {fleet.generation}"
    return (
        f"{fleet.name}: generation {fleet.generation}, for VMs created from now on; "
        f"{counted(fleet.running, 'running VM')} unchanged"
    )
