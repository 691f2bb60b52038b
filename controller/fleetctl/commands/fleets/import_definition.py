"""fleetctl import: an existing guest's definition becomes a fleet file."""

from __future__ import annotations

import sys

import click

from fleetctl.outcome import Misuse
from fleetctl.output import note, say, say_json

MAX_BYTES = 256 * 1024


@click.command("import")
@click.argument("filename", metavar="FILE")
@click.option(
    "--image", metavar="NAME@SNAPSHOT", default="", help="The golden image; else the guest's name."
)
@click.option(
    "-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", help="The format."
)
def import_(filename: str, image: str, output: str) -> None:
    """Print a fleet file for VMs like an existing guest; FILE is its xl.cfg or its domain XML, and
    - is stdin.

    What could not be carried over is said on stderr, and in comments of the fleet file. Nothing of
    FILE is evaluated, and no cluster is called. `fleetctl images import` brings its disk in.
    """
    from fleetctl.definitions.fleet_text import fleet_text
    from fleetctl.definitions.guest import BadDefinition
    from fleetctl.definitions.reading import read_guest

    shown = "stdin" if filename == "-" else filename
    try:
        made = fleet_text(read_guest(_content(filename, shown)), image)
    except BadDefinition as error:
        raise Misuse(f"{shown}: {error}") from error
    if output == "json":
        say_json({"fleet_file": made.text, "steps": made.steps, "left_out": made.left_out})
        return
    for step in made.steps:
        note(f"{shown}: before it is applied: {step}")
    for sentence in made.left_out:
        note(f"{shown}: not carried over, or changed: {sentence}")
    say(made.text.rstrip("\n"))


def _content(filename: str, shown: str) -> bytes:
    """Raises Misuse."""
    try:
        if filename == "-":
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with open(filename, "rb") as opened:
                content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise Misuse(f"cannot read {shown}: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise Misuse(f"{shown}: larger than {MAX_BYTES // 1024} KiB; a definition is far smaller")
    return content
