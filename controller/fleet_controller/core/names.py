"""Many names in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

SHOWN = 5


def some_of(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
