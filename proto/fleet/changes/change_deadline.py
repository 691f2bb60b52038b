"""Until when a change may be begun, as a call carries it: a moment on the leader's own clock, and
whose clock that is. No two clocks are compared.
"""

from __future__ import annotations

CHANGE_DEADLINE_METADATA = "fleet-before"


def format_deadline(seconds: float, leadership: str) -> str:
    """`seconds` of the monotonic clock of this leadership, to the millisecond."""
    return f"{seconds:.3f} {leadership}"


def parse_deadline(text: str, leadership: str) -> float | None:
    """Seconds of the clock of this leadership; None where the deadline is of another one's.

    Raises ValueError for what is no number.
    """
    seconds, _, of = text.partition(" ")
    return float(seconds) if of == leadership else None
