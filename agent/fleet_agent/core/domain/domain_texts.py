"""Texts from outside in a definition: what XML cannot carry is refused."""

from __future__ import annotations

import re

# What XML 1.0 cannot carry, and what has no place in a path, a name or a command line.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def clean(text: str, what: str) -> str:
    """The text. Raises ValueError, in one sentence, for one that no definition may hold."""
    found = _CONTROL.search(text)
    if found:
        raise ValueError(
            f"the {what} {text[:60]!r} holds the character {found[0]!r}, which no definition may"
        )
    return text
