"""systemd is told that a start which takes long goes on, and why: else it would end it, and begin
it anew, at the time that its unit has for a start.

sd_notify(3): EXTEND_TIMEOUT_USEC counts from when it is said, and never shortens what the unit has.
"""

from __future__ import annotations

import math

# systemd refuses what is no UTF-8, and sdnotify sends Latin-1; a line ends what is said.
_WORDS = 300


def still_starting(seconds: float, status: str = "") -> str:
    """What is said to systemd. `seconds`: within which it hears of this start again. `status`: one
    line for people; empty: none any more. It may be somebody else's words."""
    line = "".join(one if one.isascii() and one.isprintable() else "?" for one in status)
    return f"EXTEND_TIMEOUT_USEC={math.ceil(seconds * 1e6)}\nSTATUS={line[:_WORDS]}"
