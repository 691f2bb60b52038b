"""The audit trail as one leadership writes it: a write that goes with each change."""

from __future__ import annotations

from collections.abc import Callable

from fleet_controller.core.audit import AuditRecord, clipped, name_of
from fleet_controller.mirror.state import ClusterState
from fleet_controller.store import keys
from fleet_controller.store.codec import BrokenRecord, decode, encode
from fleet_controller.store.port import Delete, Put

# A transaction takes little more; what is left goes with the next one.
_MOST_AT_ONCE = 120


class Audit:
    """`wall` is the wall clock, in seconds since 1970."""

    def __init__(self, state: ClusterState, wall: Callable[[], float]) -> None:
        self._state = state
        self._wall = wall
        self._given = 0  # the id handed out last; one that was not written is left out

    def entry(
        self,
        action: str,
        actor: str,
        *,
        fleet: str = "",
        host: str = "",
        before: str = "",
        after: str = "",
        result: str = "accepted",
    ) -> Put:
        """A new record as a write, for the transaction of the change itself."""
        self._given = max(self._given, self._state.audit.last) + 1
        texts = map(clipped, (actor, action, fleet, host, before, after, result))
        record = AuditRecord(self._given, self._wall(), *texts)
        return Put(keys.audit(name_of(record.id)), encode(record))

    def trimming(self) -> list[Delete]:
        """The oldest records that need not be kept; none while there are few."""
        surplus = self._state.audit.surplus()[:_MOST_AT_ONCE]
        return [Delete(keys.audit(name_of(record_id))) for record_id in surplus]

    def page(self, fleet: str, host: str, before: int, limit: int) -> tuple[list[AuditRecord], int]:
        """The newest records of this fleet and this host that are older than `before` (0: all),
        and what to give as `before` for the next page; 0: that was all."""
        page: list[AuditRecord] = []
        for record_id, value in self._state.audit.newest(before):
            record = _decoded(record_id, value)
            if not record.concerns(fleet, host):
                continue
            if len(page) == limit:
                return page, page[-1].id
            page.append(record)
        return page, 0


def _decoded(record_id: int, value: bytes) -> AuditRecord:
    """A record that nobody understands is shown as such: nothing is decided from it."""
    try:
        return decode(AuditRecord, keys.audit(name_of(record_id)), value)
    except BrokenRecord as error:
        return AuditRecord(record_id, 0.0, "", "unreadable", result=str(error))
