"""What fuzzing finds and is not mended yet. A line is taken out with what mends it; nothing else is
let pass."""

from __future__ import annotations

from collections.abc import Mapping

# By what is in a finding's kind: why it is still so.
KNOWN: Mapping[str, str] = {}


def is_known(kind: str) -> str:
    """Why it is let pass; empty for what is not known."""
    return next((why for part, why in KNOWN.items() if part in kind), "")
