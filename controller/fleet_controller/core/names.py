"""Many names, numbers, and what others say, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

SHOWN = 5


def some_of(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def counted(value: int, noun: str) -> str:
    """1 host, 4,480 hosts."""
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def one_line(text: str, most: int) -> str:
    """What somebody else says, in so many characters: what is none that people read is a space."""
    plain = "".join(one if one.isprintable() else " " for one in text[: 2 * most])
    return " ".join(plain.split())[:most]
