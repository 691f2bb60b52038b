"""How results look: aligned tables with human numbers, or JSON of a documented shape."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

from fleetctl.outcome import OutputLost, one_line

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
# In the order in which they are shown.
STATES: tuple[str, ...] = tuple(STATE_STYLES)


class ReaderGone(Exception):
    """Whoever read the result has had enough of it: no error, and nothing more to do."""


def say(text: str = "") -> None:
    """One line, or several, of the result. Raises ReaderGone, or OutputLost where it cannot be
    written."""
    try:
        click.echo(text, color=None if coloured() else False)
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
    """Whether colours may be written to stdout: see no-color.org."""
    return on_screen() and not os.environ.get("NO_COLOR")


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
    """One JSON value, indented for people as well."""
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


def table(headers: Sequence[str], rows: Iterable[Sequence[str | int]], indent: str = "") -> str:
    """Columns two spaces apart; numbers to the right with thousands separators.

    A column is one of numbers when its first value is.
    """
    held = [list(row) for row in rows]
    right = [bool(held) and isinstance(held[0][at], int) for at in range(len(headers))]
    cells = [[_cell(value) for value in row] for row in held]
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    lines = [_line(list(headers), widths, right, indent)]
    lines += [_line(row, widths, right, indent) for row in cells]
    return "\n".join(lines)


def _cell(value: str | int) -> str:
    return number(value) if isinstance(value, int) else one_line(value)


def _line(cells: list[str], widths: list[int], right: list[bool], indent: str) -> str:
    padded = (
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(cells, widths, right, strict=True)
    )
    return f"{indent}{'  '.join(padded)}".rstrip()
