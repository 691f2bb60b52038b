"""Answers that are of the past: no controller leads, and one tells what it knew when it did."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fleet.transport import READ_ONLY_METADATA
from megafleet.texts import one_line


@dataclass(frozen=True, slots=True)
class ReadOnly:
    """Why an answer is of the past, and by how many seconds."""

    reason: str
    seconds: float


def read_only_mark(trailing: Iterable[tuple[str, str | bytes]] | None) -> ReadOnly | None:
    """From what follows an answer; None for a leader's own."""
    for key, value in trailing or ():
        if key == READ_ONLY_METADATA and isinstance(value, bytes):
            seconds, _, reason = value.decode("utf-8", "replace").partition(" ")
            return ReadOnly(one_line(reason), float(seconds))
    return None
