"""What was changed, by whom and when: records of accepted changes, and the newest of them.

A record is written in the transaction of the change that it tells. Only the newest KEPT stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import msgspec

# At some 300 bytes each about 1 MiB in the store, and years of what people do by hand.
KEPT = 4_000
# So many above KEPT go together, in one transaction of few operations.
SLACK = 100
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


class AuditTrail:
    """The records of the store as they are there: undecoded, since they are seldom asked for."""

    def __init__(self) -> None:
        self._values: dict[int, bytes] = {}
        self._floor = 0  # those up to this one are gone
        self.last = 0

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, record_id: int) -> bool:
        return record_id in self._values

    def take(self, record_id: int, value: bytes | None) -> None:
        """One record as the store has it; None: it is gone, and all before it as well."""
        self.last = max(self.last, record_id)
        if value is None:
            self._floor = max(self._floor, record_id)
            self._values.pop(record_id, None)
        elif record_id > self._floor:
            self._values[record_id] = value

    def newest(self, before: int = 0) -> Iterator[tuple[int, bytes]]:
        """Those older than `before` (0: all), the newest first."""
        for record_id in sorted(self._values, reverse=True):
            if not before or record_id < before:
                yield record_id, self._values[record_id]

    def surplus(self) -> list[int]:
        """The oldest ones that need not be kept, once they are worth a transaction."""
        excess = len(self._values) - KEPT
        return list(islice(sorted(self._values), excess)) if excess >= SLACK else []
