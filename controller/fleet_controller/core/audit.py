"""What was changed, by whom and when: the record of an accepted change.

A record is written in the transaction of the change that it tells.
"""

from __future__ import annotations

import msgspec

# Characters of one text of a record: records share a transaction with what they tell of.
MAX_TEXT = 500
# Digits of an id in its key, so that keys sort as ids do.
_DIGITS = 12
BY_LEADER = "leader"  # the actor of what the leader does by itself


class AuditRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One accepted change. `time`: seconds since 1970, UTC; `actor`: role/name of the
    certificate, or `leader`."""

    id: int
    time: float
    actor: str
    action: str
    fleet: str = ""
    host: str = ""
    before: str = ""
    after: str = ""
    result: str = "accepted"
    change: str = ""  # the id that the caller gave it

    def concerns(self, fleet: str, host: str) -> bool:
        """Whether it is of this fleet and this host; empty ones are any."""
        return (not fleet or self.fleet == fleet) and (not host or self.host == host)


def clipped(text: str) -> str:
    """Cut to what a record may hold."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."


def name_of(record_id: int) -> str:
    """The last part of its key."""
    return f"{record_id:0{_DIGITS}}"


def id_of(name: str) -> int:
    """0 for the name of no record."""
    return int(name) if name.isascii() and name.isdigit() else 0
