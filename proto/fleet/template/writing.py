"""A value of the message as a fleet file writes it."""

from __future__ import annotations

from typing import Any

from fleet.template.field import Field, Kind, written


def as_written(one: Field, value: Any) -> Any:
    """What stands in the file for a value of the message: a text, a number, true or false, a list
    of texts, or lines of a key and what it holds, sorted. It is read as the same value again."""
    match one.kind:
        case Kind.CHOICE:
            return next((name for name, number in one.choices.items() if number == value), "")
        case Kind.FLAG:
            return bool(value)
        case Kind.COUNT:
            return int(value)
        case Kind.SIZE:
            return "0" if value == 0 else written(one, value)
        case Kind.SECONDS:
            return "0" if value == 0 else f"{value}s"
        case Kind.DURATION:
            return f"{_exact(value)}s"
        case Kind.RATE:
            return _exact(value)
        case Kind.TEXTS:
            return list(value)
        case Kind.LABELS:
            return dict(sorted(value.items()))
        case Kind.VALUES:
            return {
                name: list(has.texts) if has.texts else f"{has.start}-{has.stop - 1}"
                for name, has in sorted(value.items())
            }
        case _:
            return str(value)


def _exact(value: float) -> str:
    """As short as reads as the same number."""
    short = f"{value:.15g}"
    return short if float(short) == value else repr(value)
