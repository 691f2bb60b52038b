"""The records of accepted changes as the store has them: undecoded, since they are seldom read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from fleet_controller.core.audit import AuditRecord, name_of
from fleet_controller.store import keys
from fleet_controller.store.codec import BrokenRecord, decode

# At some 300 bytes each about 1 MiB in the store, and years of what people do by hand.
KEPT = 4_000
# So many above KEPT go together, in one transaction of few operations.
SLACK = 100


class AuditTrail:
    """Written by the mirror of the store alone."""

    def __init__(self) -> None:
        self._values: dict[int, bytes] = {}
        self._floor = 0  # those up to this one are gone
        self.last = 0

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, record_id: int) -> bool:
        return record_id in self._values

    def set_record(self, record_id: int, value: bytes | None) -> None:
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

    def page(self, fleet: str, host: str, before: int, limit: int) -> tuple[list[AuditRecord], int]:
        """The newest records of this fleet and this host that are older than `before` (0: all),
        and what to give as `before` for the next page; 0: that was all."""
        page: list[AuditRecord] = []
        for record_id, value in self.newest(before):
            record = _decoded(record_id, value)
            if not record.concerns(fleet, host):
                continue
            if len(page) == limit:
                return page, page[-1].id
            page.append(record)
        return page, 0

    def surplus(self) -> list[int]:
        """The oldest ones that need not be kept, once they are worth a transaction."""
        excess = len(self._values) - KEPT
        return list(islice(sorted(self._values), excess)) if excess >= SLACK else []


def _decoded(record_id: int, value: bytes) -> AuditRecord:
    """A record that cannot be read is shown as such: nothing is decided from it."""
    try:
        return decode(AuditRecord, keys.audit(name_of(record_id)), value)
    except BrokenRecord as error:
        return AuditRecord(record_id, 0.0, "", "unreadable", result=str(error))
