"""The audit trail as one leadership writes it: a write that goes with each change."""

from __future__ import annotations

from collections.abc import Callable

from fleet_controller.change_id import change_id
from fleet_controller.core.audit import BY_LEADER, AuditRecord, clipped, name_of
from fleet_controller.mirror.audit_trail import AuditTrail
from fleet_controller.store import keys
from fleet_controller.store.codec import encode
from fleet_controller.store.port import Delete, Put

# A transaction takes little more; what is left goes with the next one.
_MOST_AT_ONCE = 120


class Audit:
    """`wall` is the wall clock, in seconds since 1970."""

    def __init__(self, trail: AuditTrail, wall: Callable[[], float]) -> None:
        self._trail = trail
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
        change: str = "",
    ) -> Put:
        """A new record as a write, for the transaction of the change itself. `change`: the id of
        the change that it follows from, where that is not the call under way."""
        self._given = max(self._given, self._trail.last) + 1
        change = change or ("" if actor == BY_LEADER else change_id())
        texts = map(clipped, (actor, action, fleet, host, before, after, result, change))
        record = AuditRecord(self._given, self._wall(), *texts)
        return Put(keys.audit(name_of(record.id)), encode(record))

    def trimming(self) -> list[Delete]:
        """The oldest records that need not be kept; none while there are few."""
        surplus = self._trail.surplus()[:_MOST_AT_ONCE]
        return [Delete(keys.audit(name_of(record_id))) for record_id in surplus]
