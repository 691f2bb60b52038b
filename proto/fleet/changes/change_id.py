"""The id of a change: fleetctl makes one for each command that changes something, and all that
follows from it on controllers and agents is told with it.

It is a label, and nothing is decided from it. Whoever sends one claims it, so it is bounded.
"""

from __future__ import annotations

import re

CHANGE_METADATA = "fleet-change"
_BYTES = 6
_CHANGE_ID = re.compile(r"[0-9a-z][0-9a-z-]{0,39}")


def format_change_id(random: bytes) -> str:
    """An id from six random bytes."""
    return random[:_BYTES].hex()


def is_change_id(text: str) -> bool:
    """Up to 40 digits, small letters and hyphens."""
    return _CHANGE_ID.fullmatch(text) is not None


def change_id_or_none(text: str) -> str:
    """The id itself; empty for what is none."""
    return text if is_change_id(text) else ""
