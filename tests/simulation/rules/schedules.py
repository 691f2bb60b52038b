"""What time may do to the total of a fleet: each point once, remembered with the total, and carried
out in its time by whoever leads with a clock that is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fleet.template.calendar import Calendar, Point
from fleet_controller.core.model import FleetRecord
from fleet_controller.core.schedules.due import MOST_BACK
from fleet_controller.core.schedules.record import ScheduleRecord
from fleet_controller.replica.leader import Leader
from fleet_controller.store import keys
from fleet_controller.store.codec import decode
from fleet_controller.store.keys import LEADER
from fleet_controller.store.port import Change
from tests.simulation.doubles.etcd import Etcd
from tests.simulation.doubles.operator import Operator
from tests.simulation.doubles.witness import Witness
from tests.simulation.engine.trace import Fail
from tests.simulation.rules.store_view import StoreView
from tests.simulation.rules.troubles import Troubles

# A point has come about within this time: a look, a plan, a transaction.
SECONDS = 15.0


class Schedules(Witness):
    """Looks every second, and hears every revision before the view of the store does."""

    def __init__(
        self,
        clock: Callable[[], float],
        etcd: Etcd,
        operator: Operator,
        store: StoreView,
        troubles: Troubles,
        fail: Fail,
    ) -> None:
        self._clock = clock
        self._etcd = etcd
        self._operator = operator
        self._store = store
        self._troubles = troubles
        self._fail = fail
        self._leader: Leader | None = None
        self._calm = clock()  # since when one replica leads, whose clock is right

    def revision_written(self, revision: int, changes: Sequence[Change]) -> None:
        if self._store.frozen:
            return
        records = {
            change.key.removeprefix(keys.SCHEDULES): change
            for change in changes
            if change.key.startswith(keys.SCHEDULES)
        }
        for uid, change in records.items():
            if change.value is not None:
                self._check_order(uid, decode(ScheduleRecord, change.key, change.value))
        for change in changes:
            name = change.key.removeprefix(keys.FLEETS)
            if change.value is None or not change.key.startswith(keys.FLEETS) or "/" in name:
                continue
            after = decode(FleetRecord, change.key, change.value)
            before = self._store.fleets.get(name)
            by_time = after.changed_by.startswith("schedule for ")
            if before is not None and by_time and after.total != before.total:
                self._check_point(after, records)

    def _check_order(self, uid: str, after: ScheduleRecord) -> None:
        before = self._store.schedules.get(uid)
        back = before.done_until - after.done_until if before is not None else 0.0
        if 0.0 < back <= MOST_BACK:
            self._fail("once", f"points of {uid} up to {after.done_until} are to come again")

    def _check_point(self, fleet: FleetRecord, records: Mapping[str, Change]) -> None:
        before, change = self._store.schedules.get(fleet.uid), records.get(fleet.uid)
        if before is None or change is None:
            self._fail("remembered", f"{fleet.name}: its total changes by time, with no record")
            return
        may_be = set()
        if before.timed is not None:
            may_be.add(before.timed.then)
        if before.unfit is not None:
            may_be.add(before.unfit.total)
        if change.value is not None:
            until = decode(ScheduleRecord, change.key, change.value).done_until
            if point := self._last(fleet, before.done_until, until):
                may_be.add(point.total)
        if fleet.total not in may_be:
            self._fail("once", f"{fleet.name} becomes {fleet.total} by time, and {may_be} are due")

    def _last(self, fleet: FleetRecord, after: float, until: float) -> Point | None:
        spec = self._store.specs.get((fleet.uid, fleet.generation))
        if spec is None or not spec.HasField("schedule"):
            return None
        return Calendar(spec.schedule).last(after, until)

    def look(self) -> None:
        now, found = self._clock(), self._operator.leading()
        leader = found[1] if found is not None else None
        well = (
            found is not None
            and self._etcd.created(LEADER) == found[1].memory.term.revision
            and self._troubles.could_lead(found[0])
            and found[0].wall_ahead == 0.0
            and not self._store.frozen
        )
        if not well or leader is not self._leader:
            self._calm = now
        self._leader = leader
        for fleet in self._store.fleets.values():
            if (since := self._due_since(fleet, now)) is None:
                continue
            if now - max(since, self._calm) > SECONDS:
                self._fail("in time", f"{fleet.name} has {fleet.total}, and not what {since} said")

    def _due_since(self, fleet: FleetRecord, now: float) -> float | None:
        """When what is not carried out has come; None: nothing is left."""
        record = self._store.schedules.get(fleet.uid)
        if record is None or fleet.deleting or record.unfit is not None:
            return None
        if record.timed is not None:
            return record.timed.until if record.timed.until <= now else None
        point = self._last(fleet, record.done_until, now)
        if point is None or point.total == fleet.total:
            return None
        return point.at
