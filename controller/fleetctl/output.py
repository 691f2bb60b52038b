"""How results look: human numbers, colours, or JSON of a documented shape."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click

from fleetctl.outcome import OutputLost

# Colours of the eight states, wherever they are shown. Names that click and rich share.
STATE_STYLES: Mapping[str, str] = {
    "pending": "bright_black",
    "cloning": "blue",
    "defined": "cyan",
    "booting": "yellow",
    "running": "green",
    "stopping": "magenta",
    "failed": "red",
    "unknown": "bright_red",
}
# What needs somebody, what may mend itself, what is as it should be.
BAD, DOUBTFUL, GOOD = "red", "yellow", "green"

# In the order in which they are shown.
STATES: tuple[str, ...] = tuple(STATE_STYLES)


class ReaderGone(Exception):
    """Whoever read the result has had enough of it: no error, and nothing more to do."""


def say(text: str = "") -> None:
    """One line, or several, of the result. Raises ReaderGone, or OutputLost where it cannot be
    written."""
    try:
        click.echo(text, color=coloured())
    except BrokenPipeError as error:
        raise ReaderGone from error
    except OSError as error:
        raise OutputLost(f"cannot write the output: {error.strerror}") from error


def note(text: str) -> None:
    """A remark beside the result, on stderr."""
    click.echo(text, err=True)


def on_screen() -> bool:
    """Whether stdout is a terminal on which what was written can be written over."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def coloured() -> bool:
    """Whether colours may be written to stdout: as --color says, else see no-color.org."""
    context = click.get_current_context(silent=True)
    if context is not None and context.color is not None:
        return context.color
    return on_screen() and not os.environ.get("NO_COLOR")


def painted(text: str, colours: Mapping[str, str | None]) -> str:
    """A text of lines that each have a label and a value: the values of these labels coloured. The
    text has to be printable already."""
    return "\n".join(_painted(line, colours) for line in text.split("\n"))


def _painted(line: str, colours: Mapping[str, str | None]) -> str:
    for label, colour in colours.items():
        value = line.removeprefix(label).lstrip(" ")
        if colour and line.startswith(f"{label} ") and value:
            return line[: -len(value)] + click.style(value, fg=colour)
    return line


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Shows on a terminal what is being waited for, and takes it away again."""
    if on_screen():
        sys.stdout.write(what)
        sys.stdout.flush()
    try:
        yield
    finally:
        if on_screen():
            sys.stdout.write("\r" + " " * len(what) + "\r")


def say_json(value: Any) -> None:
    """One JSON value, indented for people as well. An object has the id of what was changed, where
    something was."""
    context = click.get_current_context(silent=True)
    change = getattr(context.find_root().obj, "change_id", "") if context else ""
    if change and isinstance(value, dict):
        value = {**value, "change_id": change}
    say(json.dumps(value, indent=2))


def say_json_line(value: Any) -> None:
    """One JSON value on one line: for what goes on."""
    say(json.dumps(value))


def number(value: int) -> str:
    """1,000,000."""
    return f"{value:,}"


def counted(value: int, noun: str) -> str:
    """1 host, 4,480 hosts."""
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def byte_text(value: int) -> str:
    """0 B, 512 KiB, 1.5 GiB: two digits at least, and in powers of 1024."""
    scaled, unit = float(value), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if scaled < 1000 or unit == "TiB":
            break
        scaled /= 1024
    return f"{scaled:.1f} {unit}" if scaled < 10 and unit != "B" else f"{scaled:.0f} {unit}"


def duration(seconds: float) -> str:
    """0.3 s, 12 s, 3:07, 2:03:00: short, and never more precise than it is."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def utc_text(seconds: float) -> str:
    """2026-03-01 12:00 UTC."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):  # hosts tell it: it may be anything
        return "a day beyond all calendars"


def pace_text(per_second: float) -> str:
    """126 VMs/s, 5.9 VMs/s, 35 VMs/min: two digits at least of what is slow."""
    if per_second >= 10 or per_second <= 0:
        return f"{round(per_second):,} VMs/s"
    return f"{per_second:.1f} VMs/s" if per_second >= 1 else f"{per_second * 60:.1f} VMs/min"


def ago(seconds: float) -> str:
    """12 s ago, 5 m ago, 3 h ago, 12 d ago: to the whole of one unit."""
    whole = max(0, round(seconds))
    for unit, length, longest in (("s", 1, 120), ("m", 60, 7_200), ("h", 3_600, 172_800)):
        if whole < longest:
            return f"{whole // length} {unit} ago"
    return f"{whole // 86_400:,} d ago"
