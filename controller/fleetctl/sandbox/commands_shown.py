"""Commands as a demo shows them, to be typed again."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fleetctl.output import note


def command_name() -> str:
    """How this fleetctl is called from here."""
    return short(Path(sys.argv[0]).absolute())


def short(path: Path) -> str:
    """A path relative to the working directory, if it lies below it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def note_command(command: str) -> None:
    note(click.style(f"\n$ {command}", bold=True))


def next_commands(fleetctl: str, commands: tuple[tuple[str, str], ...]) -> str:
    """Commands to copy, each with what it is for."""
    width = max(len(command) for command, _ in commands)
    lines = [f"  {fleetctl} {command:<{width}}   # {what}" for command, what in commands]
    return "\n".join(("", "To try next, in another terminal:", *lines))
